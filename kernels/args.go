package kernels

import (
	"fmt"
	"slices"
)

// GemmArgs is C = op(A)·op(B), or C += … with Accumulate. C is F32 (M, N); A and
// B are F32 or BF16.
//
//	NT: A (M, K), B (N, K)      NN: A (M, K), B (K, N)      TN: A (K, M), B (K, N)
type GemmArgs struct {
	C, A, B    Tensor
	Form       GemmForm
	Accumulate bool
}

// GemmForm says which operand is transposed.
type GemmForm uint8

// The three forms that forward, input gradient and weight gradient need.
const (
	NT GemmForm = iota // C = A·Bᵀ
	NN                 // C = A·B
	TN                 // C = Aᵀ·B
)

// Dims returns M, N and K, or an error when the shapes do not fit together.
func (g GemmArgs) Dims() (m, n, k int, err error) {
	kb := 0
	switch g.Form {
	case NT:
		m, k, n, kb = g.A.Rows, g.A.Cols, g.B.Rows, g.B.Cols
	case NN:
		m, k, n, kb = g.A.Rows, g.A.Cols, g.B.Cols, g.B.Rows
	case TN:
		m, k, n, kb = g.A.Cols, g.A.Rows, g.B.Cols, g.B.Rows
	default:
		return 0, 0, 0, fmt.Errorf("gemm: unknown form %d", g.Form)
	}
	if k != kb || g.C.Rows != m || g.C.Cols != n {
		return 0, 0, 0, fmt.Errorf("gemm: C %v, A %v, B %v do not fit form %d", g.C, g.A, g.B, g.Form)
	}
	if err := checkAll("gemm", is(g.C, "C", F32), is(g.A, "A", F32, BF16), is(g.B, "B", F32, BF16)); err != nil {
		return 0, 0, 0, err
	}
	return m, n, k, nil
}

// PackedWeight is a frozen weight without its zeros. Tiles of 64 × 64 follow each
// other row by row of tiles; within a tile the kept values, row after row, columns
// ascending. [sparse.Pack] makes it.
type PackedWeight struct {
	Out, In int
	Values  Tensor // F32 or BF16 (1, kept)
	Offsets Tensor // I32 (⌈Out/64⌉, ⌈In/64⌉): the element of Values at which a tile starts
}

// LinearWeight is what a linear layer multiplies with. The weight is W, or Packed,
// which needs the Mask that it was packed with.
type LinearWeight struct {
	W      Tensor       // (out, in), F32 or BF16, dense in memory
	Packed PackedWeight // instead of W
	Mask   Tensor       // U64 (out, MaskWords(in)); absent: everything is kept
	Kept   int          // the ones in Mask; 0 where they were not counted: a backend then skips no zeros

	// TwoOfFour says that Mask keeps at most two of each four consecutive inputs, from
	// input 0 on, as sparse tensor cores want it; without Mask it says nothing. A
	// backend may rely on it, and then refuses a mask that keeps more.
	TwoOfFour bool

	A     Tensor  // F32 (r, in); absent: no adapter
	B     Tensor  // F32 (out, r); absent with A
	Scale float32 // s = alpha/r
	Round DType   // F32 or BF16: what W_eff is rounded to, once
}

// IsPacked reports whether the weight is Packed.
func (w LinearWeight) IsPacked() bool { return !w.Packed.Values.IsZero() }

// Out returns the number of output features.
func (w LinearWeight) Out() int {
	if w.IsPacked() {
		return w.Packed.Out
	}
	return w.W.Rows
}

// In returns the number of input features.
func (w LinearWeight) In() int {
	if w.IsPacked() {
		return w.Packed.In
	}
	return w.W.Cols
}

// Check verifies shapes and dtypes. The effective weight is, with every product
// and sum rounded to float32 and k ascending from 0,
//
//	W_eff[o][i] = M[o][i] ? round(W[o][i] + Scale·(Σ_k B[o][k]·A[k][i])) : +0
//
// and round(W[o][i]) without an adapter. Whether a backend fuses the products
// into the sums is part of its numeric kind.
func (w LinearWeight) Check() error {
	out, in := w.Out(), w.In()
	if err := w.checkValues(); err != nil {
		return err
	}
	if w.Round != F32 && w.Round != BF16 {
		return fmt.Errorf("linear: cannot round to %v", w.Round)
	}
	if !w.Mask.IsZero() {
		if err := checkAll("linear", shaped(w.Mask, "mask", U64, out, MaskWords(in))); err != nil {
			return err
		}
	}
	if w.Kept < 0 || w.Kept > out*in {
		return fmt.Errorf("linear: %d weights of (%d, %d) are kept", w.Kept, out, in)
	}
	if most := in/4*2 + min(2, in%4); w.TwoOfFour && !w.Mask.IsZero() && w.Kept > out*most {
		return fmt.Errorf("linear: %d weights of (%d, %d) are kept, more than two of each four inputs", w.Kept, out, in)
	}
	if w.A.IsZero() != w.B.IsZero() {
		return fmt.Errorf("linear: adapter has A %v but B %v", w.A, w.B)
	}
	if !w.A.IsZero() {
		if err := checkAll("linear", is(w.A, "A", F32), is(w.B, "B", F32)); err != nil {
			return err
		}
		if w.A.Cols != in || w.B.Rows != out || w.A.Rows != w.B.Cols {
			return fmt.Errorf("linear: A %v and B %v do not fit W (%d, %d)", w.A, w.B, out, in)
		}
	}
	return nil
}

// checkValues verifies W or Packed.
func (w LinearWeight) checkValues() error {
	if !w.IsPacked() {
		return checkAll("linear", is(w.W, "W", F32, BF16))
	}
	p := w.Packed
	if !w.W.IsZero() || w.Mask.IsZero() {
		return fmt.Errorf("linear: a packed weight comes with its mask and without W; found mask %v, W %v", w.Mask, w.W)
	}
	if w.Kept != p.Values.Cols {
		return fmt.Errorf("linear: %d values are packed, but %d kept", p.Values.Cols, w.Kept)
	}
	return checkAll("linear", is(p.Values, "packed values", F32, BF16), shaped(p.Values, "packed values", p.Values.DType, 1, p.Values.Cols),
		shaped(p.Offsets, "packed offsets", I32, MaskWords(p.Out), MaskWords(p.In)))
}

// AttentionArgs describes one call of attention over Batch sequences.
//
// Rows of sequence b start at b·QueryLen in Q and O, and at b·KeyPitch in K and
// V. Head h reads columns h·HeadDim… of Q, and head h/(Heads/KVHeads) of K and V
// (grouped-query attention). The number of valid keys n of a sequence is
// Lengths[b], or KeyLen where Lengths is absent; keys from n on are ignored.
// With Causal, query i sees the keys j ≤ i + n − QueryLen.
// A query that sees no key gets a row of zeros, LogSumExp −Inf, and no gradient.
type AttentionArgs struct {
	Batch, Heads, KVHeads, HeadDim int
	QueryLen, KeyLen               int
	KeyPitch                       int     // rows between sequences in K and V; 0 means KeyLen
	Q, O                           Tensor  // F32 (Batch·QueryLen, Heads·HeadDim)
	K, V                           Tensor  // F32 (Batch·KeyPitch, KVHeads·HeadDim)
	LogSumExp                      Tensor  // F32 (Batch·Heads, QueryLen): written forward, read backward
	Lengths                        Tensor  // I32 (1, Batch), optional
	Causal                         bool    //
	Scale                          float32 // of the scores, usually 1/√HeadDim
}

// AttentionGrads are the gradients that AttentionBackward reads (DO) and
// overwrites (DQ, DK, DV), shaped like O, Q, K and V. Rows of keys that no query
// sees get zero. DQ may not be Q.
type AttentionGrads struct {
	DO, DQ, DK, DV Tensor
}

// Check verifies shapes and dtypes.
func (a AttentionArgs) Check() error {
	pitch := a.Pitch()
	switch {
	case a.Batch < 1 || a.Heads < 1 || a.KVHeads < 1 || a.HeadDim < 1 || a.QueryLen < 1 || a.KeyLen < 1:
		return fmt.Errorf("attention: sizes must be positive: %d sequences, %d/%d heads of %d, %d queries, %d keys",
			a.Batch, a.Heads, a.KVHeads, a.HeadDim, a.QueryLen, a.KeyLen)
	case a.Heads%a.KVHeads != 0:
		return fmt.Errorf("attention: %d heads are no multiple of %d key-value heads", a.Heads, a.KVHeads)
	case pitch < a.KeyLen:
		return fmt.Errorf("attention: key pitch %d is less than %d keys", pitch, a.KeyLen)
	}
	q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	err := checkAll("attention", shaped(a.Q, "Q", F32, a.Batch*a.QueryLen, q), shaped(a.O, "O", F32, a.Batch*a.QueryLen, q),
		shaped(a.K, "K", F32, a.Batch*pitch, kv), shaped(a.V, "V", F32, a.Batch*pitch, kv),
		shaped(a.LogSumExp, "LogSumExp", F32, a.Batch*a.Heads, a.QueryLen))
	if err == nil && !a.Lengths.IsZero() {
		err = shaped(a.Lengths, "Lengths", I32, 1, a.Batch)
	}
	return err
}

// Pitch returns the rows between sequences in K and V.
func (a AttentionArgs) Pitch() int {
	if a.KeyPitch == 0 {
		return a.KeyLen
	}
	return a.KeyPitch
}

// Check verifies the gradients against the arguments they belong to.
func (g AttentionGrads) Check(a AttentionArgs) error {
	return checkAll("attention backward", shaped(g.DO, "dO", F32, a.O.Rows, a.O.Cols), shaped(g.DQ, "dQ", F32, a.Q.Rows, a.Q.Cols),
		shaped(g.DK, "dK", F32, a.K.Rows, a.K.Cols), shaped(g.DV, "dV", F32, a.V.Rows, a.V.Cols))
}

// CrossEntropyKLArgs is the loss over N rows of logits with vocabulary V.
//
// With z the row's logits, y its label and t_k the logits of teacher k,
//
//	ce = −log softmax(z)[y]             (0 where y < 0)
//	kl = Σ_k w_k · KL(softmax(t_k/T) ‖ softmax(z/T))
//
// Losses[i] = (ce, kl), both unscaled. DLogits, where it is present, gets
//
//	CEScale·(softmax(z) − onehot(y))  +  KLScale/T · Σ_k w_k·(softmax(z/T) − softmax(t_k/T))
//
// and may be Logits itself. The caller puts λ, T² and the mean into the scales.
type CrossEntropyKLArgs struct {
	Logits           Tensor // F32 (N, V)
	Labels           Tensor // I32 (1, N); negative: no cross-entropy in this row
	Teachers         []TeacherLogits
	Temperature      float32
	CEScale, KLScale float32
	DLogits          Tensor // F32 (N, V), optional
	Losses           Tensor // F32 (N, 2)
}

// TeacherLogits are one teacher's logits, F32 (N, V), and its weight in the sum.
type TeacherLogits struct {
	Logits Tensor
	Weight float32
}

// Check verifies shapes, dtypes and the temperature.
func (a CrossEntropyKLArgs) Check() error {
	n, v := a.Logits.Rows, a.Logits.Cols
	errs := []error{is(a.Logits, "logits", F32), shaped(a.Labels, "labels", I32, 1, n), shaped(a.Losses, "losses", F32, n, 2)}
	for i, t := range a.Teachers {
		errs = append(errs, shaped(t.Logits, fmt.Sprintf("teacher %d", i), F32, n, v))
	}
	if !a.DLogits.IsZero() {
		errs = append(errs, shaped(a.DLogits, "gradient", F32, n, v))
	}
	if !(a.Temperature > 0) {
		errs = append(errs, fmt.Errorf("temperature %v is not positive", a.Temperature))
	}
	return checkAll("cross-entropy", errs...)
}

// AdamWArgs is one step of AdamW (Loshchilov & Hutter, arXiv 1711.05101) with
// PyTorch's order of operations, elementwise in float32:
//
//	g = GradScale·Grad
//	p = p − LR·WeightDecay·p
//	m = Beta1·m + (1−Beta1)·g
//	v = Beta2·v + (1−Beta2)·g²
//	p = p − LR/Bias1 · m / (√v/√Bias2 + Eps)
//
// with Bias1 = 1 − Beta1^step and Bias2 = 1 − Beta2^step, computed by the caller
// in float64. All tensors are F32 of one shape. Where Mask (U64, as
// [LinearWeight.Mask], over Param's columns) is present, masked elements are
// left as they are.
type AdamWArgs struct {
	Param, Grad, M, V Tensor
	Mask              Tensor
	LR, WeightDecay   float32
	Beta1, Beta2, Eps float32
	Bias1, Bias2      float64
	GradScale         float32
}

// Check verifies shapes and dtypes.
func (a AdamWArgs) Check() error {
	r, c := a.Param.Rows, a.Param.Cols
	errs := []error{is(a.Param, "param", F32), shaped(a.Grad, "grad", F32, r, c), shaped(a.M, "m", F32, r, c), shaped(a.V, "v", F32, r, c)}
	if !a.Mask.IsZero() {
		errs = append(errs, shaped(a.Mask, "mask", U64, r, MaskWords(c)))
	}
	return checkAll("adamw", errs...)
}

// is verifies that t is present, within its buffer, and of one of the dtypes.
func is(t Tensor, name string, dtypes ...DType) error {
	if t.IsZero() {
		return fmt.Errorf("%s is absent", name)
	}
	if t.Rows < 0 || t.Cols < 0 || t.Offset < 0 || (t.Rows > 1 && t.Stride < t.Cols) {
		return fmt.Errorf("%s has a bad view: %v at %d", name, t, t.Offset)
	}
	if t.Rows > 0 && t.Cols > 0 {
		if end := t.Offset + (t.Rows-1)*t.Stride + t.Cols; end*t.DType.Size() > t.Buffer.Bytes() {
			return fmt.Errorf("%s ends at byte %d of a buffer of %d", name, end*t.DType.Size(), t.Buffer.Bytes())
		}
	}
	for _, d := range dtypes {
		if t.DType == d {
			return nil
		}
	}
	// The copy keeps the list of a call that succeeds off the heap.
	return fmt.Errorf("%s is %v, want one of %v", name, t.DType, slices.Clone(dtypes))
}

// shaped verifies that t is present with this dtype and shape.
func shaped(t Tensor, name string, d DType, rows, cols int) error {
	if err := is(t, name, d); err != nil {
		return err
	}
	if t.Rows != rows || t.Cols != cols {
		return fmt.Errorf("%s is (%d, %d), want (%d, %d)", name, t.Rows, t.Cols, rows, cols)
	}
	return nil
}

func checkAll(op string, errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return nil
}
