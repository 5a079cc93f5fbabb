package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
	"ressa/trainer/step"
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
	v := r.engine.Vector(stage)
	var out []slotState
	for k, t := range []kernels.Tensor{v.Values, v.M, v.V} {
		host, err := step.ReadVector(ctx, r.probes[0].Stream, t)
		if err != nil {
			return nil, err
		}
		for _, s := range v.Layout.Slots {
			out = append(out, slotState{tensorName(kinds()[k], s), s.Rows, s.Cols, kernels.EncodeF32(host[s.Offset : s.Offset+s.Len()])})
		}
	}
	return out, nil
}

// checkpoint saves the trained state of all stages on the chief. Its content does
// not tell which stages there were.
func (r *run) checkpoint(ctx context.Context, metrics map[string]float64) error {
	var entries []safetensors.Entry
	err := r.team.Collect(ctx, "trained state", func(stage int) ([]byte, error) {
		state, err := r.stageState(ctx, stage)
		return encoded(state), err
	}, func(stage int, said []byte) error {
		var state []slotState
		if err := decoded(said, &state); err != nil {
			return fmt.Errorf("of stage %d: %w", stage, err)
		}
		for _, s := range state {
			entries = append(entries, safetensors.Entry{Name: s.Name, DType: safetensors.F32, Shape: []int{s.Rows, s.Cols},
				Write: func(w io.Writer) error { _, err := w.Write(s.Raw); return err }})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", r.state.Step, err)
	}
	if r.team.Chief() {
		slices.SortFunc(entries, func(a, b safetensors.Entry) int { return strings.Compare(a.Name, b.Name) })
		_, err = r.store().Save(ctx, checkpoint.Snapshot{Identity: r.identity, Seed: r.job.Seed, Step: r.state.Step, Generation: r.Generation,
			CreatedAt: r.Now(), Tensors: entries, Metrics: metrics})
		if err != nil {
			return fmt.Errorf("checkpoint of step %d: %w", r.state.Step, err)
		}
	}
	r.save(api.Running)
	r.emit(api.Event{Event: "checkpoint", Done: r.state.Step, Total: r.job.Train.Steps, Of: "checkpoint"})
	return nil
}

// load puts a checkpoint's state into the engines of all workers. The chief has it
// and closes it; on the others it is nil.
func (r *run) load(ctx context.Context, c *checkpoint.Checkpoint) (err error) {
	if c != nil {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	stored := func(name string) ([]byte, error) {
		t, err := c.Tensor(name)
		if err == nil && t.DType != safetensors.F32 {
			err = fmt.Errorf("checkpoint tensor %s is %v, want F32", name, t.DType)
		}
		return t.Data, err
	}
	var names []string
	for _, t := range r.subject.towers() {
		for _, kind := range kinds() {
			for _, s := range r.engine.Vector(t.stage).Layout.Slots {
				names = append(names, tensorName(kind, s))
			}
		}
	}
	answer, err := r.team.Ask(ctx, "trained state", encoded(names), func(_ int, question []byte) ([]byte, error) {
		var asked []string
		if err := decoded(question, &asked); err != nil {
			return nil, err
		}
		data := map[string][]byte{}
		for _, name := range asked {
			if data[name], err = stored(name); err != nil {
				return nil, err
			}
		}
		return encoded(data), nil
	})
	if err != nil {
		return err
	}
	if !r.team.Chief() {
		data := map[string][]byte{}
		if err := decoded(answer, &data); err != nil {
			return err
		}
		stored = func(name string) ([]byte, error) { return data[name], nil }
	}
	for _, t := range r.subject.towers() {
		if err := r.loadStage(ctx, t.stage, stored); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) loadStage(ctx context.Context, stage int, stored func(name string) ([]byte, error)) error {
	v := r.engine.Vector(stage)
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
		if err := step.WriteVector(ctx, r.probes[0].Stream, t, host); err != nil {
			return err
		}
	}
	return nil
}
