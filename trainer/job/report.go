package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/report"
)

// enter starts a phase.
func (r *run) enter(phase, message string) {
	r.phase.End(nil)
	r.phase = r.Trace.Phase(phase, message)
	r.state.Phase = phase
	r.save(api.Running)
	r.emit(api.Event{Event: "phase", Phase: phase, Message: message})
	r.progress()
}

// save writes state.json. A failure is logged: it costs status its freshness and
// resume nothing but work.
func (r *run) save(s string) {
	if r.Team != nil && !r.Team.Chief() {
		return
	}
	r.state.State, r.state.PID, r.state.At = s, os.Getpid(), r.Now()
	err := r.folder.writeState(r.state)
	if err != nil && !r.unsaved {
		r.Log.Warn("state not written", "error", err)
	}
	r.unsaved = err != nil
}

// emit passes an event on and appends it to the log.
func (r *run) emit(e api.Event) {
	e.Job = r.job.Name
	seconds := r.Now().Sub(r.started).Seconds()
	e.Seconds = &seconds
	if r.events != nil && e.Result == nil {
		r.logEvent(e)
	}
	r.Emit(e)
}

// logEvent appends a line to the event log, behind an end of line where the one
// before may be torn. Of failures in a row the first is reported.
func (r *run) logEvent(e api.Event) {
	raw, err := json.Marshal(e)
	if err != nil {
		return // an infinite number: the event is shown all the same
	}
	raw = append(raw, '\n')
	if r.torn {
		raw = append([]byte{'\n'}, raw...)
	}
	_, err = r.events.Write(raw)
	if err != nil && !r.unlogged {
		r.Log.Warn("event not logged", "error", err)
	}
	r.torn, r.unlogged = err != nil, err != nil
}

// finish writes the result and turns err into what the caller reports.
func (r *run) finish(ctx context.Context, err error) (api.Result, error) {
	// In a team the first worker that ends stops the others: what this one found out
	// about the input before counts.
	if ctx.Err() != nil && (r.Team == nil || err == nil || api.ExitCode(err) != api.ExitInvalid) {
		err = ctx.Err()
	}
	if err == nil && r.over {
		r.emit(api.Event{Event: "result", Result: &r.result})
		return r.result, nil
	}
	r.phase.End(err)
	r.phase = nil
	r.Trace.Settle()
	res := &r.result
	res.TraceID = r.Trace.JobTrace()
	res.Event, res.Job, res.State = "result", r.job.Name, api.Succeeded
	res.Pattern, res.Method, res.Seed = r.job.Prune.Pattern, r.job.Adapter.Method, r.job.Seed
	res.Steps, res.StepsLost, res.Generations, res.NumericKind = r.state.Step, r.state.Lost, r.Generation, r.Device.Kind()
	res.Seconds = r.state.Seconds + r.Now().Sub(r.started).Seconds()
	res.Dense, res.Pruned, res.Repaired, res.Blind = r.state.Scores["dense"], r.state.Scores["pruned"], r.state.Scores["repaired"], r.state.Scores["blind"]
	res.Sparsity = sparsity(r.allMasks)
	if res.Ranks == nil {
		res.Ranks = r.ranks()
	}
	if res.Dense != nil && res.Pruned != nil && res.Repaired != nil && res.Dense.Score != res.Pruned.Score {
		recovery := (res.Repaired.Score - res.Pruned.Score) / (res.Dense.Score - res.Pruned.Score)
		res.Recovery = &recovery
	}
	if err != nil {
		res.State, res.Error = api.Failed, err.Error()
		if api.ExitCode(err) == api.ExitCancelled {
			res.State = api.Cancelled
		}
	}
	r.state.Seconds, r.state.Error = res.Seconds, res.Error
	writes := r.Team == nil || r.Team.Chief()
	if err == nil && writes {
		if err = errors.Join(r.writeResult(), r.writePlot()); err != nil {
			res.State, res.Error, r.state.Error = api.Failed, err.Error(), err.Error()
		}
	}
	if !writes {
		return *res, err
	}
	if err := r.writeTraces(); err != nil { // also of a run that failed
		r.Log.Warn("last steps not kept", "error", err)
	}
	if r.prepared || r.resumed || res.State == api.Cancelled && r.Team == nil {
		r.save(res.State)
	} else {
		// The job never started: leave nothing that looks like a run.
		if r.events != nil {
			_ = r.events.Close()
			r.events = nil
		}
		r.folder.undo()
	}
	r.emit(api.Event{Event: "result", Result: res})
	return *res, err
}

func (r *run) writeResult() error {
	raw, err := json.MarshalIndent(r.result, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", resultFile, err)
	}
	return durable.WriteFile(r.folder.path(resultFile), append(raw, '\n'))
}

func (r *run) writePlot() error {
	title := fmt.Sprintf("%s · %s %s · %s · seed %d", r.job.Name, r.job.Prune.Method, r.job.Prune.Pattern, r.job.Adapter.Method, r.job.Seed)
	raw, err := report.PNG(report.Data{Title: title, Steps: r.steps, Scores: r.result.Scores(), Layers: r.layers()})
	if err != nil {
		return err
	}
	return durable.WriteFile(r.folder.path(plotFile), raw)
}
