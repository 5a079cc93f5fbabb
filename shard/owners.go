package shard

import "math"

// apportion shares n microbatches among workers of these positive weights:
// contiguous ranges of at least one, returned as counts. The worker that takes
// longest by count/weight takes as little as can be; of all such shares it is one
// whose ranges form the fewest sub-trees. n must be at least len(weights).
func apportion(n int, weights []float64) []int {
	counts, worst := proportional(n, weights)
	most := make([]int, len(weights)) // what each can take without getting slower than the slowest
	for i, w := range weights {
		most[i] = counts[i]
		if float64(counts[i]+1) <= worst*w*(1+1e-9) {
			most[i]++
		}
	}
	return fewestParts(n, counts, most)
}

// proportional returns counts of at least one in proportion to the weights and the
// highest count/weight, which is minimal.
func proportional(n int, weights []float64) (counts []int, worst float64) {
	var sum float64
	for _, w := range weights {
		sum += w
	}
	counts = make([]int, len(weights))
	left := n
	for i, w := range weights {
		counts[i] = min(max(1, int(float64(n)*(w/sum))), n)
		left -= counts[i]
	}
	for ; left != 0; left -= sign(left) {
		best, at := math.Inf(1), -1
		for i, w := range weights {
			cost := float64(counts[i]+1) / w // to add where it hurts least
			if left < 0 {
				cost = -float64(counts[i]) / w // to take where it helps most
				if counts[i] == 1 {
					continue
				}
			}
			if cost < best {
				best, at = cost, i
			}
		}
		counts[at] += sign(left)
	}
	for i, w := range weights {
		worst = max(worst, float64(counts[i])/w)
	}
	return counts, worst
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// fewestParts chooses among all counts from 1 to most that sum to n those whose
// ranges have the fewest sub-trees; of several the first workers get most. None
// gives up more than a few, and the ends of worker i's range lie in a window as
// wide as there is slack, so that few have to be tried.
func fewestParts(n int, counts, most []int) []int {
	type choice struct{ cost, from int }
	const give = 2
	slack := -n
	for _, m := range most {
		slack += m
	}
	// ends[i][b] is the best way to give [0, b) to the first i workers.
	ends := []map[int]choice{{0: {}}}
	reach := 0
	for i := range counts {
		reach += most[i]
		next := map[int]choice{}
		for b := reach; b >= max(1, reach-slack); b-- {
			for c := max(1, most[i]-give); c <= min(most[i], b); c++ {
				before, ok := ends[i][b-c]
				if !ok {
					continue
				}
				cost := before.cost + parts(n, b-c, b)
				if old, ok := next[b]; !ok || cost < old.cost {
					next[b] = choice{cost, b - c}
				}
			}
		}
		ends = append(ends, next)
	}
	out, b := make([]int, len(counts)), n
	for i := len(counts); i > 0; i-- {
		from := ends[i][b].from
		out[i-1] = b - from
		b = from
	}
	return out
}

// span is a range of microbatches.
type span struct{ lo, hi int }

func (s span) len() int { return s.hi - s.lo }

// spans turns counts into ranges.
func spans(counts []int) []span {
	out, at := make([]span, len(counts)), 0
	for i, n := range counts {
		out[i] = span{at, at + n}
		at += n
	}
	return out
}

// owners returns the owner of each microbatch whose ranges the workers have.
func owners(workers []int, ranges []span) []int {
	var out []int
	for r, w := range workers {
		for range ranges[r].len() {
			out = append(out, w)
		}
	}
	return out
}
