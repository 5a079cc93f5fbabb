package data

import (
	"fmt"
	"math/bits"

	"ressa/trainer/random"
)

// orderSite separates the data order from every other use of the seed; round
// functions use the sites from here on.
const orderSite = 0x0D0E_0000

// feistelRounds of a balanced Feistel network with Philox as its round
// function: four are enough for a pseudo-random permutation (Luby and Rackoff,
// 1988), two more cost nothing here.
const feistelRounds = 6

// Order returns the indices of the batch examples that step takes from a data
// set of n examples. The sequence over all steps runs through one permutation of
// 0…n−1 after another, each keyed by (seed, epoch); a step at the end of an epoch
// continues in the next one. It is a pure function. It panics unless step ≥ 0,
// batch ≥ 0 and n ≥ 1: the caller has checked that the data set is not empty.
func Order(seed uint64, step, batch, n int) []int {
	if step < 0 || batch < 0 || n < 1 {
		panic(fmt.Sprintf("data: order of step %d, batch %d over %d examples", step, batch, n))
	}
	out := make([]int, batch)
	for i := range out {
		hi, at := bits.Mul64(uint64(step), uint64(batch))
		at, carry := bits.Add64(at, uint64(i), 0)
		if hi+carry != 0 {
			panic(fmt.Sprintf("data: step %d of batch %d is too far", step, batch))
		}
		out[i] = permute(seed, at/uint64(n), int(at%uint64(n)), n)
	}
	return out
}

// permute maps index to its place in the permutation of 0…n−1 keyed by (seed,
// epoch): a Feistel network over the next even number of bits, walked until it
// lands inside n (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
// CT-RSA 2002). Fewer than 4 rounds of walking are expected.
func permute(seed, epoch uint64, index, n int) int {
	half := max(1, (bits.Len64(uint64(n-1))+1)/2)
	mask := uint64(1)<<half - 1
	for x := uint64(index); ; {
		left, right := x>>half, x&mask
		for r := range uint32(feistelRounds) {
			f := random.Philox(
				[4]uint32{uint32(right), uint32(epoch), uint32(epoch >> 32), orderSite + r},
				[2]uint32{uint32(seed), uint32(seed >> 32)})
			left, right = right, left^uint64(f[0])&mask
		}
		if x = left<<half | right; x < uint64(n) {
			return int(x)
		}
	}
}
