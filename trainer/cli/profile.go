package cli

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/trace"
)

// profiled is how often it is looked whether the steps of a profile are over.
const profiled = 20 * time.Millisecond

// profile records what this process does until the next steps of a job are over, or the
// time is.
func (n *node) profile(ctx context.Context, ask api.ProfileRequest) (api.NodeProfile, error) {
	out := api.NodeProfile{Node: n.name}
	var cpu, heap, goroutines bytes.Buffer
	from, began := n.past.Now(ask.Job), time.Now()
	if from.Generation == 0 {
		return out, fmt.Errorf("job %q has made no step here", ask.Job)
	}
	if err := pprof.StartCPUProfile(&cpu); err != nil {
		return out, err // another one goes on
	}
	steps := n.await(ctx, ask, from)
	pprof.StopCPUProfile()
	if err := ctx.Err(); err != nil {
		return out, err
	}
	out.Seconds = time.Since(began).Seconds()
	for name, to := range map[string]*bytes.Buffer{"heap": &heap, "goroutine": &goroutines} {
		if err := pprof.Lookup(name).WriteTo(to, 0); err != nil {
			return out, err
		}
	}
	out.CPU, out.Heap, out.Goroutines, out.Phases = cpu.Bytes(), heap.Bytes(), goroutines.Bytes(), trace.Sum(steps)
	if len(steps) > 0 {
		out.FirstStep, out.LastStep = steps[0].Step, steps[len(steps)-1].Step
	}
	return out, nil
}

// await waits for steps after from to end, and returns those that did.
func (n *node) await(ctx context.Context, ask api.ProfileRequest, from trace.Point) []api.Trace {
	late := time.NewTimer(time.Duration(ask.Seconds) * time.Second)
	defer late.Stop()
	look := time.NewTicker(profiled)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if n.past.Over(ask.Job, from) < ask.Steps {
				continue
			}
		case <-late.C:
		case <-ctx.Done():
		}
		steps := n.past.After(ask.Job, from)
		return steps[:min(ask.Steps, len(steps))]
	}
}
