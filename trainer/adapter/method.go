package adapter

import (
	"fmt"
	"slices"
	"strings"

	"ressa/kernels"
)

// Method says what is trained.
type Method string

const (
	// SparseLoRA trains A and B under the layer's mask: W_eff = (W + s·B·A) ⊙ M.
	SparseLoRA Method = "sparselora"
	// LoRARemask trains A and B over the pruned weight without a mask,
	// W_eff = W⊙M + s·B·A, and masks only when it is merged: the baseline that
	// loses what it learned at pruned positions.
	LoRARemask Method = "lora-remask"
	// LoRA trains A and B over a dense weight. It refuses layers with a mask.
	LoRA Method = "lora"
	// Masked trains the kept weights themselves, in float32.
	Masked Method = "masked"
	// Full trains every parameter of the tower, for training from scratch.
	Full Method = "full"
)

// Methods returns all methods in the order of documentation.
func Methods() []Method { return []Method{SparseLoRA, LoRARemask, LoRA, Masked, Full} }

// ParseMethod returns the method of that name.
func ParseMethod(name string) (Method, error) {
	if m := Method(name); slices.Contains(Methods(), m) {
		return m, nil
	}
	var names []string
	for _, m := range Methods() {
		names = append(names, string(m))
	}
	return "", fmt.Errorf("adapter method %q is unknown, want one of %s", name, strings.Join(names, ", "))
}

// LowRank reports whether the method trains factors A and B, and so has a rank
// and can be written in PEFT's layout.
func (m Method) LowRank() bool { return m == SparseLoRA || m == LoRARemask || m == LoRA }

// Options say what [Attach] does to one tower.
type Options struct {
	Method Method
	// Rank and Alpha are those of A and B; s = Alpha/Rank. Ignored by methods
	// without factors.
	Rank  int
	Alpha float64
	// Projector also trains the linears of the projector: by plain LoRA (all ones
	// as mask) where the method has factors, else their whole weight.
	Projector bool
	// Round is what effective weights are rounded to: the export dtype, F32 or BF16.
	Round kernels.DType
}

// Check reports the first bad option.
func (o Options) Check() error {
	if _, err := ParseMethod(string(o.Method)); err != nil {
		return err
	}
	if o.Round != kernels.F32 && o.Round != kernels.BF16 {
		return fmt.Errorf("adapter: cannot round effective weights to %v, want fp32 or bf16", o.Round)
	}
	if !o.Method.LowRank() {
		return nil
	}
	if o.Rank < 1 {
		return fmt.Errorf("adapter rank %d: must be at least 1", o.Rank)
	}
	if !(o.Alpha > 0) || o.Alpha > 1e6 {
		return fmt.Errorf("adapter alpha %v: must be positive and at most 1e6", o.Alpha)
	}
	return nil
}
