package kerneltest

import (
	"fmt"
	"math"

	"ressa/kernels"
)

// objectiveCase is one loss over rows × vocabulary.
type objectiveCase struct {
	n           shape
	teachers    int
	temperature float32
	ce, kl      float32
	spread      float64 // deviation of the logits
	gradient    string  // "", "own" or "in-place"
	ignore      int     // every ignore-th label is negative; 0: none
}

func (c objectiveCase) String() string {
	s := fmt.Sprintf("%v-teachers-%d-T-%v-spread-%v-ignore-%d", c.n, c.teachers, c.temperature, c.spread, c.ignore)
	if c.gradient != "" {
		s += "-gradient-" + c.gradient
	}
	return s
}

func objectiveCases() (cases []testCase) {
	for _, c := range []objectiveCase{
		{shape{1, 1}, 0, 1, 1, 0, 1, "own", 0},
		{shape{1, 1}, 1, 2, 0.5, 0.5, 1, "own", 0},
		{shape{3, 7}, 0, 1, 0.25, 0, 1, "", 0},
		{shape{7, 63}, 0, 3, 0.5, 0, 2, "own", 2},
		{shape{5, 64}, 1, 1, 0.5, 0.5, 2, "own", 0},
		{shape{17, 65}, 1, 2, 0.5, 2, 2, "in-place", 3},
		{shape{4, 130}, 3, 0.5, 0.1, 0.9, 2, "in-place", 2},
		{shape{9, 257}, 2, 4, 0.25, 4, 3, "", 4},
		{shape{3, 1030}, 1, 1.5, 0, 1, 2, "own", 1}, // all labels negative
		{shape{6, 257}, 1, 1, 0.5, 0.5, 100, "own", 0},
		{shape{6, 257}, 2, 0.7, 0.5, 0.5, 1000, "in-place", 2},
		{shape{70, 515}, 1, 2, 0.5, 2, 1, "in-place", 5},
	} {
		cases = append(cases, both("CrossEntropyKL", c.String(), func(g *generator) *trial { return crossEntropyKL(g, c) })...)
	}
	return cases
}

func crossEntropyKL(g *generator, c objectiveCase) *trial {
	rows, vocabulary := c.n.rows, c.n.cols
	operands := []*operand{g.out("losses", rows, 2), g.normal("logits", rows, vocabulary, c.spread),
		g.indices("labels", rows, func(i int) int {
			if c.ignore > 0 && i%c.ignore == 0 {
				return -100
			}
			return g.rng.IntN(vocabulary)
		})}
	weights := []float32{1, 0.25, 2}
	for k := range c.teachers {
		operands = append(operands, g.normal(fmt.Sprintf("teacher %d", k), rows, vocabulary, c.spread))
	}
	gradient := -1
	switch c.gradient {
	case "own":
		gradient = len(operands)
		operands = append(operands, g.out("dlogits", rows, vocabulary))
	case "in-place":
		gradient = 1
		operands[1].output = true
	}
	return with(func(s kernels.Stream, x []kernels.Tensor) {
		a := kernels.CrossEntropyKLArgs{Losses: x[0], Logits: x[1], Labels: x[2], Temperature: c.temperature, CEScale: c.ce, KLScale: c.kl}
		for k := range c.teachers {
			a.Teachers = append(a.Teachers, kernels.TeacherLogits{Logits: x[3+k], Weight: weights[k]})
		}
		if gradient >= 0 {
			a.DLogits = x[gradient]
		}
		s.CrossEntropyKL(a)
	}, operands...).within(func(t *trial, _ [][]float64) [][]float64 {
		b := make([][]float64, len(t.operands))
		total, u := 0.0, units("CrossEntropyKL")
		for k := range c.teachers {
			total += float64(weights[k])
		}
		for i := range rows {
			top := 0.0
			for j := range vocabulary {
				for k := range 1 + c.teachers {
					if k == 0 {
						top = max(top, math.Abs(t.first(1, i, j)))
					} else {
						top = max(top, math.Abs(t.first(2+k, i, j)))
					}
				}
			}
			f := 1 + top/min(1, float64(c.temperature)) + math.Sqrt(float64(vocabulary))
			b[0] = append(b[0], u*f, u*f*(1+total))
		}
		if gradient >= 0 {
			b[gradient] = scaled("CrossEntropyKL", 1, c.gradientMagnitude(t, weights))
		}
		return b
	})
}

// gradientMagnitude sums the absolute values of the gradient's terms.
func (c objectiveCase) gradientMagnitude(t *trial, weights []float32) []float64 {
	rows, vocabulary, temperature := c.n.rows, c.n.cols, float64(c.temperature)
	m := make([]float64, rows*vocabulary)
	for i := range rows {
		top := 0.0
		add := func(o int, temperature, scale float64) {
			largest, sum := math.Inf(-1), 0.0
			for j := range vocabulary {
				z := t.first(o, i, j) / temperature
				largest, top = max(largest, z), max(top, math.Abs(z))
			}
			for j := range vocabulary {
				sum += math.Exp(t.first(o, i, j)/temperature - largest)
			}
			for j := range vocabulary {
				m[i*vocabulary+j] += math.Abs(scale) * math.Exp(t.first(o, i, j)/temperature-largest) / sum
			}
		}
		if y := t.first(2, 0, i); y >= 0 {
			add(1, 1, float64(c.ce))
			m[i*vocabulary+int(y)] += math.Abs(float64(c.ce))
		}
		for k := range c.teachers {
			scale := float64(c.kl) / temperature * float64(weights[k])
			add(1, temperature, scale)
			add(3+k, temperature, scale)
		}
		f := 1 + top + math.Sqrt(float64(vocabulary))
		for j := range vocabulary {
			m[i*vocabulary+j] *= f
		}
	}
	return m
}
