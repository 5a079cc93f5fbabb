package step

import (
	"ressa/kernels"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/layer"
	"ressa/trainer/objective"
)

// Loss computes the objective on the output of the language tower. N = rows that
// enter it, C = hidden width, V = vocabulary.
//
// It goes through the rows in chunks: the logits of the student and of each teacher,
// losses, the gradient of the logits in their place, and the gradient of the rows.
// So no (N, V) is ever whole where V is large, and every product is made once.
// Chunks of the vocabulary instead would need the logits twice, first for the sums
// of exponentials and then for the gradient: 5 products with a teacher, not 3.
type Loss struct {
	Language model.Language
	Config   objective.Config
}

// Chunks of rows follow from the vocabulary alone: of about chunkLogits logits, and
// no fewer rows than are worth a pass over the head. Every register tile divides
// chunkMultiple.
const (
	chunkLogits   = 1 << 23
	chunkLeast    = 96
	chunkMultiple = 12
)

// ChunkRows returns the rows of a chunk of the loss.
func ChunkRows(vocabulary int) int {
	return max(chunkLeast, chunkLogits/max(1, vocabulary)/chunkMultiple*chunkMultiple)
}

// entering are the rows of a microbatch that enter the loss: the answer tokens, or
// every position where the distillation sums over all of them.
type entering struct {
	n      int
	index  kernels.Tensor // I32 (1, N): which rows those are; absent without any
	labels kernels.Tensor // I32 (1, N)
}

func (o *Loss) enter(l *model.Lane, b *data.Batch) entering {
	all := o.Config.Distils() && o.Config.Reduction == objective.BatchMean
	var rows, labels []int32
	for i, y := range b.Labels {
		if y >= 0 || all {
			rows, labels = append(rows, int32(i)), append(labels, y)
		}
	}
	if len(rows) == 0 {
		// Truncation can take every answer of a small microbatch: it adds nothing.
		return entering{}
	}
	return entering{n: len(rows), index: layer.Ints(l, rows), labels: layer.Ints(l, labels)}
}

// gather returns the rows (N, C) of a flow's output (B·T, C), which it frees.
func (e *entering) gather(l *model.Lane, hidden kernels.Tensor) kernels.Tensor {
	var rows kernels.Tensor
	if e.n > 0 {
		rows = l.Scratch(e.n, hidden.Cols)
		l.Stream.GatherRows(rows, hidden, e.index)
	}
	l.Free(hidden)
	return rows
}

type lossKept struct {
	tokens, width int            // of the student's output (B·T, C)
	drows         kernels.Tensor // the gradient of its rows that enter the loss (N, C)
	index         kernels.Tensor // I32 (1, N): which rows those are
	raw           []byte         // N × (ce, kl) as float32, on the host after the step
}

// forward computes the losses, the gradient of the rows and that of a trained head.
// rows are those of each flow; it frees them.
func (o *Loss) forward(l *model.Lane, mb *Microbatch, flows []Flow, e entering, rows []kernels.Tensor) *lossKept {
	return o.inChunks(l, mb, flows, e, rows, ChunkRows(o.Language.Vocabulary()))
}

func (o *Loss) inChunks(l *model.Lane, mb *Microbatch, flows []Flow, e entering, rows []kernels.Tensor, size int) *lossKept {
	k := &lossKept{tokens: len(mb.Batch.Tokens), width: o.Language.Width()}
	if e.n == 0 {
		return k
	}
	k.index, k.drows, k.raw = e.index, l.Scratch(e.n, k.width), l.Pool.Host(8*e.n)
	losses := l.Scratch(e.n, 2)
	args := kernels.CrossEntropyKLArgs{
		Teachers: make([]kernels.TeacherLogits, len(flows)-1), Temperature: float32(o.Config.Temperature),
		CEScale: float32(mb.Scales.CE), KLScale: float32(mb.Scales.KL),
	}
	for lo := 0; lo < e.n; lo += size {
		hi := min(lo+size, e.n)
		for i := range args.Teachers {
			args.Teachers[i] = kernels.TeacherLogits{
				Logits: o.Language.Logits(l, rows[i+1].SliceRows(lo, hi), flows[i+1].Variant), Weight: float32(o.Config.Teachers[i].Weight)}
		}
		student := rows[0].SliceRows(lo, hi)
		args.Logits = o.Language.Logits(l, student, model.Student)
		args.DLogits, args.Labels, args.Losses = args.Logits, e.labels.SliceCols(lo, hi), losses.SliceRows(lo, hi)
		l.Stream.CrossEntropyKL(args)
		for _, t := range args.Teachers {
			l.Free(t.Logits)
		}
		o.Language.LogitsBackward(l, k.drows.SliceRows(lo, hi), args.DLogits, student, lo > 0)
		l.Free(args.DLogits)
	}
	l.Stream.Download(k.raw, losses)
	l.Free(losses, e.labels)
	l.Free(rows...)
	return k
}

// backward returns the gradient of the student's output (B·T, C).
func (o *Loss) backward(l *model.Lane, k *lossKept) kernels.Tensor {
	dhidden := l.Scratch(k.tokens, k.width)
	l.Stream.Fill(dhidden, 0)
	if !k.index.IsZero() {
		l.Stream.ScatterRows(dhidden, k.drows, k.index)
	}
	k.release(l)
	return dhidden
}

func (k *lossKept) release(l *model.Lane) {
	l.Free(k.drows, k.index)
	k.drows, k.index = kernels.Tensor{}, kernels.Tensor{}
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
