//go:build cgo && linux

package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels/cuda"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/cuda/source"
	"ressa/shard"
	"ressa/trainer/job"
)

// onGPU opens the GPU of the shim, which moves bytes and computes nothing.
func onGPU(t *testing.T) *cuda.Device {
	t.Helper()
	d, err := cuda.Open(cuda.Options{Library: shim.Build(t), Staging: 1 << 20, Objects: func(int, int) (source.Images, error) {
		return source.Images{Architecture: "sm_80", Compiler: "shim", Modules: []source.Module{{Image: []byte("any")}}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d.(*cuda.Device)
}

// enlarge makes the demo's model larger, with random weights.
func (b *bench) enlarge(hidden, inner, blocks int) {
	b.Helper()
	var c map[string]any
	b.check(json.Unmarshal(b.read("model/config.json"), &c))
	for _, name := range []string{"text_config", "vision_config"} {
		part := c[name].(map[string]any)
		part["hidden_size"], part["intermediate_size"], part["num_hidden_layers"] = hidden, inner, blocks
		part["num_attention_heads"] = hidden / 64
		if name == "text_config" {
			part["num_key_value_heads"], part["head_dim"] = hidden/64, 64
		}
	}
	raw, err := json.Marshal(c)
	b.check(err)
	b.write("model/config.json", raw)
	b.job.Model.Init = "random"
}

// What a plan says that a worker needs of a GPU's memory is what it takes, but for what
// streams take for themselves, which the device says: it is small beside a large
// model, and not beside one that can be tested.
func TestPlansForeseeTheMemoryOfAGPU(t *testing.T) {
	if testing.Short() {
		t.Skip("prunes and hashes seven models")
	}
	shim.Build(t) // which no worker's patience has to cover
	t.Setenv("RESSA_SHIM_RUNS", "moves")
	t.Setenv("RESSA_SHIM_MEMORY", fmt.Sprint(int64(64)<<30))
	url := hub(t)
	keeping := func(again string, lambda float64) func(*api.Job) {
		return func(j *api.Job) { j.Train.Recompute, j.Distill.Lambda = again, lambda }
	}
	for _, c := range []struct {
		name   string
		nodes  int
		towers int // workers of each; 0 for all nodes
		change func(*api.Job)
	}{
		{"as shipped", 1, 0, func(*api.Job) {}},
		{"MLPs again", 1, 0, keeping(api.RecomputeMLPs, 0.5)},
		{"blocks again, no teacher", 1, 0, keeping(api.RecomputeBlocks, 0)},
		{"a dense vision tower, from checkpoints", 1, 0, func(j *api.Job) {
			j.Distill.Teachers, j.Train.KeepState = map[string]float64{"dense-vision": 1}, api.KeepCheckpoints
			j.Prune.Pattern = "unstructured:0.7"
		}},
		{"all parameters", 1, 0, func(j *api.Job) { j.Adapter.Method, j.Prune.Method = "full", "none" }},
		{"two replicas", 2, 0, keeping(api.RecomputeBlocks, 0.5)},
		{"towers apart", 2, 1, func(j *api.Job) { j.Train.Batch = 128 }}, // beside which the least that pools grow by is small
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.enlarge(256, 1024, 3)
			// Masks of n:m are made by a kernel, and none runs.
			b.job.Prune.Method, b.job.Prune.Pattern, b.job.Data.MaxLength = "magnitude", "unstructured:0.5", 64
			b.job.Train.Steps, b.job.Train.Batch, b.job.Train.Microbatches, b.job.Train.CheckpointEvery = 1, 32, 4, 0
			c.change(&b.job)
			p, err := job.Profile(context.Background(), b.job)
			b.check(err)
			request := shard.Request{Profile: p, Microbatches: b.job.Train.Microbatches, Want: c.nodes, VisionReplicas: c.towers, LanguageReplicas: c.towers}
			for i := range c.nodes {
				request.Nodes = append(request.Nodes, shard.Node{Name: fmt.Sprintf("n%d", i), Kind: "k", Speed: 1e12, Memory: 1 << 40, Apart: true, Bandwidth: 1e10})
			}
			planned, err := shard.MakePlan(request)
			b.check(err)
			devices, stepped := make([]*cuda.Device, c.nodes), false
			_, err = b.work(url, planned.Plan, 1, func(w int, o *job.Options, stop func()) {
				devices[w] = onGPU(t)
				o.Device, o.Memory = devices[w], &job.Memory{}
				if w == 0 {
					o.Emit = func(e api.Event) {
						if stepped = stepped || e.Step != nil; stepped {
							stop() // nothing was computed: what is exported would be wrong
						}
					}
				}
			})
			if !stepped {
				t.Fatalf("no step was made: %v", err)
			}
			for w, m := range planned.Memory {
				s, k := devices[w].Statistics(), planned.Plan.InFlight[w]
				took := s.PeakInUse - s.PeakStreams
				ratio := float64(m.Needs) / float64(took)
				t.Logf("worker %d, %s, %d in flight: foreseen %s, taken %s and %s by streams: %.3f", w, m.Layers, k, shard.Bytes(m.Needs),
					shard.Bytes(int64(took)), shard.Bytes(int64(s.PeakStreams)), ratio)
				if ratio < 0.95 || ratio > 1.1 {
					t.Errorf("worker %d: %d bytes were foreseen and %d taken", w, m.Needs, took)
				}
				info, err := devices[w].Memory()
				b.check(err)
				if most := int64(k+3) * info.Stream; int64(s.PeakStreams) > most {
					t.Errorf("worker %d: streams took %d bytes for themselves, want at most %d", w, s.PeakStreams, most)
				}
			}
		})
	}
}
