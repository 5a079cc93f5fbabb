package step_test

import (
	"context"
	"testing"

	"ressa/kernels/cpu"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/model"
)

// BenchmarkRecompute is a repair step of one microbatch on one thread, by what is
// computed again: of the demo's model, and of one with the widths of SmolVLM-256M
// and some of its blocks.
func BenchmarkRecompute(b *testing.B) {
	large := smolConfig()
	large.Vision.Blocks, large.FeatureBlocks, large.Language.Blocks = 2, 2, 4
	large.Language.Vocabulary, large.ImageToken = 4096, 4095 // the head is not what is compared
	large.Vision.InitStd, large.Language.InitStd = 0.02, 0.02
	small := demoConfig()
	small.Vision.InitStd, small.Language.InitStd = 0.02, 0.02
	d, err := cpu.Open(cpu.Options{Threads: 1})
	if err != nil {
		b.Skip(err)
	}
	for _, m := range []struct {
		name  string
		s     setting
		batch *data.Batch
	}{
		{"demo", setting{config: &small}, wordy(small, 16, 12)},
		{"smolvlm", setting{config: &large}, wordy(large, 1, 200)},
	} {
		for mode, name := range []string{"none", "mlps", "blocks"} {
			b.Run(m.name+"/"+name, func(b *testing.B) {
				s := m.s
				s.device, s.lanes, s.method, s.objective, s.recompute = d, 1, adapter.SparseLoRA, distilling(b, "dense-dense"), model.Recompute(mode)
				e := newEngine(b, s)
				step := func(i int) int {
					r, err := e.Step(context.Background(), i, []*data.Batch{m.batch})
					if err != nil {
						b.Fatal(err)
					}
					return r.PeakMemory
				}
				step(0)
				b.ResetTimer()
				peak := 0
				for i := range b.N {
					peak = step(i + 1)
				}
				b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
			})
		}
	}
}
