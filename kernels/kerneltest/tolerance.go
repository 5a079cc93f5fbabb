package kerneltest

import (
	"fmt"
	"math"

	"ressa/kernels"
)

// unit is half the spacing of float32 relative to the number: one rounding.
const unit = 1.0 / (1 << 24)

// shortUnit is the same of bfloat16.
const shortUnit = 1.0 / (1 << 8)

// Tolerance is how far a backend may be from the reference. The error of an
// element is at most Units·2⁻²⁴·m, where m is the magnitude that Reason names,
// and 2⁻¹¹⁰ more where it is not zero: factors below float32's normal numbers may
// be taken for zero.
type Tolerance struct {
	Units  float64 // 0: identical bits
	Reason string
	// Rounded is for a device that rounds operands of products to bfloat16 (see
	// [Table]), in an operation that multiplies what it has itself computed. Such an
	// operand changes by at most 2⁻⁸ of itself, and so an element by at most
	// Rounded·2⁻⁸ of the sum of its absolute terms, more than above.
	Rounded float64
}

// Tolerances returns the tolerance of every operation.
func Tolerances() map[string]Tolerance {
	return map[string]Tolerance{
		"Fill":           {Units: 0, Reason: "nothing is computed"},
		"Convert":        {Units: 0, Reason: "rounding to nearest even has one result"},
		"Add":            {Units: 0, Reason: "one rounding"},
		"AddRounded":     {Units: 0, Reason: "one rounding of each operand and one of the sum"},
		"AddRows":        {Units: 0, Reason: "one rounding"},
		"GatherRows":     {Units: 0, Reason: "nothing is computed"},
		"ScatterRows":    {Units: 0, Reason: "nothing is computed"},
		"ScatterAddRows": {Units: 0, Reason: "float32 sums in ascending order are part of the contract"},
		"ArgmaxRows":     {Units: 0, Reason: "comparisons are exact"},
		"SumRowGroups":   {Units: 4, Reason: "m = √n·Σ|x|: n roundings in a free order, of random sign"},
		"Rotate":         {Units: 4, Reason: "m = |x[j]| + |x[j+h]|: two products and a sum, fused or not"},
		"Activate": {Units: 16, Reason: "m = |x|: f is x times something in 0…1 that comes from an exp, tanh or erf of a few units; " +
			"deep in the tail only the absolute error is held"},
		"ActivateBackward":      {Units: 16, Reason: "m = (1+|x|)·|dy|: f' adds two such terms, one of them multiplied by x"},
		"Gate":                  {Units: 16, Reason: "m = |gate·up|, as Activate"},
		"GateBackward":          {Units: 16, Reason: "m = (1+|gate|)·|dy·up| and |gate·dy|, as Activate"},
		"Gemm":                  {Units: 4, Reason: "m = √K·|A||B| (+|C|): K roundings of random sign, in any order, fused or not"},
		"EffectiveWeight":       {Units: 2, Reason: "m = (r+2)·(|W| + s·|B||A|): the products may be fused; +2⁻⁷|y| where a bfloat16 rounding may fall to the other side"},
		"LinearForward":         {Units: 4, Reason: "m = √K·|x||W_eff| + |bias|, with the device's own W_eff: all operations use the same bits of it"},
		"LinearBackwardInput":   {Units: 4, Reason: "m = √K·|dy||W_eff| (+|dx|), with the device's own W_eff"},
		"LinearBackwardAdapter": {Units: 4, Reason: "m = (√T+√n)·|dyᵀ||x||A|: a sum over tokens inside a sum over n columns or rows"},
		"LinearBackwardWeight":  {Units: 4, Reason: "m = √T·|dyᵀ||x|"},
		"AttentionForward": {Units: 8, Rounded: 1, Reason: "m = (√D+√keys+S)·Σp|v| with S the greatest Σ|q||k|·scale: " +
			"an error of a score is a relative one of its exp; for the log-sum-exp m = √D+S+log(keys); " +
			"p is rounded where operands are"},
		"AttentionBackward": {Units: 16, Rounded: 1, Reason: "m as in the forward pass, with the sums of p·(|dO||v| + |dO||O|) times |k|, |q|, and of p·|dO|; " +
			"p and the gradients of scores are rounded where operands are"},
		"LayerNorm":         {Units: 16, Reason: "m = √C·(1 + mean|x|·rstd)·(1+|xhat|)·|gamma| + |beta|: the mean is subtracted from what it is the mean of"},
		"LayerNormBackward": {Units: 16, Reason: "m = √C·(1 + mean|x|·rstd)·rstd·(|e| + mean|e| + |xhat|·mean|e·xhat|); gradients of parameters √T·Σ of the terms"},
		"RMSNorm":           {Units: 16, Reason: "m = √C·|y|"},
		"AddLayerNorm":      {Units: 16, Reason: "as LayerNorm of the sum, which has one rounding"},
		"AddRMSNorm":        {Units: 16, Reason: "as RMSNorm of the sum"},
		"RMSNormBackward":   {Units: 16, Reason: "as LayerNormBackward, without mean"},
		"CrossEntropyKL": {Units: 16, Reason: "m = (1+Z+√V)·(the terms' absolute values) with Z the greatest |logit|, over the temperature where that is less than 1: " +
			"an error of a logit is a relative one of its exp"},
		"AdamW":               {Units: 16, Reason: "m = |p| + |update| of absolute operands; m and v likewise: a handful of roundings, fused or not"},
		"SegmentSumSquares":   {Units: 16 * 0x1p-29, Reason: "m = √n·Σx², at float64's unit: the order within a block is free"},
		"ColumnSumSquares":    {Units: 0, Reason: "squares of float32 are exact in float64 and the order is fixed"},
		"SelectMask":          {Units: 0, Reason: "one rounding in float64, then comparisons: masks do not depend on the backend"},
		"PackKept":            {Units: 0, Reason: "nothing is computed"},
		"UnpackKept":          {Units: 0, Reason: "nothing is computed"},
		"Upload and Download": {Units: 0, Reason: "nothing is computed"},
	}
}

// units returns the tolerance of op as a factor of the magnitude.
func units(op string) float64 {
	t, ok := Tolerances()[op]
	if !ok {
		panic(fmt.Sprintf("kerneltest: no tolerance for %s", op))
	}
	return t.Units * unit
}

// allowing adds to bounds of op what [Tolerance.Rounded] allows for these sums of absolute
// terms, where factors are what a device rounds operands to.
func allowing(op string, factors kernels.DType, bounds, terms []float64) []float64 {
	if factors == kernels.BF16 {
		for i, v := range terms {
			bounds[i] += Tolerances()[op].Rounded * shortUnit * v
		}
	}
	return bounds
}

// scaled returns units(op)·f·m for each element of m.
func scaled(op string, f float64, m []float64) []float64 {
	u := units(op) * f
	b := make([]float64, len(m))
	for i, v := range m {
		b[i] = u * math.Abs(v)
	}
	return b
}

// summed bounds outputs that are sums of n products: units·√n times the result
// with the named operands taken absolute.
func summed(op string, n float64, outputs []int, named ...int) func(*trial, [][]float64) [][]float64 {
	return func(t *trial, want [][]float64) [][]float64 {
		m := t.absolute(want, named...)
		b := make([][]float64, len(t.operands))
		for _, o := range outputs {
			b[o] = scaled(op, math.Sqrt(max(1, n)), m[o])
		}
		return b
	}
}

// elementwise bounds output o by units times the magnitude of each element.
func elementwise(op string, o int, magnitude func(t *trial, i, j int) float64) func(*trial, [][]float64) [][]float64 {
	return func(t *trial, _ [][]float64) [][]float64 {
		b := make([][]float64, len(t.operands))
		out, u := t.operands[o], units(op)
		for i := range out.rows {
			for j := range out.cols {
				b[o] = append(b[o], u*magnitude(t, i, j))
			}
		}
		return b
	}
}

// first returns element (i, j) of operand o as it is before the operation.
func (t *trial) first(o, i, j int) float64 { return t.operands[o].value(t.operands[o].data, i, j) }
