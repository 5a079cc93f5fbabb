package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"math"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/cpu/openblas"
)

// Rig is the devices and the operands of the group that is measured. The first
// failure to allocate sticks.
type Rig struct {
	device    kernels.Device
	published kernels.Device    // over the same memory; nil without OpenBLAS
	library   *openblas.Library // nil without OpenBLAS

	stream, other kernels.Stream // other is of published
	buffers       []kernels.Buffer
	random        uint64
	err           error
}

func (r *Rig) open() (err error) {
	r.random, r.err, r.other = 1, nil, nil
	if r.stream, err = r.device.NewStream(); err == nil && r.published != nil {
		r.other, err = r.published.NewStream()
	}
	return err
}

func (r *Rig) synchronize(ctx context.Context) error {
	err := r.stream.Synchronize(ctx)
	if r.other != nil {
		err = errors.Join(err, r.other.Synchronize(ctx))
	}
	return err
}

func (r *Rig) close() error {
	err := r.stream.Close()
	if r.other != nil {
		err = errors.Join(err, r.other.Close())
	}
	for _, b := range r.buffers {
		r.device.Free(b)
	}
	r.buffers = nil
	return err
}

// next is a step of Vigna's splitmix64.
func (r *Rig) next() uint64 {
	r.random += 0x9e3779b97f4a7c15
	z := r.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *Rig) below(n int) int { return int(r.next() >> 33 % uint64(n)) }

// zeros returns a tensor of zeros.
func (r *Rig) zeros(d kernels.DType, rows, cols int) kernels.Tensor {
	b, err := r.device.Alloc(rows * cols * d.Size())
	if err != nil {
		r.err = errors.Join(r.err, err)
		b = nothing{}
	} else {
		r.buffers = append(r.buffers, b)
	}
	return kernels.NewTensor(b, d, rows, cols)
}

// values returns F32 numbers from -size to size.
func (r *Rig) values(rows, cols int, size float32) kernels.Tensor {
	t := r.zeros(kernels.F32, rows, cols)
	if r.err != nil {
		return t
	}
	raw := make([]byte, t.Bytes())
	for i := 0; i < len(raw); i += 4 {
		binary.LittleEndian.PutUint32(raw[i:], math.Float32bits(float32(int32(r.next()))/(1<<31)*size))
	}
	r.stream.Upload(t, raw)
	return t
}

// integers returns I32 (1, n).
func (r *Rig) integers(n int, f func(i int) int) kernels.Tensor {
	t := r.zeros(kernels.I32, 1, n)
	raw := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(int32(f(i))))
	}
	if r.err == nil {
		r.stream.Upload(t, raw)
	}
	return t
}

// matrix is what OpenBLAS sees of a tensor.
func (r *Rig) matrix(t kernels.Tensor) openblas.Matrix {
	return openblas.Matrix{Data: cpu.Address(r.device, t), Stride: t.Stride}
}

// nothing stands for a buffer that was not allocated.
type nothing struct{}

func (nothing) Bytes() int { return 0 }
