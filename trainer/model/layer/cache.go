package layer

import (
	"ressa/kernels"
	"ressa/trainer/model"
)

// Cache holds the keys and values that a stack of blocks has computed for
// sequences that grow: per block F32 (B·Capacity, K·D), sequence b starting at
// row b·Capacity.
type Cache struct {
	Capacity int // tokens a sequence
	k, v     []kernels.Tensor
}

// NewCache takes memory for blocks layers of kvWidth = K·D columns from the pool.
func NewCache(l *model.Lane, blocks, sequences, capacity, kvWidth int) *Cache {
	c := &Cache{Capacity: capacity}
	for range blocks {
		c.k = append(c.k, l.Scratch(sequences*capacity, kvWidth))
		c.v = append(c.v, l.Scratch(sequences*capacity, kvWidth))
	}
	return c
}

// Release gives the memory back.
func (c *Cache) Release(l *model.Lane) {
	l.Free(c.k...)
	l.Free(c.v...)
	c.k, c.v = nil, nil
}

// Span says where the rows of a forward stand in a cache.
type Span struct {
	Rows kernels.Tensor // I32 (1, B·T): row of the cache for each row of the hidden state
	// Lengths, I32 (1, B), are the tokens of each sequence including those of this
	// forward, at most KeyLen. Absent in the first forward, where every token
	// attends to those beside it and the cache is only written.
	Lengths kernels.Tensor
	KeyLen  int
}

// cachedLayer is one block's part of a cache during one forward.
type cachedLayer struct {
	k, v     kernels.Tensor
	capacity int
	span     Span
}

func (c *cachedLayer) write(l *model.Lane, k, v kernels.Tensor) {
	l.Stream.ScatterRows(c.k, k, c.span.Rows)
	l.Stream.ScatterRows(c.v, v, c.span.Rows)
}

// attend makes the call read the cache instead of the fresh keys and values.
func (c *cachedLayer) attend(a *kernels.AttentionArgs) {
	if c.span.Lengths.IsZero() {
		return
	}
	a.K, a.V, a.Lengths = c.k, c.v, c.span.Lengths
	a.KeyLen, a.KeyPitch = c.span.KeyLen, c.capacity
}

// forwardCached is forward without state for block number index of cache c, which
// gets the keys and values of the rows that span names.
func (b *Block) forwardCached(l *model.Lane, x residual, s Sequences, v model.Variant, c *Cache, index int, span Span) residual {
	out, _ := b.forward(l, x, s, v, KeepNothing, &cachedLayer{k: c.k[index], v: c.v[index], capacity: c.Capacity, span: span})
	return out
}
