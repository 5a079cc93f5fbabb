//go:build cgo && linux

package cuda

import (
	"fmt"

	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

const (
	fewQueries = 16  // up to so many, the keys are divided
	fewRows    = 16  // FEW of attention_few.cu
	leastKeys  = 256 // of a part
	fewBlocks  = 256 // with fewer of them, the keys are divided
)

// dividedKeys returns in how many parts keyLen keys go, and how many each has: a multiple
// of what a block takes at once.
func dividedKeys(blocks, keyLen int) (splits, span int) {
	const at = 64
	splits = max(1, min(fewBlocks/blocks, keyLen/leastKeys))
	span = ceil(ceil(keyLen, splits), at) * at
	return ceil(keyLen, span), span
}

// attentionFew is the forward pass of few queries. A block's rows are the queries of all
// heads that share keys.
func (s *Stream) attentionFew(f kernels.AttentionArgs, a *attentionArgs) {
	if s.err != nil {
		return
	}
	dim, _, _, _ := attentionTiles(f.HeadDim)
	tiles := tiling{fewRows, 64}
	if dim == largestHead {
		tiles.cols = 32
	}
	blocks := f.Batch * f.KVHeads * ceil(f.Heads/f.KVHeads*f.QueryLen, fewRows)
	splits, span := dividedKeys(blocks, f.KeyLen)
	a.splits, a.span, a.rounded = int32(splits), int32(span), flag(s.device.options.Compute == kernels.BF16)
	rows := f.Batch * f.Heads * f.QueryLen
	if splits > 1 {
		a.parts = s.temporary(4 * splits * rows * (f.HeadDim + 2))
	}
	grid := driver.Dim{uint32(blocks), uint32(splits), 1}
	launchWith(s, fmt.Sprintf("attention_few_%d", dim), grid, threads, tiles.shared(dim, 1, 1), blocks*splits, a)
	s.checked("attention lengths", f.KeyLen+1, kernels.CheckRowIndex)
	if splits > 1 {
		launch(s, "attention_join", ceil(rows, threads/32), a)
	}
}
