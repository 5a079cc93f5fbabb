package allreduce

import (
	"math/bits"
	"slices"

	"ressa/collective/reduce"
)

// block is the granularity of all cuts of an unmasked vector: 16 elements, 64 bytes
// of float32. A masked one is cut between the mask's words.
const block = 16

// span is a range of positions and how many of them are kept.
type span struct {
	lo, hi, kept int
}

// layout says what happens where: equal on all members.
type layout struct {
	members []int
	subs    [][]reduce.Subtree // by member: what it contributes
	parts   [][]span           // by owner: the segments of its part
}

// lay cuts the vector of a reduction into a part for each member and each part into
// segments of at most size kept elements.
func (d *Reduction) lay(world, size int) *layout {
	l := &layout{members: d.members(world)}
	for _, m := range l.members {
		l.subs = append(l.subs, d.Cover(m))
	}
	if d.Keep != nil {
		l.parts = d.Keep.cut(len(l.members), size)
		return l
	}
	blocks := (d.Len + block - 1) / block
	for r := range l.members {
		lo, hi := min(d.Len, blocks*r/len(l.members)*block), min(d.Len, blocks*(r+1)/len(l.members)*block)
		var segments []span
		for ; lo < hi; lo += size {
			end := min(lo+size, hi)
			segments = append(segments, span{lo, end, end - lo})
		}
		l.parts = append(l.parts, segments)
	}
	return l
}

// cut shares the kept positions among parts as evenly as words allow.
func (k *Keep) cut(parts, size int) [][]span {
	total := k.Count()
	out := make([][]span, parts)
	word, before := 0, 0
	for r := range out {
		until := total * (r + 1) / parts
		s := span{lo: min(k.n, 64*word)}
		s.hi = s.lo
		for ; word < len(k.words) && (before < until || r == parts-1); word++ {
			n := bits.OnesCount64(k.words[word])
			if s.kept > 0 && s.kept+n > size || s.hi-s.lo+64 > 8*size {
				out[r] = append(out[r], s)
				s = span{lo: s.hi, hi: s.hi}
			}
			s.hi, s.kept, before = min(k.n, s.hi+64), s.kept+n, before+n
		}
		if s.hi > s.lo {
			out[r] = append(out[r], s)
		}
	}
	return out
}

// index returns the position of a rank among the members.
func (l *layout) index(rank int) int { return slices.Index(l.members, rank) }

// words returns the mask's words of a span.
func (k *Keep) of(s span) []uint64 { return k.words[s.lo/64 : (s.hi+63)/64] }
