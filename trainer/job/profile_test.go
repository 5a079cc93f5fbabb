package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/shard"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/demo"
	"ressa/trainer/job"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
)

// demoJob trains on the shipped model and data.
func demoJob(t *testing.T) api.Job {
	t.Helper()
	j, err := api.ParseJob("demo", strings.NewReader(api.DemoJob()))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func load(ctx context.Context, t *testing.T, device kernels.Device, dir string) *llava.Model {
	t.Helper()
	f, err := hf.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := llava.ParseConfig(f.Config().Raw)
	if err != nil {
		t.Fatal(err)
	}
	m, err := llava.Load(ctx, device, c, f, llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A pattern that drops hardly anything saves less than what finds the tiles takes.
func TestProfileWhereNextToNothingIsPruned(t *testing.T) {
	for _, pattern := range []string{"unstructured:0", "unstructured:0.0001", "63:64", "2:4"} {
		j := demoJob(t)
		j.Prune.Pattern, j.Distill.Lambda = pattern, 0
		if _, err := job.Profile(context.Background(), j); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

// TestProfileCountsWhatTheModelHolds compares a profile with the model itself, for
// each method: bytes of parameters and masks, and trained elements.
func TestProfileCountsWhatTheModelHolds(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "demo")
	if err := demo.Write(dir); err != nil {
		t.Fatal(err)
	}
	device := reference.Open()
	for _, method := range []adapter.Method{adapter.SparseLoRA, adapter.LoRARemask, adapter.Masked, adapter.Full} {
		t.Run(string(method), func(t *testing.T) {
			j := demoJob(t)
			j.Adapter.Method = string(method)
			if method == adapter.Full {
				j.Prune.Method = "none"
			}
			p, err := job.Profile(ctx, j)
			if err != nil {
				t.Fatal(err)
			}
			m := load(ctx, t, device, dir)
			defer m.Close()
			for i, tower := range []model.Tower{m.Vision, m.Language} {
				var weights, dropped int64
				for _, q := range tower.Params() {
					weights += int64(q.Value.Bytes())
				}
				if i == 0 {
					for _, q := range m.Unused {
						weights += int64(q.Value.Bytes())
					}
				}
				for _, n := range tower.Linears() {
					if tower.Prunable(n) && method != adapter.Full {
						weights += 8 * int64(n.Out()) * int64(kernels.MaskWords(n.In()))
						if method == adapter.Masked { // 2:4
							dropped += int64(n.Out()) * int64(n.In()) / 2
						}
						if method == adapter.LoRARemask {
							weights += int64(n.Weight.Value.Bytes())
						}
					}
				}
				a, err := adapter.Attach(ctx, device, tower, adapter.Options{Method: method, Rank: j.Adapter.Rank, Alpha: j.Adapter.Alpha,
					Projector: j.Adapter.Projector, Round: kernels.BF16})
				if err != nil {
					t.Fatal(err)
				}
				var got shard.Block
				for _, b := range p.Towers[i].Blocks {
					got.Weights += b.Weights
					got.Trained += b.Trained
					got.Dropped += b.Dropped
				}
				if got.Weights != weights {
					t.Errorf("%s tower: %d bytes of weights, the model holds %d", p.Towers[i].Role, got.Weights, weights)
				}
				if got.Trained != int64(a.Layout.Len) {
					t.Errorf("%s tower: %d trained elements, the layout has %d", p.Towers[i].Role, got.Trained, a.Layout.Len)
				}
				if got.Dropped != dropped {
					t.Errorf("%s tower: %d dropped elements, want %d", p.Towers[i].Role, got.Dropped, dropped)
				}
				a.Detach()
			}
		})
	}
}

// TestProfileForeseesMemory compares the activations and scratch memory of a
// profile with what a step takes.
func TestProfileForeseesMemory(t *testing.T) {
	for name, change := range map[string]func(*api.Job){
		"as shipped":   func(*api.Job) {},
		"no teacher":   func(j *api.Job) { j.Distill.Lambda = 0 },
		"two teachers": func(j *api.Job) { j.Distill.Teachers = map[string]float64{"dense-dense": 1, "dense-vision": 1} },
		"every row":    func(j *api.Job) { j.Distill.KLReduction = "batchmean" },
		"again, MLPs":  func(j *api.Job) { j.Train.Recompute = api.RecomputeMLPs },
		"again, all":   func(j *api.Job) { j.Train.Recompute = api.RecomputeBlocks },
		"full":         func(j *api.Job) { j.Adapter.Method = "full" },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.job.Train.Batch, b.job.Train.Microbatches, b.job.Train.Steps = 48, 2, 1
			b.job.Data.MaxLength = 24 // of a sample of the demo
			change(&b.job)
			if b.job.Adapter.Method == "full" {
				b.job.Prune.Method = "none"
			}
			p, err := job.Profile(context.Background(), b.job)
			b.check(err)
			o := b.options(filepath.Join(b.dir, "run"))
			o.Lanes = 1
			r, err := job.Run(context.Background(), b.job, o)
			b.check(err)
			want := int64(p.Flows+1) * p.CutBytes
			var scratch int64
			for _, tower := range p.Towers {
				for _, k := range tower.Blocks {
					want += k.Activations
					scratch = max(scratch, k.Scratch)
				}
			}
			want += scratch
			if ratio := float64(want) / float64(r.PeakMemory); ratio < 0.97 || ratio > 1.35 {
				t.Errorf("the profile foresees %d bytes, a step takes %d: ratio %.2f", want, r.PeakMemory, ratio)
			}
		})
	}
}

// TestProfileOfLLaVA7B holds the figures of the published model to what its sizes
// say: 7.06 G parameters, two flops for each and token forward.
func TestProfileOfLLaVA7B(t *testing.T) {
	raw, err := os.ReadFile("testdata/llava-1.5-7b.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := llava.ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	j := api.Default()
	j.Train.Batch, j.Train.Microbatches = 16, 16
	w := job.Workload{Config: c, VisionBytes: 2, LanguageBytes: 2, Samples: job.Samples{Length: 1024, Answers: 256, Images: 1}}
	p, err := w.Profile(j)
	if err != nil {
		t.Fatal(err)
	}
	sums := make([]shard.Block, 2)
	for i, tower := range p.Towers {
		for _, b := range tower.Blocks {
			sums[i].Weights += b.Weights
			sums[i].Forward += b.Forward
			sums[i].Backward += b.Backward
			sums[i].Trained += b.Trained
			sums[i].Activations += b.Activations
		}
	}
	within := func(what string, got, low, high float64) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s: %.4g, want %.4g to %.4g", what, got, low, high)
		}
	}
	within("bytes of the vision tower", float64(sums[0].Weights), 0.6e9, 0.7e9)             // 303 M weights of 2 bytes, and masks
	within("bytes of the language tower", float64(sums[1].Weights), 13.5e9, 14.5e9)         // 6.76 G
	within("flops of the vision tower", sums[0].Forward, 0.33e12, 0.42e12)                  // 2 · 0.29 G · 577, and attention
	within("flops of the language tower", sums[1].Forward, 13.5e12, 14.5e12)                // 2 · 6.5 G · 1024
	within("backward to forward", sums[1].Backward/sums[1].Forward, 1.9, 2.2)               // of the input and of the factors
	within("trained elements", float64(sums[1].Trained), 19e6, 22e6)                        // rank 8 on all linears
	within("activations of the language tower", float64(sums[1].Activations), 12e9, 13.5e9) // 32 blocks of 2048 rows
	if p.CutBytes != 576*1024*4 || p.Flows != 2 {
		t.Errorf("%d flows of %d bytes cross, want 2 of %d", p.Flows, p.CutBytes, 576*1024*4)
	}
}

func TestProfileRefuses(t *testing.T) {
	j := demoJob(t)
	j.Model.Path = t.TempDir()
	if _, err := job.Profile(context.Background(), j); err == nil {
		t.Error("a folder without a model has a profile")
	}
	if _, err := (job.Workload{}).Profile(demoJob(t)); err == nil {
		t.Error("a model without sizes has a profile")
	}
}

// TestProfilesThatPlansAreTestedWith: package shard tests its planner with
// profiles that this package makes. RESSA_UPDATE=1 writes them anew.
func TestProfilesThatPlansAreTestedWith(t *testing.T) {
	keeping := demoJob(t)
	keeping.Train.Recompute = api.RecomputeNone
	small, err := job.Profile(context.Background(), keeping)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/llava-1.5-7b.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := llava.ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	j := api.Default()
	j.Train.Batch, j.Train.Microbatches, j.Data.MaxLength = 16, 16, 1024
	w := job.Workload{Config: c, VisionBytes: 2, LanguageBytes: 2, Samples: job.Samples{Length: 1024, Answers: 256, Images: 1}}
	large, err := w.Profile(j)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]shard.Profile{"demo": small, "llava-1.5-7b": large} {
		path := "../../shard/testdata/" + name + ".json"
		want, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		if os.Getenv("RESSA_UPDATE") != "" {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not the profile that is made today (%v); RESSA_UPDATE=1 writes it", path, err)
		}
	}
}
