package reduce

import (
	"fmt"
	"math/bits"
)

// Subtree is a node of the tree, named by the leaves below it: Lo to Hi-1.
type Subtree struct {
	Lo, Hi int
}

// Root returns the whole tree over n leaves.
func Root(n int) Subtree { return Subtree{0, n} }

// Leaf returns the sub-tree that is leaf i alone.
func Leaf(i int) Subtree { return Subtree{i, i + 1} }

// Len returns the number of leaves.
func (s Subtree) Len() int { return s.Hi - s.Lo }

// Contains reports whether all leaves of t are leaves of s.
func (s Subtree) Contains(t Subtree) bool { return s.Lo <= t.Lo && t.Hi <= s.Hi }

// String returns the half-open range of leaves, as "[4,6)".
func (s Subtree) String() string { return fmt.Sprintf("[%d,%d)", s.Lo, s.Hi) }

// Children returns the two sides of a sub-tree of at least two leaves. The left
// one has as many leaves as the largest power of two below s.Len().
func (s Subtree) Children() (left, right Subtree) {
	mid := s.Lo + 1<<(bits.Len(uint(s.Len()-1))-1)
	return Subtree{s.Lo, mid}, Subtree{mid, s.Hi}
}

// Parent returns the node above s in the tree over n leaves. ok is false for the
// root and for ranges that are no node of that tree.
func Parent(n int, s Subtree) (parent Subtree, ok bool) {
	if s.Lo < 0 || s.Hi > n || s.Lo >= s.Hi {
		return Subtree{}, false
	}
	node := Root(n)
	for node != s {
		if node.Len() == 1 {
			return Subtree{}, false
		}
		parent = node
		left, right := node.Children()
		switch {
		case left.Contains(s):
			node = left
		case right.Contains(s):
			node = right
		default:
			return Subtree{}, false
		}
	}
	return parent, s != Root(n)
}

// IsNode reports whether s is a node of the tree over n leaves.
func IsNode(n int, s Subtree) bool {
	if n > 0 && s == Root(n) {
		return true
	}
	_, ok := Parent(n, s)
	return ok
}

// Cover returns the maximal complete sub-trees of the tree over n leaves whose
// leaves all satisfy held, ascending: what a rank that computes those leaves
// will send.
func Cover(n int, held func(leaf int) bool) []Subtree {
	if n < 1 {
		return nil
	}
	_, parts := cover(Root(n), held)
	return parts
}

func cover(s Subtree, held func(int) bool) (whole bool, parts []Subtree) {
	if s.Len() == 1 {
		if !held(s.Lo) {
			return false, nil
		}
		return true, []Subtree{s}
	}
	left, right := s.Children()
	wholeLeft, parts := cover(left, held)
	wholeRight, more := cover(right, held)
	if wholeLeft && wholeRight {
		return true, []Subtree{s}
	}
	return false, append(parts, more...)
}
