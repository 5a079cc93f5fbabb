package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ressa/coordinator/api"
	"ressa/trainer/activity"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/trace"
)

// saving writes a checkpoint while training goes on: what is trained is read to the
// host at once, and goes from there to the disks. There is one at a time.
type saving struct {
	step int
	stop context.CancelFunc
	done chan saved
}

// saved is how writing a checkpoint ended. An error of a disk is told apart from one
// of the exchange: training can go on without a checkpoint, but not without its team.
type saved struct {
	err      error               // of the exchange
	disk     error               // of the chief's disk; on the chief
	copies   []error             // of other workers' disks; on the chief
	nodes    []string            // whose disks hold it; on the chief
	manifest checkpoint.Manifest // of the chief's
}

// savers are the workers on whose disks a checkpoint is written: the chief and those
// after it, so that any two nodes may be lost at once where adapters are trained, and
// one where everything is, which is several times the model. Where there is a store
// outside the nodes, the chief's copy is enough.
func (r *run) savers() []int {
	copies := 2
	if r.outside() {
		copies = 1
	} else if adapter.Method(r.job.Adapter.Method).LowRank() {
		copies = 3
	}
	out := make([]int, min(copies, r.team.Size()))
	for w := range out {
		out[w] = w
	}
	return out
}

// checkpoint begins to save the trained state of all stages, as that of so many
// steps; one that is being saved is waited for. Its content does not tell which
// stages there were. needed ones are waited for, and have to be on the chief's disk.
func (r *run) checkpoint(ctx context.Context, step int, metrics map[string]float64, needed bool) (err error) {
	ctx, span := trace.Begin(ctx, "", "checkpoint")
	defer func() { span.End(err) }()
	if err := r.awaitSave(ctx); err != nil {
		return err
	}
	states := map[int][]byte{}
	for i := range r.team.Plan().Stages {
		if !r.team.First(i) {
			continue
		}
		state, err := r.stageState(ctx, i)
		if err != nil {
			return fmt.Errorf("checkpoint of step %d: %w", step, err)
		}
		states[i] = encoded(state)
	}
	snapshot := checkpoint.Snapshot{Identity: r.identity, Seed: r.job.Seed, Step: step, Generation: r.Generation, CreatedAt: r.Now(), Metrics: metrics}
	sctx, stop := context.WithCancel(ctx)
	s := &saving{step: step, stop: stop, done: make(chan saved, 1)}
	go func() {
		sctx, end := activity.Beside(sctx, fmt.Sprintf("writing the checkpoint of step %d", step))
		defer end()
		s.done <- r.write(sctx, snapshot, states)
	}()
	r.saving = s
	if needed {
		defer activity.Wait(ctx, r.team.Worker())() // for what goes on beside
		disk, err := r.endSave(ctx, <-s.done)
		if err == nil && disk != nil {
			err = disk
		}
		return err
	}
	return nil
}

// awaitSave waits for the checkpoint that is being saved.
func (r *run) awaitSave(ctx context.Context) error {
	r.pollShipments()
	if r.saving == nil {
		return nil
	}
	defer activity.Wait(ctx, r.team.Worker())()
	return r.tellSave(r.endSave(ctx, <-r.saving.done)) // ends with the context that it was begun in
}

// pollSave takes in that the checkpoint that was being saved is there.
func (r *run) pollSave(ctx context.Context) error {
	r.pollShipments()
	if r.saving == nil {
		return nil
	}
	select {
	case s := <-r.saving.done:
		return r.tellSave(r.endSave(ctx, s))
	default:
		return nil
	}
}

// stopSave gives up the checkpoint that is being saved.
func (r *run) stopSave() {
	if r.saving != nil {
		r.saving.stop()
		<-r.saving.done
		r.saving = nil
	}
}

// endSave takes in how a save ended. A disk that failed is returned by itself.
func (r *run) endSave(ctx context.Context, s saved) (disk, err error) {
	step := r.saving.step
	r.saving.stop()
	r.saving = nil
	if s.err != nil {
		return nil, fmt.Errorf("checkpoint of step %d: %w", step, s.err)
	}
	for _, err := range s.copies {
		r.emit(api.Event{Event: "note", Message: fmt.Sprintf("checkpoint of step %d: no second copy: %v", step, err)})
	}
	if s.disk != nil {
		return fmt.Errorf("checkpoint of step %d: %w", step, s.disk), nil
	}
	r.save(api.Running)
	if r.outside() && r.team.Chief() {
		r.ship(ctx, s.manifest, s.nodes)
	}
	r.emit(api.Event{Event: "checkpoint", Done: step, Total: r.job.Train.Steps, Of: "checkpoint"})
	if r.Publish != nil && r.team.Chief() && !r.outside() { // else when it is in the store, too
		r.Publish(api.Published{Generation: r.Generation, Step: step, SHA256: s.manifest.Checksum, Nodes: s.nodes})
	}
	return nil, nil
}

// tellSave makes a note of a disk that failed: the next checkpoint may find room.
func (r *run) tellSave(disk, err error) error {
	if disk != nil {
		r.Log.Warn("training goes on without a checkpoint", "error", disk)
		r.emit(api.Event{Event: "note", Message: fmt.Sprintf("training goes on, %v", disk)})
	}
	return err
}

// write collects a checkpoint's tensors on the savers, who write it, and the chief
// learns who has. It runs beside training.
func (r *run) write(ctx context.Context, snapshot checkpoint.Snapshot, states map[int][]byte) (out saved) {
	me := r.team.Worker()
	tag := func(what string, i int) string { return fmt.Sprintf("checkpoint %d: %s %d", snapshot.Step, what, i) }
	work, wctx := errgroup.WithContext(ctx)
	for stage, raw := range states {
		for _, w := range r.savers() {
			if w != me {
				work.Go(func() error { return r.team.Pass(wctx, w, tag("stage", stage), raw) })
			}
		}
	}
	var m checkpoint.Manifest
	var disk error
	if slices.Contains(r.savers(), me) {
		work.Go(func() error {
			for i, s := range r.team.Plan().Stages {
				raw := states[i]
				if first := s.Workers[0]; first != me {
					var err error
					if raw, err = r.team.Accept(wctx, first, tag("stage", i)); err != nil {
						return err
					}
				}
				var state []slotState
				if err := decoded(raw, &state); err != nil {
					return fmt.Errorf("of stage %d: %w", i, err)
				}
				for _, s := range state {
					snapshot.Tensors = append(snapshot.Tensors, safetensors.Entry{Name: s.Name, DType: safetensors.F32, Shape: []int{s.Rows, s.Cols},
						Write: func(w io.Writer) error { _, err := w.Write(s.Raw); return err }})
				}
			}
			slices.SortFunc(snapshot.Tensors, func(a, b safetensors.Entry) int { return strings.Compare(a.Name, b.Name) })
			m, disk = r.store().Save(wctx, snapshot)
			if disk != nil && wctx.Err() != nil {
				return wctx.Err()
			}
			if me == 0 {
				return nil
			}
			said := ""
			if disk != nil {
				said = disk.Error()
			}
			return r.team.Pass(wctx, 0, tag("saved by", me), []byte(said))
		})
	}
	if out.err = work.Wait(); out.err != nil || me != 0 {
		return out
	}
	out.disk, out.manifest = disk, m
	nodes := r.team.Plan().Nodes
	if disk == nil {
		out.nodes = append(out.nodes, nodes[0])
	}
	for _, w := range r.savers()[1:] {
		said, err := r.team.Accept(ctx, w, tag("saved by", w))
		switch {
		case err != nil:
			out.err = err
			return out
		case len(said) > 0:
			out.copies = append(out.copies, fmt.Errorf("node %s: %w", nodes[w], errors.New(string(said))))
		default:
			out.nodes = append(out.nodes, nodes[w])
		}
	}
	return out
}
