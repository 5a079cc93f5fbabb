package model

import "ressa/kernels"

// Lane is what one microbatch computes with: a stream, scratch memory, the
// trained values (shared by all lanes, read only during a step) and a gradient
// vector of its own. A lane belongs to one goroutine at a time.
type Lane struct {
	Stream kernels.Stream
	Pool   *Pool
	Values kernels.Tensor // F32 (1, Layout.Len) of the tower; absent when nothing is trained
	Grads  kernels.Tensor // F32 (1, Layout.Len); absent outside training
	// Recompute has blocks keep their input alone and compute the rest again in
	// backward. No bit depends on it.
	Recompute bool
	// Observe, where it is set, is called with the input of every linear layer.
	Observe Observer
}

// Scratch returns an uninitialised F32 tensor (rows, cols) from the pool.
func (l *Lane) Scratch(rows, cols int) kernels.Tensor {
	return l.Pool.Get(kernels.F32, rows, cols)
}

// Free gives scratch tensors back; later operations of the lane's stream may
// reuse their memory.
func (l *Lane) Free(ts ...kernels.Tensor) {
	for _, t := range ts {
		l.Pool.Put(t)
	}
}

// Pool recycles device buffers by size for one stream: since the stream runs
// in order, memory may be handed out again as soon as its last use is enqueued.
// After the first step of a job it allocates nothing.
type Pool struct {
	device kernels.Device
	free   map[int][]kernels.Buffer // by size in bytes
	inUse  int                      // bytes handed out
	peak   int                      // highest inUse
	held   int                      // bytes allocated from the device
	err    error                    // first allocation failure
}

// NewPool returns an empty pool on d.
func NewPool(d kernels.Device) *Pool {
	return &Pool{device: d, free: map[int][]kernels.Buffer{}}
}

// PoolBytes returns what a pool takes from its device for a tensor of so many bytes.
func PoolBytes(bytes int) int { return poolClass(bytes) }

// poolClass rounds sizes up so that shapes that vary a little share buffers.
func poolClass(bytes int) int {
	const quantum = 4096
	if bytes <= quantum {
		return quantum
	}
	// Four classes per power of two waste at most a quarter.
	step := quantum
	for step*8 < bytes {
		step *= 2
	}
	return (bytes + step - 1) / step * step
}

// Get returns a tensor with undefined contents. When the device has no memory
// left it returns a tensor over an empty buffer, which makes the next operation
// on it fail, and Err tells why.
func (p *Pool) Get(d kernels.DType, rows, cols int) kernels.Tensor {
	class := poolClass(rows * cols * d.Size())
	if list := p.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		p.free[class] = list[:len(list)-1]
		p.use(class)
		return kernels.NewTensor(b, d, rows, cols)
	}
	b, err := p.device.Alloc(class)
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return kernels.NewTensor(emptyBuffer{}, d, rows, cols)
	}
	p.held += class
	p.use(class)
	return kernels.NewTensor(b, d, rows, cols)
}

func (p *Pool) use(bytes int) {
	p.inUse += bytes
	p.peak = max(p.peak, p.inUse)
}

// Put takes back a tensor that Get returned, whole or as a view. The absent
// tensor is ignored.
func (p *Pool) Put(t kernels.Tensor) {
	if t.IsZero() || t.Buffer.Bytes() == 0 {
		return
	}
	n := poolClass(t.Buffer.Bytes())
	p.free[n] = append(p.free[n], t.Buffer)
	p.inUse -= n
}

// Peak returns the highest number of bytes that were handed out at once.
func (p *Pool) Peak() int { return p.peak }

// InUse returns the number of bytes that are handed out.
func (p *Pool) InUse() int { return p.inUse }

// Err returns the first failure to allocate.
func (p *Pool) Err() error { return p.err }

// Close frees the recycled buffers; those still handed out are not touched.
func (p *Pool) Close() {
	for _, list := range p.free {
		for _, b := range list {
			p.device.Free(b)
		}
	}
	p.free = map[int][]kernels.Buffer{}
}

type emptyBuffer struct{}

func (emptyBuffer) Bytes() int { return 0 }
