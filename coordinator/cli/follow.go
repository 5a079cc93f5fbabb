package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// following follows one job of a cluster to its end.
type following struct {
	client *client.Client
	view   View
	job    api.JobRecord
	folder *outputFolder // where the output goes; nil for nowhere
	back   string        // the command that comes back to the job; empty where none can

	mu    sync.Mutex // of view and what is below
	seen  health
	lines []string
	last  *api.Change // the newest change of generation
}

// Looking at the nodes of a job that is followed.
const (
	lookEvery  = time.Second
	lookWithin = 3 * time.Second
)

// NodeView is a view that also shows how the nodes of a job are doing, a line each.
type NodeView interface {
	View
	Nodes(lines []string)
}

// run follows the job, fetches its output and returns its outcome as an error. The
// end of ctx leaves the job alone.
func (f *following) run(ctx context.Context) error {
	f.look(ctx)
	stop := f.keepLooking(ctx)
	j, err := f.client.Events(ctx, f.job.ID, f.line)
	stop()
	if err != nil {
		f.view.Close(err)
		return f.left(ctx, err)
	}
	result := resultOf(j)
	result.Output = ""
	err = outcome(j)
	if err == nil && f.folder != nil {
		if result.Output, err = f.fetch(ctx, j); err != nil {
			err = f.unfetched(ctx, err)
		}
	}
	f.view.Event(api.Event{Event: "result", Job: result.Job, Result: &result})
	f.view.Close(err)
	return err
}

// left words why the job is not followed any more. What ended is this command,
// not the job.
func (f *following) left(ctx context.Context, err error) error {
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	switch {
	case interrupted && f.back == "":
		return &endError{fmt.Sprintf("interrupted: job %s and its cluster on this machine are gone", f.job.ID), api.ExitCancelled}
	case interrupted:
		return &endError{fmt.Sprintf("detached: job %s goes on; come back with: %s", f.job.ID, f.back), api.ExitCancelled}
	case f.back != "":
		return fmt.Errorf("%w; come back to job %s with: %s", err, f.job.ID, f.back)
	}
	return err
}

// unfetched words why the output of a job that succeeded is not here.
func (f *following) unfetched(ctx context.Context, err error) error {
	text, code := fmt.Sprintf("job %s succeeded, but %v", f.job.ID, err), api.ExitCode(err)
	if ctx.Err() != nil {
		text, code = fmt.Sprintf("interrupted: job %s succeeded, and its output is not here", f.job.ID), api.ExitCancelled
	}
	if f.back != "" {
		text += "; fetch it with: " + f.back
	}
	return &endError{text, code}
}

// line shows one event. Those of the run as a whole come from worker 0.
func (f *following) line(l api.LogLine) error {
	var e api.Event
	if err := json.Unmarshal(l.Event, &e); err != nil {
		return fmt.Errorf("job %s: event %d of node %s: %w", f.job.ID, l.Seq, l.Node, err)
	}
	if e.Event == "result" || l.Worker != 0 && e.Event != "note" {
		return nil // the result comes with the end of the stream, also where no worker had one
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view.Event(e)
	return nil
}

// keepLooking looks at the job's nodes in the background until stop is called.
func (f *following) keepLooking(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.look(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// look asks how the job and its nodes are, says what changed, and shows the rest
// where the view has room for it.
func (f *following) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	j, err := f.client.Job(ctx, f.job.ID)
	var nodes []api.NodeRecord
	if err == nil {
		nodes, err = f.client.Nodes(ctx)
	}
	last := f.last // which only this changes
	if err == nil {
		last, err = f.newest(ctx, j)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil { // of the last answer there is
		f.show(append([]string{"  the cluster does not answer: " + strings.ReplaceAll(err.Error(), "\n", " ")}, f.lines...))
		return
	}
	notes := f.seen.changes(j, nodes)
	if last != nil && last.From != "" && (f.last == nil || f.last.Generation != last.Generation || f.last.From == "") {
		notes = append(notes, fmt.Sprintf("job %s, generation %d %s", j.ID, last.Generation, last.Origin))
	}
	f.last = last
	for _, note := range notes {
		f.view.Event(api.Event{Event: "note", Job: j.Name, Message: note})
	}
	f.lines = treeLines(j, nodes, f.last)
	f.show(f.lines)
}

// newest returns the newest change of generation, asking for it until training has gone
// on in it; nil where there is none.
func (f *following) newest(ctx context.Context, j api.JobRecord) (*api.Change, error) {
	if j.Status.Generation < 2 || f.last != nil && f.last.Generation == j.Status.Generation && f.last.From != "" {
		return f.last, nil
	}
	h, err := f.client.History(ctx, j.ID)
	if err != nil || len(h.Changes) == 0 {
		return f.last, err
	}
	return &h.Changes[len(h.Changes)-1], nil
}

func (f *following) show(lines []string) {
	if v, ok := f.view.(NodeView); ok {
		v.Nodes(lines)
	}
}

// health is what was last seen of a job, so that changes can be told.
type health struct {
	state      string
	reason     string
	generation int
	stalled    bool
	nodes      map[string]string // states
	findings   map[string]bool   // by node and reason
}

// changes words what is new since the last look.
func (h *health) changes(j api.JobRecord, nodes []api.NodeRecord) []string {
	var out []string
	s := j.Status
	switch {
	case s.State == api.Pending && j.Reason != h.reason && j.Reason != "":
		out = append(out, fmt.Sprintf("job %s waits: %s", j.ID, j.Reason))
	case s.Generation > h.generation && len(j.Plan.Nodes) > 0:
		out = append(out, fmt.Sprintf("job %s, generation %d on %s: %s", j.ID, s.Generation, strings.Join(j.Plan.Nodes, ", "), cmp.Or(j.Planned, j.Reason)))
	case s.State == api.Cancelling && h.state != s.State:
		out = append(out, fmt.Sprintf("job %s is being cancelled", j.ID))
	case s.Stalled != "" && !h.stalled:
		out = append(out, fmt.Sprintf("job %s: %s", j.ID, s.Stalled))
	}
	states, findings := map[string]string{}, map[string]bool{}
	for _, n := range nodes {
		if j.Plan.Worker(n.Name) < 0 && h.nodes[n.Name] == "" {
			continue // has never been of the job
		}
		states[n.Name] = n.State
		if before := h.nodes[n.Name]; n.State != before && (before != "" || n.State != api.NodeReady) {
			why := ""
			if n.Reason != "" {
				why = ": " + n.Reason
			}
			out = append(out, fmt.Sprintf("node %s is %s%s", n.Name, n.State, why))
		}
		for _, x := range n.Health {
			about := n.Name + ": " + x.Reason
			if !h.findings[about] && n.Reason != x.Reason {
				out = append(out, fmt.Sprintf("node %s (%s)", about, x.Severity))
			}
			findings[about] = true
		}
	}
	*h = health{s.State, j.Reason, max(h.generation, s.Generation), s.Stalled != "", states, findings}
	return out
}
