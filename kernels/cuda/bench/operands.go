package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// operands are the tensors of a case. The first failure sticks.
type operands struct {
	device  kernels.Device
	stream  kernels.Stream
	random  random
	given   map[string][]float32 // instead of random numbers
	named   map[string]kernels.Tensor
	buffers []kernels.Buffer
	err     error
}

func (o *operands) fail(err error) { o.err = errors.Join(o.err, err) }

// zeros returns a tensor of zeros, which can be read by its name.
func (o *operands) zeros(name string, d kernels.DType, rows, cols int) kernels.Tensor {
	b, err := o.device.Alloc(rows * cols * d.Size())
	if err != nil {
		o.fail(fmt.Errorf("%s: %w", name, err))
		return kernels.NewTensor(nothing{}, d, rows, cols)
	}
	o.buffers = append(o.buffers, b)
	t := kernels.NewTensor(b, d, rows, cols)
	o.named[name] = t
	return t
}

// blockValues is how many numbers are made on the host; the rows of larger tensors
// repeat them.
const blockValues = 1 << 20

// values returns F32 numbers from -size to size, or those that were given.
func (o *operands) values(name string, rows, cols int, size float32) kernels.Tensor {
	t := o.zeros(name, kernels.F32, rows, cols)
	if o.err != nil {
		return t
	}
	if o.given != nil {
		v, ok := o.given[name]
		if !ok || len(v) != rows*cols {
			o.fail(fmt.Errorf("%s: %d numbers are given, want %d × %d", name, len(v), rows, cols))
			return t
		}
		o.stream.Upload(t, kernels.EncodeF32(v))
		return t
	}
	made := min(rows, max(1, blockValues/cols))
	raw := make([]byte, 4*made*cols)
	for i := 0; i < len(raw); i += 4 {
		binary.LittleEndian.PutUint32(raw[i:], math.Float32bits(o.random.between(size)))
	}
	if made == rows {
		o.stream.Upload(t, raw)
		return t
	}
	some := o.zeros(name+" made", kernels.F32, made, cols)
	index := o.integers(name+" rows", rows, func(i int) int { return i % made })
	if o.err != nil {
		return t
	}
	o.stream.Upload(some, raw)
	o.stream.GatherRows(t, some, index)
	o.extra(some, index)
	return t
}

// extra frees what was needed to make operands.
func (o *operands) extra(tensors ...kernels.Tensor) {
	for _, t := range tensors {
		o.device.Free(t.Buffer) // kept until what uses it has run
	}
}

// integers returns I32 (1, n).
func (o *operands) integers(name string, n int, f func(i int) int) kernels.Tensor {
	t := o.zeros(name, kernels.I32, 1, n)
	raw := make([]byte, 4*n)
	for i := range n {
		v := f(i)
		if given, ok := o.given[name]; ok && len(given) == n {
			v = int(given[i])
		}
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(int32(v)))
	}
	if o.err == nil {
		o.stream.Upload(t, raw)
	}
	return t
}

// weight returns a packed weight with an adapter.
func (o *operands) weight(p sparse.Packed, rank int, round kernels.DType) kernels.LinearWeight {
	out, in := p.Mask.Rows, p.Mask.Cols
	w := kernels.LinearWeight{
		Mask: o.zeros("mask", kernels.U64, out, kernels.MaskWords(in)), Kept: p.Kept(), Scale: 2, Round: round,
		A: o.values("A", rank, in, float32(1/math.Sqrt(float64(in)))), B: o.values("B", out, rank, 0.1),
	}
	if o.err != nil {
		return w
	}
	o.stream.Upload(w.Mask, p.Mask.Bytes())
	packed, err := p.Upload(o.device, o.stream)
	if err != nil {
		o.fail(err)
		return w
	}
	w.Packed = packed
	o.buffers = append(o.buffers, packed.Values.Buffer, packed.Offsets.Buffer)
	return w
}

// nothing stands for a buffer that was not allocated.
type nothing struct{}

func (nothing) Bytes() int { return 0 }
