package bench

import (
	"context"
	"errors"
	"strings"
	"time"

	"ressa/kernels"
	"ressa/kernels/cuda"
)

// Peak is what a GPU can do in a second.
type Peak struct {
	Flops float64 `json:"flops"` // of bfloat16 products, summed in float32
	Bytes float64 `json:"bytes"` // that memory moves, read and written
}

// Floor is the least time of a part: what takes longer of its arithmetic and its memory.
func (p Peak) Floor(x Part) float64 {
	seconds := 0.0
	if p.Flops > 0 {
		seconds = x.Flops / p.Flops
	}
	if p.Bytes > 0 {
		seconds = max(seconds, x.Bytes/p.Bytes)
	}
	return seconds
}

// Measured measures our product of side × side matrices of bfloat16, and a copy of so
// many numbers within the GPU.
func Measured(ctx context.Context, o cuda.Options, side, numbers int, least time.Duration) (_ Peak, err error) {
	d, err := cuda.Open(o)
	if err != nil {
		return Peak{}, err
	}
	s := &Subject{operands: operands{device: d, random: 1, named: map[string]kernels.Tensor{}}}
	defer func() { err = errors.Join(err, s.Close()) }()
	x := &s.operands
	if x.stream, err = d.NewStream(); err != nil {
		return Peak{}, err
	}
	s.clock = x.stream.(stopwatched).NewStopwatch()
	wide := x.values("wide", side, side, 1)
	a, c := x.zeros("a", kernels.BF16, side, side), x.zeros("c", kernels.F32, side, side)
	from, to := x.zeros("from", kernels.F32, 1, numbers), x.zeros("to", kernels.F32, 1, numbers)
	if x.err != nil {
		return Peak{}, x.err
	}
	x.stream.Convert(a, wide)
	product := Part{"product", 2 * float64(side) * float64(side) * float64(side), 0, func(s kernels.Stream) { s.Gemm(kernels.GemmArgs{C: c, A: a, B: a, Form: kernels.NT}) }}
	moved := Part{"copy", 0, float64(from.Bytes() + to.Bytes()), func(s kernels.Stream) { s.Convert(to, from) }}
	var p Peak
	for _, part := range []Part{product, moved} {
		best := 0.0
		s.Parts, s.repeat = []Part{part}, 1
		for range 4 {
			times, err := s.Turn(ctx)
			if err != nil {
				return Peak{}, err
			}
			if best == 0 || times[0] < best {
				best = times[0]
			}
			s.repeat = max(1, min(mostLaps, int(least.Seconds()/max(times[0], 1e-6))))
		}
		p.Flops, p.Bytes = max(p.Flops, part.Flops/best), max(p.Bytes, part.Bytes/best)
	}
	return p, nil
}

// Sheet returns what NVIDIA's data sheet promises of a GPU by the name that the driver
// gives it: dense bfloat16 products on tensor cores and the bandwidth of its memory.
func Sheet(name string) (Peak, bool) {
	for _, s := range []struct {
		has  []string // parts of the name; the first row that fits counts
		peak Peak
	}{
		// H200: https://www.nvidia.com/en-us/data-center/h200/
		{[]string{"H200 NVL"}, Peak{835e12, 4.8e12}},
		{[]string{"H200"}, Peak{989e12, 4.8e12}},
		// H100: https://www.nvidia.com/en-us/data-center/h100/ (half of what it says with sparsity);
		// PCIe: H100 Tensor Core GPU data sheet of 2022.
		{[]string{"H100", "NVL"}, Peak{835e12, 3.9e12}},
		{[]string{"H100", "PCIe"}, Peak{756e12, 2.0e12}},
		{[]string{"H100"}, Peak{989e12, 3.35e12}},
		// A100: NVIDIA A100 Tensor Core GPU data sheet.
		{[]string{"A100", "SXM4-80GB"}, Peak{312e12, 2.039e12}},
		{[]string{"A100", "80GB PCIe"}, Peak{312e12, 1.935e12}},
		{[]string{"A100"}, Peak{312e12, 1.555e12}},
	} {
		fits := true
		for _, part := range s.has {
			fits = fits && strings.Contains(name, part)
		}
		if fits {
			return s.peak, true
		}
	}
	return Peak{}, false
}
