package job

import (
	"context"
	"errors"
	"fmt"

	"ressa/kernels"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
	"ressa/trainer/optim"
	"ressa/trainer/step"
	"ressa/trainer/team"
)

// kinds are the parts of a trained state in a checkpoint's tensor names.
func kinds() []string { return []string{"value", "m", "v"} }

// tensorName names a slot's part in a checkpoint: "value/…lora_A.weight".
func tensorName(kind string, s *model.Slot) string { return kind + "/" + s.Name }

// slotState is a slot's part of the trained state on its way to the chief.
type slotState struct {
	Name       string // as in a checkpoint
	Rows, Cols int
	Raw        []byte // F32, little-endian
}

// stageState reads the trained state of a stage.
func (r *run) stageState(ctx context.Context, stage int) ([]slotState, error) {
	return readSlots(ctx, r.probes[0].Stream, r.engine.Vector(stage))
}

// readSlots reads a trained state to the host, slot by slot.
func readSlots(ctx context.Context, stream kernels.Stream, v *optim.Vector) ([]slotState, error) {
	var out []slotState
	for k, t := range []kernels.Tensor{v.Values, v.M, v.V} {
		host, err := step.ReadVector(ctx, stream, t)
		if err != nil {
			return nil, err
		}
		for _, s := range v.Layout.Slots {
			out = append(out, slotState{tensorName(kinds()[k], s), s.Rows, s.Cols, kernels.EncodeF32(host[s.Offset : s.Offset+s.Len()])})
		}
	}
	return out, nil
}

// stock is a checkpoint as something to give; nil has nothing.
type stock struct{ *checkpoint.Checkpoint }

// Names implements [team.Stock].
func (s stock) Names() []string {
	if s.Checkpoint == nil {
		return nil
	}
	return s.Checkpoint.Names()
}

// Size implements [team.Stock].
func (s stock) Size(name string) int {
	t, err := s.Tensor(name)
	if err != nil {
		return 0 // reading it will tell
	}
	return len(t.Data)
}

// Read implements [team.Stock].
func (s stock) Read(name string) ([]byte, error) {
	t, err := s.Tensor(name)
	if err == nil && t.DType != safetensors.F32 {
		err = fmt.Errorf("checkpoint tensor %s is %v, want F32", name, t.DType)
	}
	return t.Data, err
}

// needed names the parts of the trained state that this worker's stages consist of.
func (r *run) needed() []string {
	var names []string
	for _, t := range r.subject.towers() {
		names = append(names, namesOf(r.engine.Vector(t.stage).Layout)...)
	}
	return names
}

// namesOf names the parts of the trained state of a layout.
func namesOf(l *model.Layout) []string {
	var names []string
	for _, kind := range kinds() {
		for _, s := range l.Slots {
			names = append(names, tensorName(kind, s))
		}
	}
	return names
}

// load puts a checkpoint's state, of so many steps, into the engines of all workers.
// Who has it passes and so closes it; on the others it is nil.
func (r *run) load(ctx context.Context, c *checkpoint.Checkpoint, steps int) (err error) {
	if c != nil {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	missing, err := r.take(ctx, stock{c}, steps)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("checkpoint of step %d: tensor %s is missing", steps, missing[0])
	}
	return err
}

// take puts the trained state of so many steps into the engines of all workers, from
// what each of them has. missing is what nobody has: then nothing was changed.
func (r *run) take(ctx context.Context, have team.Stock, steps int) (missing []string, err error) {
	got, missing, err := r.team.Trade(ctx, "trained state", have, r.needed())
	if err != nil || len(missing) > 0 {
		return missing, err
	}
	r.trainable = false
	for _, t := range r.subject.towers() {
		if err := r.loadStage(ctx, t.stage, func(name string) ([]byte, error) { return got[name], nil }); err != nil {
			return nil, err
		}
	}
	r.engine.Loaded(steps)
	r.trainable = true
	return nil, nil
}

func (r *run) loadStage(ctx context.Context, stage int, stored func(name string) ([]byte, error)) error {
	return loadVector(ctx, r.probes[0].Stream, r.engine.Vector(stage), stored)
}

// loadVector sets a trained state from the bytes of its parts.
func loadVector(ctx context.Context, stream kernels.Stream, v *optim.Vector, stored func(name string) ([]byte, error)) error {
	for k, t := range []kernels.Tensor{v.Values, v.M, v.V} {
		host := make([]float32, v.Layout.Len)
		for _, s := range v.Layout.Slots {
			name := tensorName(kinds()[k], s)
			raw, err := stored(name)
			if err != nil {
				return err
			}
			if len(raw) != 4*s.Len() {
				return fmt.Errorf("checkpoint tensor %s has %d bytes, want %d", name, len(raw), 4*s.Len())
			}
			if err := safetensors.DecodeFloat32(host[s.Offset:s.Offset+s.Len()], raw, safetensors.F32); err != nil {
				return fmt.Errorf("checkpoint tensor %s: %w", name, err)
			}
		}
		if err := step.WriteVector(ctx, stream, t, host); err != nil {
			return err
		}
	}
	return nil
}
