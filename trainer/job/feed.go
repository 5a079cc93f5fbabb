package job

import (
	"context"
	"fmt"

	"ressa/trainer/data"
)

// feed makes the microbatches of a step: a function of (seed, step) alone.
type feed struct {
	set     data.Dataset
	encoder *data.Encoder
	pad     int32
	seed    uint64
	batch   int // samples of a step
	micro   int // microbatches of a step
}

// step returns the microbatches of step s. Where the batch does not divide, the
// first microbatches get one sample more.
func (f *feed) step(s int) ([]*data.Batch, error) {
	order := data.Order(f.seed, s, f.batch, f.set.Len())
	out := make([]*data.Batch, f.micro)
	for m := range out {
		lo, hi := share(f.batch, f.micro, m)
		b, err := collate(f.set, f.encoder, f.pad, order[lo:hi])
		if err != nil {
			return nil, err
		}
		out[m] = b
	}
	return out, nil
}

// share returns the range of part i of n items in parts.
func share(n, parts, i int) (lo, hi int) {
	base, extra := n/parts, n%parts
	lo = i*base + min(i, extra)
	hi = lo + base
	if i < extra {
		hi++
	}
	return lo, hi
}

func collate(set data.Dataset, encoder *data.Encoder, pad int32, indices []int) (*data.Batch, error) {
	samples := make([]data.Sample, len(indices))
	for k, i := range indices {
		ex, err := set.Example(i)
		if err != nil {
			return nil, err
		}
		if samples[k], err = encoder.Encode(ex); err != nil {
			return nil, err
		}
	}
	b, err := data.Collate(samples, pad)
	return &b, err
}

// prefetch makes steps from first on, one ahead of the reader, in a goroutine
// that ends when the context does. The channel is closed after the last step or
// the first error.
func (f *feed) prefetch(ctx context.Context, first, last int) <-chan fed {
	out := make(chan fed)
	go func() {
		defer close(out)
		for s := first; s < last; s++ {
			batches, err := f.step(s)
			if err != nil {
				err = fmt.Errorf("step %d: data: %w", s+1, err)
			}
			select {
			case out <- fed{s, batches, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

type fed struct {
	step    int
	batches []*data.Batch
	err     error
}
