package job

import (
	"context"
	"fmt"

	"ressa/shard"
	"ressa/trainer/data"
)

// feed makes the microbatches of a step: a function of (seed, step) alone.
type feed struct {
	set     data.Dataset
	encoder *data.Encoder
	blank   *data.Encoder        // for microbatches whose images are another worker's
	looks   func(micro int) bool // whether this worker looks at a microbatch's images
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
		lo, hi := shard.Share(f.batch, f.micro, m)
		encoder := f.blank
		if f.looks(m) {
			encoder = f.encoder
		}
		b, err := collate(f.set, encoder, f.pad, order[lo:hi])
		if err != nil {
			return nil, err
		}
		out[m] = b
	}
	return out, nil
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
