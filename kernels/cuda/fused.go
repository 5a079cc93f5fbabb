//go:build cgo && linux

package cuda

import (
	"ressa/kernels"
	"ressa/kernels/cuda/driver"
)

// linearFusedArgs is struct linear_fused_args of fused.cu.
type linearFusedArgs struct {
	head
	x      view
	weight weight
	to     target
	parts  uint64
	length int64
}

const (
	fewTokens   = 32  // FEW of fused.cu
	fusedPitch  = 72  // FUSED_PITCH
	fusedBlocks = 512 // as many as keep a large GPU's memory busy; with fewer the depth is divided
)

// few reports whether a forward pass builds the effective weight where it multiplies.
func (p product) few(w weight, compute kernels.DType) bool {
	return p.to.dst.rows <= fewTokens && !w.plain(compute)
}

// fused is panelled for y = x·W_effᵀ of few tokens.
func (s *Stream) fused(p product, w weight) {
	rows, across := p.to.dst.rows, ceil(w.out, weightTile)
	if s.err != nil || rows == 0 || across == 0 {
		return
	}
	name, planes := "linear_fused_ww", 3*weightTile+3*fewTokens
	switch {
	case s.taken(p.a) == rounded:
		name, planes = "linear_fused_hr", weightTile+fewTokens
	case w.dtype(kernels.F32) == kernels.BF16:
		name, planes = "linear_fused_hw", weightTile+3*fewTokens
	}
	splits := max(1, min(fusedBlocks/across, ceil(p.depth, leastOfSplit)))
	length := max(weightTile, ceil(ceil(p.depth, splits), weightTile)*weightTile)
	splits = max(1, ceil(p.depth, length))
	a := &linearFusedArgs{x: p.a, weight: w, to: p.to, length: length}
	if splits > 1 {
		a.parts = s.temporary(int(4 * splits * rows * w.out))
	}
	launchWith(s, name, driver.Dim{uint32(across), 1, uint32(splits)}, threads, 2*planes*fusedPitch, int(across*splits), a)
	if splits > 1 {
		s.addParts(p.to, a.parts, splits)
	}
}
