package shard

import "math/bits"

// The tree that gradients are summed along, as package collective/reduce defines
// it: n leaves split at the largest power of two below n, each side again by the
// same rule. A worker sends one sum for each maximal complete sub-tree that it
// holds, so that what it sends depends on where its range of microbatches begins
// and ends.

// subtree is a node of the tree: leaves [lo, hi).
type subtree struct{ lo, hi int }

// split returns where a node of at least two leaves splits.
func (s subtree) split() int { return s.lo + 1<<(bits.Len(uint(s.hi-s.lo-1))-1) }

// parts returns how many maximal complete sub-trees of the tree over n leaves the
// leaves [lo, hi) form.
func parts(n, lo, hi int) int { return subtree{0, n}.parts(lo, hi) }

func (s subtree) parts(lo, hi int) int {
	switch {
	case hi <= s.lo || s.hi <= lo:
		return 0
	case lo <= s.lo && s.hi <= hi:
		return 1
	}
	mid := s.split()
	return subtree{s.lo, mid}.parts(lo, hi) + subtree{mid, s.hi}.parts(lo, hi)
}

// parent returns the node above s and its sibling; ok is false for the root.
func (s subtree) parent(n int) (above, sibling subtree, ok bool) {
	at := subtree{0, n}
	for at != s {
		mid := at.split()
		left, right := subtree{at.lo, mid}, subtree{mid, at.hi}
		switch {
		case left == s:
			return at, right, true
		case right == s:
			return at, left, true
		case s.hi <= mid:
			at = left
		default:
			at = right
		}
	}
	return subtree{}, subtree{}, false
}

// exactHeld bounds the trees for which the sums that are held are counted.
const exactHeld = 512

// mostHeld returns how many sums of sub-trees a worker holds at most while it adds
// the leaves in the order given.
func mostHeld(n int, leaves []int) int {
	held, most := map[subtree]bool{}, 0
	for _, l := range leaves {
		s := subtree{l, l + 1}
		for {
			above, sibling, ok := s.parent(n)
			if !ok || !held[sibling] {
				break
			}
			delete(held, sibling)
			s = above
		}
		held[s] = true
		most = max(most, len(held))
	}
	return most
}
