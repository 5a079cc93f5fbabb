package kerneltest

import (
	"encoding/binary"

	"ressa/kernels"
)

type mistake struct {
	name string
	// call is wrong; x is F32 (8, 8) of its own buffer, all ones.
	call func(s kernels.Stream, x kernels.Tensor)
}

// elsewhere is a buffer of no device.
type elsewhere struct{}

func (elsewhere) Bytes() int { return 1 << 20 }

// mistakes are calls that every backend refuses.
func mistakes() []mistake {
	// index overwrites the start of x's last row with indices and returns it as I32.
	index := func(s kernels.Stream, x kernels.Tensor, v ...int32) kernels.Tensor {
		t := x.SliceRows(7, 8).SliceCols(0, len(v))
		t.DType = kernels.I32
		var b []byte
		for _, e := range v {
			b = binary.LittleEndian.AppendUint32(b, uint32(e))
		}
		s.Upload(t, b)
		return t
	}
	// words sees the middle of x as the mask of a matrix of so many rows.
	words := func(x kernels.Tensor, rows int) kernels.Tensor {
		return kernels.Tensor{Buffer: x.Buffer, Offset: 4 * 5, DType: kernels.U64, Rows: rows, Cols: 1, Stride: 1}
	}
	attention := func(x, lengths kernels.Tensor) kernels.AttentionArgs {
		one := func(i int) kernels.Tensor { return x.SliceRows(i, i+1).SliceCols(0, 2).Reshape(2, 1) }
		return kernels.AttentionArgs{Batch: 2, Heads: 1, KVHeads: 1, HeadDim: 1, QueryLen: 1, KeyLen: 1, Scale: 1,
			Q: one(2), K: one(3), V: one(4), O: one(5), LogSumExp: one(6), Lengths: lengths}
	}
	return []mistake{
		{"absent", func(s kernels.Stream, _ kernels.Tensor) { s.Fill(kernels.Tensor{}, 1) }},
		{"shape", func(s kernels.Stream, x kernels.Tensor) {
			s.Add(x.SliceRows(0, 3), x.SliceRows(3, 6), x.SliceRows(6, 8))
		}},
		{"dtype", func(s kernels.Stream, x kernels.Tensor) { x.DType = kernels.I32; s.Activate(x, x, kernels.ReLU) }},
		{"beyond-buffer", func(s kernels.Stream, x kernels.Tensor) { x.Offset = 1 << 20; s.Fill(x, 1) }},
		{"negative-offset", func(s kernels.Stream, x kernels.Tensor) { x.Offset = -1; s.Fill(x, 1) }},
		{"stride", func(s kernels.Stream, x kernels.Tensor) { x.Stride = 7; s.Fill(x, 1) }},
		{"foreign-buffer", func(s kernels.Stream, x kernels.Tensor) { x.Buffer = elsewhere{}; s.Fill(x, 1) }},
		{"upload-size", func(s kernels.Stream, x kernels.Tensor) { s.Upload(x, make([]byte, 4)) }},
		{"download-size", func(s kernels.Stream, x kernels.Tensor) { s.Download(make([]byte, 4), x) }},
		{"gemm", func(s kernels.Stream, x kernels.Tensor) {
			s.Gemm(kernels.GemmArgs{C: x.SliceRows(0, 2), A: x.SliceRows(2, 4), B: x.SliceRows(4, 7)})
		}},
		{"adapter-half", func(s kernels.Stream, x kernels.Tensor) {
			w := kernels.LinearWeight{W: x.SliceRows(0, 2), A: x.SliceRows(2, 3)}
			s.LinearForward(x.SliceRows(3, 4).SliceCols(0, 2), x.SliceRows(4, 5), w, kernels.Tensor{})
		}},
		{"no-adapter", func(s kernels.Stream, x kernels.Tensor) {
			w := kernels.LinearWeight{W: x.SliceRows(0, 2)}
			s.LinearBackwardAdapter(x.SliceRows(2, 3), x.SliceRows(3, 5).SliceCols(0, 1), x.SliceRows(5, 6).SliceCols(0, 2), x.SliceRows(6, 7), w)
		}},
		{"gather-index", func(s kernels.Stream, x kernels.Tensor) {
			s.GatherRows(x.SliceRows(0, 2), x.SliceRows(2, 5), index(s, x, 0, 3))
		}},
		{"gather-negative-index", func(s kernels.Stream, x kernels.Tensor) {
			s.GatherRows(x.SliceRows(0, 2), x.SliceRows(2, 5), index(s, x, -1, 0))
		}},
		{"scatter-index", func(s kernels.Stream, x kernels.Tensor) {
			s.ScatterRows(x.SliceRows(1, 2), x.SliceRows(2, 3), index(s, x, 1))
		}},
		{"scatter-add-index", func(s kernels.Stream, x kernels.Tensor) {
			s.ScatterAddRows(x.SliceRows(1, 2), x.SliceRows(2, 3), index(s, x, 1))
		}},
		{"rotate-position", func(s kernels.Stream, x kernels.Tensor) {
			s.Rotate(x.SliceRows(1, 2), 8, x.SliceRows(2, 3).SliceCols(0, 4), x.SliceRows(3, 4).SliceCols(0, 4), index(s, x, 1), false)
		}},
		{"rotate-odd", func(s kernels.Stream, x kernels.Tensor) {
			s.Rotate(x.SliceRows(1, 2), 1, x.SliceRows(2, 3), x.SliceRows(3, 4), index(s, x, 0), false)
		}},
		{"label", func(s kernels.Stream, x kernels.Tensor) {
			s.CrossEntropyKL(kernels.CrossEntropyKLArgs{Logits: x.SliceRows(1, 2), Labels: index(s, x, 8), Temperature: 1, Losses: x.SliceRows(2, 3).SliceCols(0, 2)})
		}},
		{"temperature", func(s kernels.Stream, x kernels.Tensor) {
			s.CrossEntropyKL(kernels.CrossEntropyKLArgs{Logits: x.SliceRows(1, 2), Labels: index(s, x, 1), Losses: x.SliceRows(2, 3).SliceCols(0, 2)})
		}},
		{"attention-length", func(s kernels.Stream, x kernels.Tensor) { s.AttentionForward(attention(x, index(s, x, 1, 2))) }},
		{"attention-heads", func(s kernels.Stream, x kernels.Tensor) {
			a := attention(x, index(s, x, 1, 1))
			a.Heads, a.KVHeads = 3, 2
			s.AttentionForward(a)
		}},
		{"added-norm", func(s kernels.Stream, x kernels.Tensor) {
			one := func(i int) kernels.Tensor { return x.SliceRows(i, i+1) }
			s.AddRMSNorm(one(1), one(2), one(3), x.SliceRows(4, 6), one(6), 1e-5, one(7).SliceCols(0, 1))
		}},
		{"segments", func(s kernels.Stream, x kernels.Tensor) {
			dst := kernels.Tensor{Buffer: x.Buffer, DType: kernels.F64, Rows: 1, Cols: 1, Stride: 1}
			s.SegmentSumSquares(dst, x.SliceRows(4, 5), []int{0, 9})
		}},
		{"select-width", func(s kernels.Stream, x kernels.Tensor) {
			s.SelectMask(kernels.SelectMaskArgs{Mask: words(x, 2), Bad: index(s, x, 0, 0), W: x.SliceRows(1, 3), N: 1, M: 3})
		}},
		{"select-all", func(s kernels.Stream, x kernels.Tensor) {
			s.SelectMask(kernels.SelectMaskArgs{Mask: words(x, 2), Bad: index(s, x, 0, 0), W: x.SliceRows(1, 3), N: 4, M: 4})
		}},
		{"pack-count", func(s kernels.Stream, x kernels.Tensor) {
			mask := words(x, 2)
			s.Upload(mask, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 0x55), 0x8001))
			s.PackKept(x.SliceRows(1, 2).SliceCols(0, 4), x.SliceRows(2, 4), mask) // it keeps five
		}},
		{"unpack-count", func(s kernels.Stream, x kernels.Tensor) {
			mask := words(x, 2)
			s.Upload(mask, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 0x55), 0x81))
			s.UnpackKept(x.SliceRows(2, 4), x.SliceRows(1, 2).SliceCols(0, 5), mask) // it keeps six
		}},
	}
}
