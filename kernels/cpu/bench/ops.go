package bench

import (
	"fmt"
	"math"

	"ressa/kernels"
)

// Others returns the operations beside the products, at the sizes of a model like
// SmolVLM-256M (attention, loss) or larger than the last-level cache (the rest).
// They have no other side.
func Others() []Group {
	return []Group{
		attention("attention", kernels.AttentionArgs{Batch: 1, Heads: 12, KVHeads: 12, HeadDim: 64, QueryLen: 1024, KeyLen: 1024}),
		attention("causal att.", kernels.AttentionArgs{Batch: 1, Heads: 9, KVHeads: 3, HeadDim: 64, QueryLen: 1088, KeyLen: 1088, Causal: true}),
		norms(8192, 1536), loss(64, 49280), adamw(1<<12, 1<<12), activations(8192, 1536),
	}
}

func attention(name string, a kernels.AttentionArgs) Group {
	return Group{Name: name, Open: func(r *Rig) ([]Part, error) {
		q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
		rows, keys := a.Batch*a.QueryLen, a.Batch*a.KeyLen
		a.Q, a.K, a.V, a.O = r.values(rows, q, 1), r.values(keys, kv, 1), r.values(keys, kv, 1), r.zeros(kernels.F32, rows, q)
		a.LogSumExp, a.Scale = r.zeros(kernels.F32, a.Batch*a.Heads, a.QueryLen), float32(1/math.Sqrt(float64(a.HeadDim)))
		g := kernels.AttentionGrads{DO: r.values(rows, q, 1), DQ: r.zeros(kernels.F32, rows, q), DK: r.zeros(kernels.F32, keys, kv), DV: r.zeros(kernels.F32, keys, kv)}
		pairs := float64(a.Batch*a.Heads) * float64(a.QueryLen) * float64(a.KeyLen)
		if a.Causal {
			pairs /= 2
		}
		size := fmt.Sprintf("%d tokens, %d heads", a.QueryLen, a.Heads)
		forward, product := float64(a.Q.Bytes()+a.K.Bytes()+a.V.Bytes()+a.O.Bytes()), 2*pairs*float64(a.HeadDim)
		return []Part{
			other(name, size, 2*product, forward, func() { r.stream.AttentionForward(a) }),
			other(name+" backward", size, 5*product, 2*forward+float64(a.O.Bytes()), func() { r.stream.AttentionBackward(a, g) }),
		}, nil
	}}
}

func other(op, size string, flops, bytes float64, run func()) Part {
	return Part{Label: Label{Suite: "ops", Op: op, Size: size}, Flops: flops, Bytes: bytes, ours: run}
}

func norms(rows, cols int) Group {
	return Group{Name: "norms", Open: func(r *Rig) ([]Part, error) {
		x, dy, y := r.values(rows, cols, 1), r.values(rows, cols, 1), r.zeros(kernels.F32, rows, cols)
		gamma, beta := r.values(1, cols, 1), r.values(1, cols, 1)
		mean, rstd := r.zeros(kernels.F32, 1, rows), r.zeros(kernels.F32, 1, rows)
		n, b, size := float64(x.Len()), float64(x.Bytes()), fmt.Sprintf("%d × %d", rows, cols)
		var no kernels.Tensor
		return []Part{
			other("layer norm", size, 8*n, 2*b, func() { r.stream.LayerNorm(y, x, gamma, beta, 1e-5, mean, rstd) }),
			other("layer norm backward", size, 12*n, 3*b, func() { r.stream.LayerNormBackward(y, no, no, dy, x, gamma, mean, rstd, false) }),
			other("rms norm", size, 4*n, 2*b, func() { r.stream.RMSNorm(y, x, gamma, 1e-5, rstd) }),
			other("rms norm backward", size, 8*n, 3*b, func() { r.stream.RMSNormBackward(y, no, dy, x, gamma, rstd, false) }),
		}, nil
	}}
}

func loss(rows, vocabulary int) Group {
	return Group{Name: "loss", Open: func(r *Rig) ([]Part, error) {
		z, t := r.values(rows, vocabulary, 4), r.values(rows, vocabulary, 4)
		a := kernels.CrossEntropyKLArgs{Logits: z, Teachers: []kernels.TeacherLogits{{Logits: t, Weight: 1}}, Temperature: 1, CEScale: 0.5, KLScale: 0.5,
			Labels: r.integers(rows, func(int) int { return r.below(vocabulary) }), DLogits: r.zeros(kernels.F32, rows, vocabulary), Losses: r.zeros(kernels.F32, rows, 2)}
		return []Part{other("cross-entropy and KL", fmt.Sprintf("%d × %d", rows, vocabulary), 12*float64(z.Len()), 3*float64(z.Bytes()), func() { r.stream.CrossEntropyKL(a) })}, nil
	}}
}

func adamw(rows, cols int) Group {
	return Group{Name: "adamw", Open: func(r *Rig) ([]Part, error) {
		a := kernels.AdamWArgs{Param: r.values(rows, cols, 1), Grad: r.values(rows, cols, 1), M: r.zeros(kernels.F32, rows, cols), V: r.zeros(kernels.F32, rows, cols),
			LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Bias1: 0.5, Bias2: 0.5, GradScale: 1}
		return []Part{other("adamw", fmt.Sprintf("%d × %d", rows, cols), 14*float64(a.Param.Len()), 7*float64(a.Param.Bytes()), func() { r.stream.AdamW(a) })}, nil
	}}
}

func activations(rows, cols int) Group {
	return Group{Name: "activations", Open: func(r *Rig) ([]Part, error) {
		x, up, dy := r.values(rows, cols, 3), r.values(rows, cols, 1), r.values(rows, cols, 1)
		y, also := r.zeros(kernels.F32, rows, cols), r.zeros(kernels.F32, rows, cols)
		n, b, size := float64(x.Len()), float64(x.Bytes()), fmt.Sprintf("%d × %d", rows, cols)
		return []Part{
			other("gelu (tanh)", size, 20*n, 2*b, func() { r.stream.Activate(y, x, kernels.GELUTanh) }),
			other("gelu (tanh) backward", size, 30*n, 3*b, func() { r.stream.ActivateBackward(y, dy, x, kernels.GELUTanh) }),
			other("swiglu", size, 20*n, 3*b, func() { r.stream.Gate(y, x, up, kernels.SiLU) }),
			other("swiglu backward", size, 30*n, 5*b, func() { r.stream.GateBackward(y, also, dy, x, up, kernels.SiLU) }),
		}, nil
	}}
}
