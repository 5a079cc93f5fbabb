package step

import (
	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
	"ressa/trainer/objective"
)

// Loss computes the objective on the output of the language tower.
type Loss struct {
	Language model.Language
	Config   objective.Config
}

type lossKept struct {
	hidden  kernels.Tensor // the student's output (B·T, C)
	rows    kernels.Tensor // its rows that enter the loss (N, C)
	index   kernels.Tensor // I32 (1, N): which rows those are
	dlogits kernels.Tensor // (N, V)
	raw     []byte         // N × (ce, kl) as float32, on the host after the step
}

// Only rows that enter the loss pass the head: the answer tokens, or every
// position where the distillation sums over all of them.
func (o *Loss) rowsOf(b *data.Batch) (rows, labels []int32) {
	all := o.Config.Distils() && o.Config.Reduction == objective.BatchMean
	for i, y := range b.Labels {
		if y >= 0 || all {
			rows, labels = append(rows, int32(i)), append(labels, y)
		}
	}
	return rows, labels
}

// forward computes the losses and the gradient of the logits. finals are the
// outputs of the flows; it takes over the first.
func (o *Loss) forward(l *model.Lane, mb *Microbatch, flows []Flow, finals []kernels.Tensor) *lossKept {
	rows, labels := o.rowsOf(mb.Batch)
	n := len(rows)
	if n == 0 {
		// Truncation can take every answer of a small microbatch: it adds nothing.
		return &lossKept{hidden: finals[0]}
	}
	k := &lossKept{hidden: finals[0], index: layer.Ints(l, rows), raw: make([]byte, n*8)}
	target := layer.Ints(l, labels)
	gather := func(hidden kernels.Tensor) kernels.Tensor {
		t := l.Scratch(n, hidden.Cols)
		l.Stream.GatherRows(t, hidden, k.index)
		return t
	}
	var teachers []kernels.TeacherLogits
	for i := 1; i < len(flows); i++ {
		r := gather(finals[i])
		teachers = append(teachers, kernels.TeacherLogits{
			Logits: o.Language.Logits(l, r, flows[i].Variant), Weight: float32(o.Config.Teachers[i-1].Weight)})
		l.Free(r)
	}
	k.rows = gather(finals[0])
	k.dlogits = o.Language.Logits(l, k.rows, model.Student)
	losses := l.Scratch(n, 2)
	l.Stream.CrossEntropyKL(kernels.CrossEntropyKLArgs{
		Logits: k.dlogits, Labels: target, Teachers: teachers, Temperature: float32(o.Config.Temperature),
		CEScale: float32(mb.Scales.CE), KLScale: float32(mb.Scales.KL), DLogits: k.dlogits, Losses: losses,
	})
	l.Stream.Download(k.raw, losses)
	l.Free(losses, target)
	for _, t := range teachers {
		l.Free(t.Logits)
	}
	return k
}

// backward returns the gradient of the student's output (B·T, C).
func (o *Loss) backward(l *model.Lane, k *lossKept) kernels.Tensor {
	dhidden := l.Scratch(k.hidden.Rows, k.hidden.Cols)
	l.Stream.Fill(dhidden, 0)
	if !k.index.IsZero() {
		drows := o.Language.LogitsBackward(l, k.dlogits, k.rows)
		l.Stream.ScatterRows(dhidden, drows, k.index)
		l.Free(drows)
	}
	k.release(l)
	return dhidden
}

func (k *lossKept) release(l *model.Lane) {
	l.Free(k.hidden, k.rows, k.index, k.dlogits)
	k.hidden, k.rows, k.index, k.dlogits = kernels.Tensor{}, kernels.Tensor{}, kernels.Tensor{}, kernels.Tensor{}
}

// sums adds the rows in ascending order in float64.
func (k *lossKept) sums() Losses {
	var s Losses
	v := kernels.DecodeF32(k.raw)
	for i := 0; i+1 < len(v); i += 2 {
		s.CE += float64(v[i])
		s.KL += float64(v[i+1])
	}
	return s
}
