package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"ressa/kernels"
	"ressa/kernels/cpu/openblas"
)

// work holds the operands of one shape on both sides: x (rows, in), dy and y
// (rows, out), W and dW (out, in).
type work struct {
	shape      Shape
	device     kernels.Device
	stream     kernels.Stream
	buffers    []kernels.Buffer
	x, y, dx   kernels.Tensor
	dA, dB, dW kernels.Tensor
	weight     kernels.LinearWeight
	hostX      []float32 // the same numbers for OpenBLAS
	hostY      []float32
	hostW      []float32
	hostOut    []float32
}

func newWork(dev kernels.Device, shape Shape) (w *work, err error) {
	if shape.Rows < 1 || shape.Out < 1 || shape.In < 1 || shape.Rank < 0 {
		return nil, fmt.Errorf("sizes must be positive: %d rows, %d out, %d in, rank %d", shape.Rows, shape.Out, shape.In, shape.Rank)
	}
	if needsRank := shape.Op == Forward || shape.Op == Input || shape.Op == Adapter; needsRank && shape.Rank < 1 {
		return nil, fmt.Errorf("%s needs an adapter of rank 1 or more", shape.Op)
	}
	w = &work{shape: shape, device: dev}
	if w.stream, err = dev.NewStream(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
			w = nil
		}
	}()
	tensor := func(d kernels.DType, rows, cols int) kernels.Tensor {
		if err != nil {
			return kernels.Tensor{}
		}
		var b kernels.Buffer
		if b, err = dev.Alloc(rows * cols * d.Size()); err != nil {
			return kernels.Tensor{}
		}
		w.buffers = append(w.buffers, b)
		return kernels.NewTensor(b, d, rows, cols)
	}
	rows, out, in, r := shape.Rows, shape.Out, shape.In, max(shape.Rank, 1)
	w.x, w.y, w.dx = tensor(kernels.F32, rows, in), tensor(kernels.F32, rows, out), tensor(kernels.F32, rows, in)
	w.dA, w.dB, w.dW = tensor(kernels.F32, r, in), tensor(kernels.F32, out, r), tensor(kernels.F32, out, in)
	w.weight = kernels.LinearWeight{
		W: tensor(kernels.F32, out, in), Mask: tensor(kernels.U64, out, kernels.MaskWords(in)),
		A: tensor(kernels.F32, r, in), B: tensor(kernels.F32, out, r), Scale: 2, Round: kernels.BF16,
	}
	if err != nil {
		return nil, err
	}
	w.hostX, w.hostY, w.hostW = w.fill(w.x), w.fill(w.y), w.fill(w.weight.W)
	w.fill(w.weight.A)
	w.fill(w.weight.B)
	w.fill(w.weight.Mask)
	w.hostOut = make([]float32, max(rows*out, rows*in, out*in))
	return w, nil
}

// fill uploads numbers between −1 and 1 (a mask: words of mixed bits) and returns them.
func (w *work) fill(t kernels.Tensor) []float32 {
	raw := make([]byte, t.Bytes())
	values := make([]float32, len(raw)/4)
	state := uint32(1)
	for i := range values {
		state = state*1664525 + 1013904223 // Numerical Recipes' generator
		values[i] = float32(int32(state)) / (1 << 31)
		bits := math.Float32bits(values[i])
		if t.DType == kernels.U64 {
			bits = state ^ state>>13
		}
		binary.LittleEndian.PutUint32(raw[4*i:], bits)
	}
	w.stream.Upload(t, raw)
	return values
}

// ours enqueues the operation once; package cpu runs it before it returns.
func (w *work) ours() {
	plain := func(form kernels.GemmForm, c, a, b kernels.Tensor) {
		w.stream.Gemm(kernels.GemmArgs{C: c, A: a, B: b, Form: form})
	}
	switch w.shape.Op {
	case GemmNT:
		plain(kernels.NT, w.y, w.x, w.weight.W)
	case GemmNN:
		plain(kernels.NN, w.dx, w.y, w.weight.W)
	case GemmTN:
		plain(kernels.TN, w.dW, w.y, w.x)
	case Forward:
		w.stream.LinearForward(w.y, w.x, w.weight, kernels.Tensor{})
	case Input:
		w.stream.LinearBackwardInput(w.dx, w.y, w.weight, false)
	case Adapter:
		w.stream.LinearBackwardAdapter(w.dA, w.dB, w.y, w.x, w.weight)
	case Weighted:
		w.stream.LinearBackwardWeight(w.dW, w.y, w.x, w.weight.Mask)
	}
}

// theirs computes the dense product of the operation.
func (w *work) theirs(lib *openblas.Library) {
	rows, out, in := w.shape.Rows, w.shape.Out, w.shape.In
	x, y, weight := matrix(w.hostX, in), matrix(w.hostY, out), matrix(w.hostW, in)
	switch w.shape.Op {
	case GemmNT, Forward:
		lib.Sgemm(false, true, rows, out, in, x, weight, 0, matrix(w.hostOut, out))
	case GemmNN, Input:
		lib.Sgemm(false, false, rows, in, out, y, weight, 0, matrix(w.hostOut, in))
	default:
		lib.Sgemm(true, false, out, in, rows, y, x, 0, matrix(w.hostOut, in))
	}
}

func matrix(v []float32, stride int) openblas.Matrix {
	return openblas.Matrix{Data: unsafe.Pointer(unsafe.SliceData(v)), Stride: stride}
}

func (w *work) close() {
	w.stream.Close()
	for _, b := range w.buffers {
		w.device.Free(b)
	}
}
