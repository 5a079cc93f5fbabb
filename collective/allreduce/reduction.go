package allreduce

import (
	"fmt"
	"slices"

	"ressa/collective/reduce"
	"ressa/kernels"
)

// Part is the sum of one complete sub-tree, of the reduction's length.
type Part = reduce.Part[[]float32]

// Reduction describes one sum over ranks. All members must give equal ones.
type Reduction struct {
	// Key names the reduction among the messages of the group, as "step/17/vision".
	// Concurrent reductions need different ones. At most 200 bytes.
	Key string
	// Members are the ranks that take part, ascending; nil: all ranks of the group.
	Members []int
	// Owners[i] is the member that computed leaf i. There are at most 65,536 leaves.
	Owners []int
	// Len is the number of elements of the vectors.
	Len int
	// Wire is the dtype in which sums travel, F32 or BF16. With BF16 every edge of
	// the tree rounds, also within one rank, and the result is rounded too.
	Wire kernels.DType
	// ExactRoot sends the sum back as it is, in F32: with a BF16 wire the result then
	// has the bits of the accumulator's root before rounding.
	ExactRoot bool
	// Keep names the positions that are summed; the others are +0 in the result. Nil
	// keeps all.
	Keep *Keep
}

// check verifies the reduction for a rank of a group.
func (d *Reduction) check(rank, world int) error {
	if d.Len < 0 || len(d.Owners) < 1 || len(d.Owners) > 1<<16 || len(d.Key) > 200 {
		return fmt.Errorf("%d elements, %d leaves, key of %d bytes", d.Len, len(d.Owners), len(d.Key))
	}
	if d.Wire != kernels.F32 && d.Wire != kernels.BF16 {
		return fmt.Errorf("wire dtype %v, want fp32 or bf16", d.Wire)
	}
	for i, m := range d.Members {
		if m < 0 || m >= world || i > 0 && m <= d.Members[i-1] {
			return fmt.Errorf("members %v, want ascending ranks of %d", d.Members, world)
		}
	}
	if !d.member(rank, world) {
		return fmt.Errorf("rank %d is none of the members %v", rank, d.Members)
	}
	for i, r := range d.Owners {
		if !d.member(r, world) {
			return fmt.Errorf("leaf %d belongs to rank %d, which is none of the members %v", i, r, d.Members)
		}
	}
	if d.Keep != nil && d.Keep.n != d.Len {
		return fmt.Errorf("a mask of %d positions for %d elements", d.Keep.n, d.Len)
	}
	return nil
}

func (d *Reduction) member(rank, world int) bool {
	if d.Members == nil {
		return rank >= 0 && rank < world
	}
	return slices.Contains(d.Members, rank)
}

// members returns the ranks that take part.
func (d *Reduction) members(world int) []int {
	if d.Members != nil {
		return d.Members
	}
	all := make([]int, world)
	for i := range all {
		all[i] = i
	}
	return all
}

// Cover returns the sub-trees that a rank contributes, ascending: what
// [Reducer.AllReduce] expects as its parts.
func (d *Reduction) Cover(rank int) []reduce.Subtree {
	return reduce.Cover(len(d.Owners), func(leaf int) bool { return d.Owners[leaf] == rank })
}

// checkParts verifies that parts are what this rank is to contribute.
func (d *Reduction) checkParts(rank int, parts []Part) error {
	want := d.Cover(rank)
	if len(parts) != len(want) {
		return fmt.Errorf("%d parts, want those of %v", len(parts), want)
	}
	for i, p := range parts {
		if p.Subtree != want[i] || len(p.Value) != d.Len {
			return fmt.Errorf("part %d is %v with %d elements, want %v with %d", i, p.Subtree, len(p.Value), want[i], d.Len)
		}
	}
	return nil
}
