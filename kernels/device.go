package kernels

import "context"

// Device owns memory and streams. Its methods are safe for concurrent use.
type Device interface {
	// Kind names what decides the last bit of a result, as "cpu-avx512/3": the
	// instruction set and the version of the kernel set. A strict job runs on
	// one kind only.
	Kind() string
	// Alloc returns a buffer of at least bytes bytes, zeroed and aligned to 64.
	Alloc(bytes int) (Buffer, error)
	// Free returns a buffer. Operations that were enqueued on it must have been
	// synchronised; using it afterwards is an error of the caller.
	Free(Buffer)
	// NewStream returns an empty queue of operations.
	NewStream() (Stream, error)
	// Close frees what the device holds. All streams must be closed before.
	Close() error
}

// Measured is a device with memory of its own, beside the host's.
type Measured interface {
	Device
	// Memory returns what there is of it now.
	Memory() (Memory, error)
}

// Memory describes a device's memory, in bytes.
type Memory struct {
	Free int64 // that could still be allocated, though other processes may be faster
	// Stream is the most that a stream takes for itself: to stage copies, and for
	// what its operations need beside their operands.
	Stream int64
}

// Stream is an ordered queue of operations on one device. Operations are
// enqueued and may run later; the results are visible to later operations of
// the same stream, and to the host after Synchronize. An operation that fails
// returns nothing at once: the first error sticks to the stream, every later
// operation is dropped, and Synchronize reports it. A stream belongs to one
// goroutine at a time; different streams may run at the same time.
//
// Operands of one operation do not overlap unless the operation says so.
type Stream interface {
	Transfers
	Elementwise
	Dense
	SparseLoRA
	Attention
	Normalisation
	Objective
	Optimiser
	Masking

	// Synchronize waits until everything enqueued has run and returns the first
	// error of the stream, or the context's error. A failed stream stays failed.
	Synchronize(ctx context.Context) error
	// Close waits for what was enqueued and releases the stream.
	Close() error
}

// Transfers moves bytes between host and device. Host slices hold the elements
// little-endian, row after row without padding, and must not be touched until
// the stream was synchronised.
type Transfers interface {
	// Upload copies src into dst; len(src) is dst.Bytes().
	Upload(dst Tensor, src []byte)
	// Download copies src into dst; len(dst) is src.Bytes().
	Download(dst []byte, src Tensor)
}

// Elementwise groups what moves or combines whole rows. Tensors are F32 unless
// said otherwise.
type Elementwise interface {
	// Fill sets every element of dst to v.
	Fill(dst Tensor, v float32)
	// Convert writes src into dst element by element, both F32 or BF16, rounding
	// to nearest even where dst is BF16. Equal dtypes make it a copy (any dtype).
	Convert(dst, src Tensor)
	// Add writes dst = a + b. dst may be a or b.
	Add(dst, a, b Tensor)
	// AddRounded writes dst = round(a) + round(b), rounding to dtype and back:
	// one node of the reduction tree. dst may be a or b. F32 does not round.
	AddRounded(dst, a, b Tensor, round DType)
	// AddRows writes dst[i] = x[i] + p[i mod p.Rows]: a bias (one row) or a
	// position embedding. dst may be x. p is F32 or BF16.
	AddRows(dst, x, p Tensor)
	// SumRowGroups writes dst[j] = Σ x[i] over all i with i mod dst.Rows = j, in
	// an order fixed by the shape: the gradient of AddRows.
	SumRowGroups(dst, x Tensor)
	// GatherRows writes dst[i] = src[index[i]]. src is F32 or BF16, dst F32;
	// index is I32 (1, dst.Rows).
	GatherRows(dst, src, index Tensor)
	// ScatterRows writes dst[index[i]] = src[i]; rows not named keep their
	// contents. The indices are unique.
	ScatterRows(dst, src, index Tensor)
	// ScatterAddRows writes dst[v] = Σ src[i] over all i with index[i] = v, summed
	// in ascending i, and zero for rows not named: the gradient of an embedding.
	ScatterAddRows(dst, src, index Tensor)
	// Activate writes y = f(x). y may be x.
	Activate(y, x Tensor, f Activation)
	// ActivateBackward writes dx = dy · f'(x). dx may be dy.
	ActivateBackward(dx, dy, x Tensor, f Activation)
	// Gate writes y = f(gate) · up (SwiGLU with f = SiLU).
	Gate(y, gate, up Tensor, f Activation)
	// GateBackward writes dgate = dy · up · f'(gate) and dup = dy · f(gate).
	// dup may be dy.
	GateBackward(dgate, dup, dy, gate, up Tensor, f Activation)
	// Rotate applies rotary position embedding in place to x (rows, heads·D), as
	// Hugging Face's LLaMA does: with h = D/2 and position p = positions[row],
	//
	//	x'[j]   = x[j]·cos[p][j]   − x[j+h]·sin[p][j]
	//	x'[j+h] = x[j+h]·cos[p][j] + x[j]·sin[p][j]      0 ≤ j < h.
	//
	// cos and sin are F32 (P, h); positions is I32 (1, rows). inverse rotates
	// back, which is the gradient.
	Rotate(x Tensor, headDim int, cos, sin, positions Tensor, inverse bool)
	// ArgmaxRows writes the column of each row's greatest element, the lowest one
	// where several are equal, into dst I32 (1, x.Rows).
	ArgmaxRows(dst, x Tensor)
}

// Activation is an elementwise function.
type Activation uint8

// The activations of the model families.
const (
	GELU      Activation = iota // x·Φ(x), by erf
	GELUTanh                    // ½x(1 + tanh(√(2/π)(x + 0.044715x³)))
	QuickGELU                   // x·σ(1.702x), as CLIP
	SiLU                        // x·σ(x)
	ReLU                        // max(x, 0)
)

// Dense is general matrix multiplication with float32 accumulation.
type Dense interface {
	// Gemm writes or accumulates C = op(A)·op(B); see [GemmArgs].
	Gemm(GemmArgs)
}

// SparseLoRA is the linear layer that Ressa trains: a frozen weight, a mask and
// a low-rank adapter under that mask. x is (T, in), y and dy (T, out), all F32.
// Dense weight gradients and effective weights are held only where they are the
// result. Elsewhere a gradient exists a tile at a time, and an effective weight a
// tile or a panel at a time; a panel is of bounded size, so that a small layer may
// be one. The effective weight is that of [LinearWeight.Check]'s documentation, the
// same bits in every operation; what a backend rounds operands of products to is
// part of its numeric kind.
type SparseLoRA interface {
	// LinearForward writes y = x·W_effᵀ + bias. bias is F32 or BF16 (1, out) or absent.
	LinearForward(y, x Tensor, w LinearWeight, bias Tensor)
	// LinearBackwardInput writes dx = dy·W_eff, or adds it when accumulate is set.
	LinearBackwardInput(dx, dy Tensor, w LinearWeight, accumulate bool)
	// LinearBackwardAdapter writes dB (out, r) = G·Aᵀ and dA (r, in) = Bᵀ·G with
	// G = Scale·M ⊙ (dyᵀ·x), the mask inside the product (exact).
	LinearBackwardAdapter(dA, dB, dy, x Tensor, w LinearWeight)
	// LinearBackwardWeight writes dW (out, in) = M ⊙ (dyᵀ·x), exact +0 where the
	// mask is 0; an absent mask keeps all. For full-parameter training.
	LinearBackwardWeight(dW, dy, x, mask Tensor)
	// EffectiveWeight writes W_eff (out, in) into dst, F32 or w.Round. For merging.
	EffectiveWeight(dst Tensor, w LinearWeight)
}

// Attention is scaled dot-product attention that keeps no T×T matrix in memory.
type Attention interface {
	AttentionForward(AttentionArgs)
	AttentionBackward(AttentionArgs, AttentionGrads)
}

// Normalisation groups layer and RMS norm. x, y are F32 (T, C); gamma, beta F32
// or BF16 (1, C); mean, rstd F32 (1, T).
type Normalisation interface {
	// LayerNorm writes y = (x − mean)·rstd·gamma + beta and the statistics.
	LayerNorm(y, x, gamma, beta Tensor, eps float32, mean, rstd Tensor)
	// LayerNormBackward writes dx, or adds to it when accumulate is set, and,
	// where dgamma and dbeta (F32) are present, their gradients.
	LayerNormBackward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd Tensor, accumulate bool)
	// RMSNorm writes y = x·rstd·gamma with rstd = 1/√(mean(x²) + eps).
	RMSNorm(y, x, gamma Tensor, eps float32, rstd Tensor)
	// AddLayerNorm writes h = x + r, then LayerNorm of h to y with the statistics, in
	// one pass: the bits of Add and LayerNorm. h may be x or r.
	AddLayerNorm(y, h, x, r, gamma, beta Tensor, eps float32, mean, rstd Tensor)
	// AddRMSNorm writes h = x + r, then RMSNorm of h to y, with the bits of Add and
	// RMSNorm. h may be x or r.
	AddRMSNorm(y, h, x, r, gamma Tensor, eps float32, rstd Tensor)
	// RMSNormBackward writes dx, or adds to it when accumulate is set, and dgamma
	// where it is present.
	RMSNormBackward(dx, dgamma, dy, x, gamma, rstd Tensor, accumulate bool)
}

// Objective is the fused cross-entropy and distillation loss.
type Objective interface {
	CrossEntropyKL(CrossEntropyKLArgs)
}

// Optimiser groups what an optimiser step and its statistics need.
type Optimiser interface {
	// AdamW updates parameters in place; see [AdamWArgs].
	AdamW(AdamWArgs)
	// SegmentSumSquares writes dst[k] = Σ x[i]² in float64 over offsets[k] ≤ i <
	// offsets[k+1], in ascending blocks fixed by the length; dst F64 (1, n), x F32
	// (1, N), len(offsets) = n+1.
	SegmentSumSquares(dst, x Tensor, offsets []int)
	// ColumnSumSquares writes dst[c] = Σ over rows of x[row][c]², in float64, rows
	// ascending; dst F64 (1, C), x F32.
	ColumnSumSquares(dst, x Tensor)
}

// Masking groups what makes and uses masks beside the products. A mask is U64 (out,
// MaskWords(in)); bits beyond its columns are written as zero and not read.
type Masking interface {
	// SelectMask makes an n:m mask; see [SelectMaskArgs].
	SelectMask(SelectMaskArgs)
	// PackKept writes the elements of src (out, in) that the mask keeps, row after
	// row, to dst (1, n), both F32. A mask that keeps another number than n is found
	// when the operation runs.
	PackKept(dst, src, mask Tensor)
	// UnpackKept is the inverse: it writes src (1, n) to the elements of dst (out, in)
	// that the mask keeps, and +0 to the others.
	UnpackKept(dst, src, mask Tensor)
}
