package job

import (
	"context"
	"errors"
	"fmt"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint"
)

// restore goes back to the newest state that there is, in the workers' memories, on
// their disks or in the job's store, and returns how many steps it holds.
func (r *run) restore(ctx context.Context) (first int, err error) {
	c, stored, unusable := r.newestCheckpoint(ctx)
	if r.outside() {
		disk := 0
		if c != nil {
			disk = c.Manifest.Step
		}
		brought, err := r.fromStore(ctx, disk, stored)
		if c != nil && (brought || err != nil) {
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			return 0, err
		}
		if brought {
			c, stored, unusable = r.newestCheckpoint(ctx)
		}
	}
	if unusable != nil {
		if r.Team == nil {
			return 0, unusable
		}
		r.Log.Warn("checkpoints on this disk not used", "error", unusable) // others may have them
		if errors.Is(unusable, checkpoint.ErrDamaged) {
			unusable = nil // and where nobody has, training begins again
		}
	}
	disk := 0
	if c != nil {
		disk = c.Manifest.Step
	}
	m, holder, disk, err := r.compare(ctx, disk, stored)
	if c != nil && (err != nil || m.Steps > disk || holder != r.team.Worker()) {
		err = errors.Join(err, c.Close())
		c = nil
	}
	if err == nil && max(m.Steps, disk) == 0 && r.team.Chief() {
		err = unusable
	}
	if err != nil {
		return 0, err
	}
	if m.Steps > disk {
		err = r.restoreMemory(ctx, m)
	} else {
		m, err = r.restoreDisk(ctx, c, holder, disk)
	}
	if err != nil {
		return 0, err
	}
	r.state.Step, r.state.Best, r.state.Since, r.state.BestScore = m.Steps, m.Best, m.Since, m.BestScore
	r.before, r.after = m, m
	return m.Steps, r.newBuddies(ctx, m.Steps)
}

// newestCheckpoint opens the newest checkpoint of the store, nil where there is none,
// and lists the steps of all.
func (r *run) newestCheckpoint(ctx context.Context) (c *checkpoint.Checkpoint, stored []int, err error) {
	c, skipped, err := r.store().Latest(ctx, r.identity)
	r.report(skipped)
	if errors.Is(err, checkpoint.ErrNone) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, api.Invalid(err)
	}
	list, err := r.store().List()
	for _, l := range list {
		if l.Err == nil {
			stored = append(stored, l.Manifest.Step)
		}
	}
	if err != nil {
		err = errors.Join(err, c.Close())
	}
	return c, stored, err
}

// compare finds what all workers together can go on from: the newest point of their
// memories and the newest checkpoint, with who holds that.
func (r *run) compare(ctx context.Context, disk int, stored []int) (m mark, holder, steps int, err error) {
	raw, err := r.team.Gather(ctx, "what training can go on from", encoded(r.says(disk, stored)))
	if err != nil {
		return m, 0, 0, err
	}
	all := make([]memories, len(raw))
	seen := 0
	for w := range raw {
		if err := decoded(raw[w], &all[w]); err != nil {
			return m, 0, 0, err
		}
		seen = max(seen, all[w].Seen)
	}
	m = newest(all)
	holder, steps = onDisk(all)
	lost := seen - max(m.Steps, steps)
	if lost > 0 {
		r.state.Lost += lost
	}
	r.goesOn(all, m, holder, steps, lost)
	return m, holder, steps, nil
}

// restoreMemory takes a point that the memories hold.
func (r *run) restoreMemory(ctx context.Context, m mark) error {
	missing, err := r.take(ctx, r.Memory.at(m.Steps), m.Steps)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("state after step %d: %s was held and is not", m.Steps, missing[0])
	}
	return err
}

// restoreDisk takes the holder's checkpoint of so many steps; of none, what the
// engines were opened with.
func (r *run) restoreDisk(ctx context.Context, c *checkpoint.Checkpoint, holder, steps int) (m mark, err error) {
	if steps == 0 {
		r.engine.Loaded(0)
		r.trainable = true
		return mark{Between: true}, nil
	}
	if c != nil {
		if err := r.recallBest(ctx, steps); err != nil {
			return m, errors.Join(err, c.Close())
		}
		r.state.Step = steps
		m = r.here(true)
	}
	raw, err := r.team.Tell(ctx, "newest checkpoint", holder, encoded(m))
	if err == nil {
		err = decoded(raw, &m)
	}
	if err != nil {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
		return m, err
	}
	return m, r.load(ctx, c, m.Steps)
}

// recallBest finds the best validation up to a step in the store: what state.json
// says may be ahead of the checkpoint.
func (r *run) recallBest(ctx context.Context, s int) error {
	r.state.Best, r.state.BestScore, r.state.Since = 0, 0, 0
	if r.job.Train.ValidateEvery == 0 {
		return nil
	}
	best, _, err := r.store().Best(ctx, r.identity)
	if errors.Is(err, checkpoint.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	r.state.Best, r.state.BestScore = best.Manifest.Step, best.Manifest.Metrics[scoreMetric]
	r.state.Since = (s - r.state.Best) / r.job.Train.ValidateEvery
	return best.Close()
}

func (r *run) report(skipped []checkpoint.Skipped) {
	for _, s := range skipped {
		r.emit(api.Event{Event: "note", Message: fmt.Sprintf("checkpoint passed over: %v", s.Err)})
	}
}
