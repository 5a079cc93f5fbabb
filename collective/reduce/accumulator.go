package reduce

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Errors that [Accumulator.Put] wraps.
var (
	// ErrNotANode is returned for a range of leaves that is no node of the tree.
	ErrNotANode = errors.New("not a node of the tree")
	// ErrOverlap is returned for leaves that were put before.
	ErrOverlap = errors.New("leaves put twice")
)

// Part is a complete sub-tree with its sum.
type Part[T any] struct {
	Subtree
	Value T
}

// Accumulator sums leaves along the tree as they arrive. T refers to memory that
// add can write to: a slice, a pointer or a kernels.Tensor. Its methods are safe
// for concurrent use.
type Accumulator[T any] struct {
	n       int
	add     func(dst, a, b T) error
	release func(T)

	mu    sync.Mutex
	held  map[Subtree]T // complete, maximal, disjoint
	taken []Subtree     // sums that were given away
	err   error         // first failure of add; sticks
}

// New returns an accumulator over the tree of n leaves, n ≥ 1.
//
// add writes the sum of the left sibling a and the right sibling b into dst; dst
// is always a. It is never called by two goroutines at once, so it may use a
// stream of its own, but it is called from whichever goroutine calls Put: values
// must be complete (their own streams synchronised) before they are put.
// release, where it is not nil, gets each b after it was added; an add that
// works asynchronously must keep b alive until it has run.
func New[T any](n int, add func(dst, a, b T) error, release func(T)) (*Accumulator[T], error) {
	if n < 1 {
		return nil, fmt.Errorf("reduce: a tree of %d leaves, want at least 1", n)
	}
	return &Accumulator[T]{n: n, add: add, release: release, held: map[Subtree]T{}}, nil
}

// Put hands over the sum of a sub-tree: [Leaf](i) for a microbatch, a larger one
// as another rank sent it. The accumulator owns v until it gives it away. A v that
// is refused with [ErrNotANode] or [ErrOverlap] stays with the caller and changes
// nothing; a failure of add is returned by this and every later call.
func (a *Accumulator[T]) Put(s Subtree, v T) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if !IsNode(a.n, s) {
		return fmt.Errorf("reduce: leaves %v of %d: %w", s, a.n, ErrNotANode)
	}
	if t, ok := a.overlapping(s); ok {
		return fmt.Errorf("reduce: leaves %v, after %v: %w", s, t, ErrOverlap)
	}
	a.held[s] = v
	for {
		parent, ok := Parent(a.n, s)
		if !ok {
			return nil
		}
		left, right := parent.Children()
		l, haveLeft := a.held[left]
		r, haveRight := a.held[right]
		if !haveLeft || !haveRight {
			return nil
		}
		if err := a.add(l, l, r); err != nil {
			a.err = fmt.Errorf("reduce: add %v and %v: %w", left, right, err)
			return a.err
		}
		if a.release != nil {
			a.release(r)
		}
		delete(a.held, left)
		delete(a.held, right)
		a.held[parent] = l
		s = parent
	}
}

// overlapping returns a sub-tree that was put before and shares leaves with s.
func (a *Accumulator[T]) overlapping(s Subtree) (Subtree, bool) {
	for t := range a.held {
		if s.Lo < t.Hi && t.Lo < s.Hi {
			return t, true
		}
	}
	for _, t := range a.taken {
		if s.Lo < t.Hi && t.Lo < s.Hi {
			return t, true
		}
	}
	return Subtree{}, false
}

// Held returns the maximal complete sub-trees that are there, ascending.
func (a *Accumulator[T]) Held() []Subtree {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sorted()
}

func (a *Accumulator[T]) sorted() []Subtree {
	parts := make([]Subtree, 0, len(a.held))
	for s := range a.held {
		parts = append(parts, s)
	}
	slices.SortFunc(parts, func(x, y Subtree) int { return x.Lo - y.Lo })
	return parts
}

// Take gives away the maximal complete sub-trees that are there, ascending, with
// their sums. Their leaves cannot be put again.
func (a *Accumulator[T]) Take() []Part[T] {
	a.mu.Lock()
	defer a.mu.Unlock()
	parts := make([]Part[T], 0, len(a.held))
	for _, s := range a.sorted() {
		parts = append(parts, Part[T]{s, a.held[s]})
		a.taken = append(a.taken, s)
	}
	clear(a.held)
	return parts
}

// Sum returns the sum over all leaves; ok is false while leaves are missing. The
// accumulator keeps its reference: the caller decides when the memory is reused.
func (a *Accumulator[T]) Sum() (v T, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok = a.held[Root(a.n)]
	return v, ok && a.err == nil
}
