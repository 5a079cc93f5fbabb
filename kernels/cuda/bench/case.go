package bench

import (
	"fmt"

	"ressa/kernels"
)

// The suites of cases.
const (
	Layer     = "layer"     // forward, dA and dB, dX of a SparseLoRA layer
	Attention = "attention" // forward and backward
	Loss      = "loss"      // cross-entropy and KL with their gradient
	Memory    = "memory"    // what is bound by moving memory; there is no other side
)

// Case is what is measured, at one size. Fields that do not belong to the suite are 0.
type Case struct {
	Suite      string `json:"suite"`
	Tokens     int    `json:"tokens"`
	Out        int    `json:"out,omitempty"`
	In         int    `json:"in,omitempty"`
	Rank       int    `json:"rank,omitempty"`
	Heads      int    `json:"heads,omitempty"`
	HeadDim    int    `json:"head_dim,omitempty"`
	Causal     bool   `json:"causal,omitempty"`
	Vocabulary int    `json:"vocabulary,omitempty"`
}

// String names the case in messages.
func (c Case) String() string {
	switch c.Suite {
	case Layer:
		return fmt.Sprintf("layer %d × %d × %d, r = %d", c.Tokens, c.Out, c.In, c.Rank)
	case Attention:
		kind := "full"
		if c.Causal {
			kind = "causal"
		}
		return fmt.Sprintf("attention %d tokens, %d heads of %d, %s", c.Tokens, c.Heads, c.HeadDim, kind)
	case Loss:
		return fmt.Sprintf("loss %d × %d", c.Tokens, c.Vocabulary)
	}
	return fmt.Sprintf("%s %d × %d", c.Suite, c.Tokens, c.In)
}

// Check reports a size that the suite needs and lacks.
func (c Case) Check() error {
	needs := map[string][]int{
		Layer: {c.Tokens, c.Out, c.In, c.Rank}, Attention: {c.Tokens, c.Heads, c.HeadDim}, Loss: {c.Tokens, c.Vocabulary}, Memory: {c.Tokens, c.In},
	}[c.Suite]
	if needs == nil {
		return fmt.Errorf("suite %q, want %s, %s, %s or %s", c.Suite, Layer, Attention, Loss, Memory)
	}
	for _, n := range needs {
		if n < 1 || n > 1<<20 {
			return fmt.Errorf("%v: sizes are from 1 to %d", c, 1<<20)
		}
	}
	return nil
}

// Activations is how many numbers a layer reads and writes besides its weight, of other
// suites the operands.
func (c Case) Activations() int64 {
	n := int64(c.Tokens)
	switch c.Suite {
	case Layer:
		return 2 * n * int64(c.Out+c.In)
	case Attention:
		return 8 * n * int64(c.Heads*c.HeadDim)
	case Loss:
		return 3 * n * int64(c.Vocabulary)
	}
	return 7 * n * int64(c.In)
}

// Part is one operation of a case.
type Part struct {
	Name  string
	Flops float64 // of dense products, which the tensor cores do whatever the mask
	Bytes float64 // every operand once, as this side keeps it
	run   func(kernels.Stream)
}
