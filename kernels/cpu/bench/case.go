package bench

import (
	"cmp"
	"slices"
)

// Group is what is measured together on one set of operands.
type Group struct {
	Name string
	// Sequence says that the parts are the stages of one step: they run one after the
	// other in each turn, and the step as a whole is measured as well.
	Sequence bool
	Open     func(r *Rig) ([]Part, error)
}

// Part is one operation at one size.
type Part struct {
	Label
	Flops float64 // that have to be done: those of masked weights do not count
	Bytes float64 // that have to be moved: every operand once

	ours, theirs func() // theirs is nil where there is nothing to compare with
}

// Label says what a part is.
type Label struct {
	Suite   string `json:"suite"`
	Op      string `json:"op"`
	Size    string `json:"size"`
	Pattern string `json:"pattern,omitempty"`
	Rank    int    `json:"rank,omitempty"`
}

// Row is the measurement of one part. Without OpenBLAS, and where it has no such
// operation, Theirs and Ratio are nil.
type Row struct {
	Label
	Flops   float64 `json:"flops"`
	Bytes   float64 `json:"bytes"`
	Seconds Spread  `json:"seconds"`
	Theirs  *Spread `json:"openblas_seconds,omitempty"`
	Ratio   *Spread `json:"ratio,omitempty"` // theirs / ours, of the same turn
	GFLOPS  float64 `json:"gflops"`
	GBps    float64 `json:"gigabytes_per_second"`
	Share   float64 `json:"share_of_floor"` // the floor's time divided by the median
	// Bound is what the floor is of: arithmetic or memory.
	Bound string `json:"bound"`
}

// Spread is a median with the quartiles and the extremes around it.
type Spread struct {
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the spread of values, zero without any.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	at := func(share float64) float64 {
		x := share * float64(len(v)-1)
		i := int(x)
		if i+1 == len(v) {
			return v[i]
		}
		return v[i] + (x-float64(i))*(v[i+1]-v[i])
	}
	return Spread{Median: at(0.5), Q1: at(0.25), Q3: at(0.75), Min: v[0], Max: v[len(v)-1]}
}
