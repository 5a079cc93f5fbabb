package job

import (
	"context"
	"errors"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/activity"
	"ressa/trainer/model"
	"ressa/trainer/optim"
	"ressa/trainer/step"
	"ressa/trainer/team"
)

// buddies keep the trained state of stages that one worker alone holds, each on
// another worker: the holder passes on its gradient, and the buddy makes the same
// update a step later. A gradient travels while the next step computes; before that
// step is settled it has come, so that whenever a worker may have made step s, its
// buddy has made the step before.
type buddies struct {
	run     *run
	wards   []*ward       // stages of other workers that are kept here
	charges []*charge     // own stages that another worker keeps
	settled *step.Settled // the last, without its gradients; nil before the first
}

// ward is a stage of another worker's.
type ward struct {
	stage, holder int
	stream        kernels.Stream
	grad          kernels.Tensor
	now, before   *optim.Vector
	steps         int  // that now holds; < 0: it is not whole
	both          bool // before holds one step less
}

// charge is a stage of this worker's.
type charge struct {
	stage, buddy int
	sent         chan error // of the gradient under way; nil without one
}

// newBuddies agrees with the other workers who keeps what, after the engines were
// brought to the state of so many steps.
func (r *run) newBuddies(ctx context.Context, steps int) error {
	r.buddies.close()
	r.buddies = &buddies{run: r}
	if !r.remembers() || r.team.Alone() {
		return nil
	}
	b, plan := r.buddies, r.team.Plan()
	mine := map[int][]model.Slot{}
	have := team.Bytes{}
	for i, s := range plan.Stages {
		if len(s.Workers) > 1 || s.Workers[0] != r.team.Worker() {
			continue
		}
		b.charges = append(b.charges, &charge{stage: i, buddy: buddyOf(s.Workers[0], r.team.Size())})
		for _, slot := range r.engine.Vector(i).Layout.Slots {
			mine[i] = append(mine[i], model.Slot{Name: slot.Name, Rows: slot.Rows, Cols: slot.Cols})
		}
		slots, err := readSlots(ctx, r.probes[0].Stream, r.engine.Vector(i))
		if err != nil {
			return err
		}
		for _, s := range slots {
			have[s.Name] = s.Raw
		}
	}
	raw, err := r.team.Gather(ctx, "what buddies keep", encoded(mine))
	if err != nil {
		return err
	}
	var need []string
	for i, s := range plan.Stages {
		if len(s.Workers) > 1 || buddyOf(s.Workers[0], r.team.Size()) != r.team.Worker() {
			continue
		}
		said := map[int][]model.Slot{}
		if err := decoded(raw[s.Workers[0]], &said); err != nil {
			return err
		}
		w, err := r.newWard(i, s.Workers[0], said[i])
		if err != nil {
			return err
		}
		b.wards = append(b.wards, w)
		need = append(need, namesOf(w.now.Layout)...)
	}
	got, missing, err := r.team.Trade(ctx, "what buddies keep", have, need)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("what buddies keep: nobody has %s", missing[0])
	}
	if err != nil {
		return err
	}
	for _, w := range b.wards {
		if err := loadVector(ctx, w.stream, w.now, func(name string) ([]byte, error) { return got[name], nil }); err != nil {
			return err
		}
		w.steps = steps
	}
	return nil
}

// buddyOf returns the worker that keeps what a worker holds alone.
func buddyOf(worker, workers int) int { return (worker + 1) % workers }

func (r *run) newWard(stage, holder int, slots []model.Slot) (w *ward, err error) {
	layout := &model.Layout{}
	for _, s := range slots {
		layout.Add(s.Name, s.Rows, s.Cols)
	}
	w = &ward{stage: stage, holder: holder, steps: -1}
	defer func() {
		if err != nil {
			w.close(r.Device)
		}
	}()
	if w.stream, err = r.Device.NewStream(); err != nil {
		return nil, err
	}
	if w.now, err = optim.NewVector(r.Device, layout); err != nil {
		return nil, err
	}
	if w.before, err = optim.NewVector(r.Device, layout); err != nil {
		return nil, err
	}
	buffer, err := r.Device.Alloc(max(1, layout.Len) * kernels.F32.Size())
	if err != nil {
		return nil, err
	}
	w.grad = kernels.NewTensor(buffer, kernels.F32, 1, layout.Len)
	return w, nil
}

func (w *ward) close(d kernels.Device) {
	if w.stream != nil {
		_ = w.stream.Close() // its errors were reported when it was synchronised
	}
	for _, v := range []*optim.Vector{w.now, w.before} {
		if v != nil {
			v.Free(d)
		}
	}
	if !w.grad.IsZero() {
		d.Free(w.grad.Buffer)
	}
}

// close waits for what is under way, which ends with its context, and frees what is
// kept.
func (b *buddies) close() {
	if b == nil {
		return
	}
	for _, c := range b.charges {
		if c.sent != nil {
			<-c.sent
			c.sent = nil
		}
	}
	for _, w := range b.wards {
		w.close(b.run.Device)
	}
	b.wards, b.charges = nil, nil
}

func gradientTag(step, stage int) string { return fmt.Sprintf("gradient %d/%d", step, stage) }

// Settled implements [step.Observer]: gradients begin to travel.
func (b *buddies) Settled(ctx context.Context, s step.Settled) error {
	for _, c := range b.charges {
		if b.run.engine.Vector(c.stage).Layout.Len == 0 {
			continue
		}
		total, err := s.Total(ctx, c.stage)
		if err != nil {
			return err
		}
		raw, sent := kernels.EncodeF32(total), make(chan error, 1)
		c.sent = sent
		go func() {
			ctx, end := activity.Beside(ctx, fmt.Sprintf("passing on the gradient of step %d", s.Step+1))
			defer end()
			sent <- b.run.team.Pass(ctx, c.buddy, gradientTag(s.Step, c.stage), raw)
		}()
	}
	s.Total = nil
	b.settled = &s
	return nil
}

// Confirm implements [step.Observer]: the update before this one is made on both
// sides.
func (b *buddies) Confirm(ctx context.Context, _ int) error { return b.flush(ctx) }

// flush brings the buddies to the last step that was settled.
func (b *buddies) flush(ctx context.Context) error {
	if b.settled == nil {
		return nil
	}
	var errs []error
	for _, c := range b.charges {
		if c.sent != nil {
			passed := activity.Wait(ctx, b.run.team.Worker())
			err := <-c.sent
			passed()
			if err != nil {
				errs = append(errs, fmt.Errorf("gradient for the buddy of stage %d: %w", c.stage, err))
			}
			c.sent = nil
		}
	}
	for _, w := range b.wards {
		if err := b.follow(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("gradient of stage %d for its buddy: %w", w.stage, err))
		}
	}
	b.settled = nil
	return errors.Join(errs...)
}

// follow makes the update of the step that was settled last.
func (b *buddies) follow(ctx context.Context, w *ward) error {
	if w.now.Layout.Len == 0 {
		w.steps++
		return nil
	}
	raw, err := b.run.team.Accept(ctx, w.holder, gradientTag(b.settled.Step, w.stage))
	if err != nil {
		return err
	}
	if len(raw) != w.grad.Bytes() {
		return fmt.Errorf("%d bytes, want %d", len(raw), w.grad.Bytes())
	}
	if w.steps != b.settled.Step {
		return fmt.Errorf("the buddy holds the state after %d steps, the gradient is of step %d", w.steps, b.settled.Step+1)
	}
	w.steps, w.both = -1, false
	w.stream.Upload(w.grad, raw)
	for _, c := range [][2]kernels.Tensor{{w.before.Values, w.now.Values}, {w.before.M, w.now.M}, {w.before.V, w.now.V}} {
		w.stream.Convert(c[0], c[1]) // of the same type: a copy
	}
	w.now.Update(w.stream, b.run.optimiser(), w.grad, b.settled.LR, b.settled.Step, b.settled.Scale)
	if err := w.stream.Synchronize(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	w.steps, w.both = b.settled.Step+1, true
	return nil
}

// keep adds what is kept of other workers' stages to a point.
func (b *buddies) keep(ctx context.Context, p point) error {
	if b == nil {
		return nil
	}
	for _, w := range b.wards {
		v := w.now
		switch {
		case w.steps == p.Steps:
		case w.both && w.steps-1 == p.Steps:
			v = w.before
		default:
			continue
		}
		slots, err := readSlots(ctx, w.stream, v)
		if err != nil {
			return err
		}
		for _, s := range slots {
			p.tensors[s.Name] = s.Raw
		}
	}
	return nil
}
