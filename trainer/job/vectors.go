package job

import (
	"context"
	"errors"
	"fmt"
	"io"

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

// checkpoint saves the trained state of all towers.
func (r *run) checkpoint(ctx context.Context, metrics map[string]float64) error {
	var entries []safetensors.Entry
	for node := range r.attachments {
		v := r.engine.Vector(node)
		for k, t := range []kernels.Tensor{v.Values, v.M, v.V} {
			host, err := step.ReadVector(ctx, r.probes[0].Stream, t)
			if err != nil {
				return fmt.Errorf("checkpoint of step %d: %w", r.state.Step, err)
			}
			for _, s := range v.Layout.Slots {
				part := host[s.Offset : s.Offset+s.Len()]
				entries = append(entries, safetensors.Entry{Name: tensorName(kinds()[k], s), DType: safetensors.F32, Shape: []int{s.Rows, s.Cols},
					Write: func(w io.Writer) error { _, err := w.Write(kernels.EncodeF32(part)); return err }})
			}
		}
	}
	_, err := r.store().Save(ctx, checkpoint.Snapshot{Identity: r.identity, Seed: r.job.Seed, Step: r.state.Step, Generation: 1,
		CreatedAt: r.Now(), Tensors: entries, Metrics: metrics})
	if err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", r.state.Step, err)
	}
	r.save(api.Running)
	r.emit(api.Event{Event: "checkpoint", Done: r.state.Step, Total: r.job.Train.Steps, Of: "checkpoint"})
	return nil
}

// load puts a checkpoint's state into the engine and closes the checkpoint.
func (r *run) load(ctx context.Context, c *checkpoint.Checkpoint) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	for node := range r.attachments {
		v := r.engine.Vector(node)
		for k, t := range []kernels.Tensor{v.Values, v.M, v.V} {
			host := make([]float32, v.Layout.Len)
			for _, s := range v.Layout.Slots {
				name := tensorName(kinds()[k], s)
				stored, err := c.Tensor(name)
				if err != nil {
					return err
				}
				if stored.DType != safetensors.F32 || len(stored.Data) != 4*s.Len() {
					return fmt.Errorf("checkpoint tensor %s has %d bytes of %v, want %d of F32", name, len(stored.Data), stored.DType, 4*s.Len())
				}
				if err := safetensors.DecodeFloat32(host[s.Offset:s.Offset+s.Len()], stored.Data, safetensors.F32); err != nil {
					return fmt.Errorf("checkpoint tensor %s: %w", name, err)
				}
			}
			if err := step.WriteVector(ctx, r.probes[0].Stream, t, host); err != nil {
				return err
			}
		}
	}
	return nil
}
