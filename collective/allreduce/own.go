package allreduce

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"ressa/collective/reduce"
	"ressa/collective/vector"
	"ressa/kernels"
)

// operand is one sub-tree's slice of a segment at its owner: float32, or bfloat16 as
// it came.
type operand struct {
	wide   []float32
	narrow []uint16
}

// source says where a sub-tree's sum comes from.
type source struct {
	reduce.Subtree
	member int // who sends it
	index  int // among that member's sub-trees
}

// instruction is one step of a stack machine that walks the tree: push a source, or
// add the two topmost sums.
type instruction struct {
	source int // < 0: add
}

// sources returns the sub-trees of all members, ascending.
func (l *layout) sources() []source {
	var out []source
	for m, subs := range l.subs {
		for i, s := range subs {
			out = append(out, source{s, m, i})
		}
	}
	slices.SortFunc(out, func(a, b source) int { return a.Lo - b.Lo })
	return out
}

// compile returns the walk over the tree, left before right.
func (c *call) compile() ([]instruction, error) {
	var program []instruction
	var walk func(reduce.Subtree) error
	walk = func(node reduce.Subtree) error {
		for i, s := range c.sources {
			if s.Subtree == node {
				program = append(program, instruction{i})
				return nil
			}
		}
		if node.Len() == 1 {
			return fmt.Errorf("leaf %d has no owner", node.Lo)
		}
		left, right := node.Children()
		if err := walk(left); err != nil {
			return err
		}
		if err := walk(right); err != nil {
			return err
		}
		program = append(program, instruction{-1})
		return nil
	}
	return program, walk(reduce.Root(len(c.reduction.Owners)))
}

// own gathers all slices of a segment of this rank's part, sums them and sends the
// sum back.
func (c *call) own(ctx context.Context, n int, s span) error {
	var borrowed [][]float32
	defer func() {
		for _, b := range borrowed {
			c.scratch.put(b)
		}
	}()
	borrow := func() []float32 {
		b := c.scratch.get()
		borrowed = append(borrowed, b)
		return b
	}
	operands := make([]operand, len(c.sources))
	for i, x := range c.sources {
		if x.member == c.me {
			operands[i].wide = c.parts[x.index].Value[s.lo:s.hi]
			if c.reduction.Keep != nil {
				b := borrow()[:s.kept]
				vector.Pack(b, operands[i].wide, c.reduction.Keep.of(s))
				operands[i].wide = b
			}
		}
	}
	for i, x := range c.sources {
		if x.member == c.me {
			continue
		}
		b, d := borrow(), c.upType(x.Subtree)
		if err := c.receive(ctx, c.layout.members[x.member], c.upTag(c.me, n, x.index), vector.Wire(b, d, s.kept)); err != nil {
			return err
		}
		if d == kernels.BF16 {
			operands[i].narrow = vector.Halves(b, s.kept)
		} else {
			operands[i].wide = b[:s.kept]
		}
	}
	sum := c.out[s.lo:s.hi]
	if c.reduction.Keep != nil {
		sum = borrow()[:s.kept]
	}
	c.join(sum, operands)
	down := vector.Bytes(sum)
	if c.downType() == kernels.BF16 {
		b := borrow()
		vector.ToBF16(vector.Halves(b, s.kept), sum)
		vector.FromBF16(sum, vector.Halves(b, s.kept)) // what is kept here is what the others get
		down = vector.Wire(b, kernels.BF16, s.kept)
	}
	if c.reduction.Keep != nil {
		vector.Unpack(c.out[s.lo:s.hi], sum, c.reduction.Keep.of(s))
	}
	if !c.back {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	for m, rank := range c.layout.members {
		if m != c.me {
			group.Go(func() error { return c.messenger.Send(ctx, rank, c.downTag(c.me, n), down) })
		}
	}
	return group.Wait()
}

// tile is how many elements go through the whole tree at a time: its sums stay in
// the first level of cache.
const tile = 2048

// join writes the sum of the operands along the tree to dst, which may be the memory
// of one of them.
func (c *call) join(dst []float32, operands []operand) {
	stack := make([][]float32, 0, len(c.program))
	var room [][]float32 // by height of the stack: where a sum may lie
	for lo := 0; lo < len(dst); lo += tile {
		hi := min(lo+tile, len(dst))
		for i, x := range c.program {
			if x.source >= 0 {
				o := operands[x.source]
				if o.narrow == nil {
					stack = append(stack, o.wide[lo:hi])
					continue
				}
				for len(room) <= len(stack) {
					room = append(room, make([]float32, tile))
				}
				v := room[len(stack)][:hi-lo]
				vector.FromBF16(v, o.narrow[lo:hi])
				stack = append(stack, v)
				continue
			}
			a, b := stack[len(stack)-2], stack[len(stack)-1]
			stack = stack[:len(stack)-2]
			for len(room) <= len(stack) {
				room = append(room, make([]float32, tile))
			}
			sum := room[len(stack)][:hi-lo]
			if i == len(c.program)-1 {
				sum = dst[lo:hi]
			}
			if c.reduction.Wire == kernels.BF16 {
				vector.AddRounded(sum, a, b)
			} else {
				vector.Add(sum, a, b)
			}
			stack = append(stack, sum)
		}
		if len(c.program) == 1 {
			copy(dst[lo:hi], stack[0])
		}
		stack = stack[:0]
	}
}
