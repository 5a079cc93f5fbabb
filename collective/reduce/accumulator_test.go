package reduce

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// bf16 rounds to bfloat16 and back, to nearest even.
func bf16(v float32) float32 {
	b := math.Float32bits(v)
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}

func exact(v float32) float32 { return v }

func adder(round func(float32) float32) func(dst, a, b []float32) error {
	return func(dst, a, b []float32) error {
		for i := range dst {
			dst[i] = round(a[i]) + round(b[i])
		}
		return nil
	}
}

// definition is the sum as design and package documentation define it.
func definition(leaves [][]float32, round func(float32) float32) []float32 {
	n := len(leaves)
	if n == 1 {
		return slices.Clone(leaves[0])
	}
	half := 1
	for half*2 < n {
		half *= 2
	}
	a, b := definition(leaves[:half], round), definition(leaves[half:], round)
	for i := range a {
		a[i] = round(a[i]) + round(b[i])
	}
	return a
}

func randomLeaves(r *rand.Rand, n, width int) [][]float32 {
	leaves := make([][]float32, n)
	for i := range leaves {
		leaves[i] = make([]float32, width)
		for j := range leaves[i] {
			leaves[i][j] = float32(r.NormFloat64() * math.Exp(4*r.NormFloat64()))
		}
	}
	return leaves
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// TestPlacementInvariance spreads the leaves over ranks at random, lets them and
// the sub-trees arrive in a random order, and compares bits.
func TestPlacementInvariance(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, round := range map[string]func(float32) float32{"fp32": exact, "bf16": bf16} {
		for n := 1; n <= 33; n++ {
			leaves := randomLeaves(r, n, 5)
			want := definition(leaves, round)
			for try := range 20 {
				ranks := 1 + try%6
				accumulators := make([]*Accumulator[[]float32], ranks)
				for i := range accumulators {
					accumulators[i], _ = New(n, adder(round), nil)
				}
				owner := make([]int, n)
				for i := range owner {
					owner[i] = r.IntN(ranks)
				}
				for _, i := range r.Perm(n) {
					if err := accumulators[owner[i]].Put(Leaf(i), slices.Clone(leaves[i])); err != nil {
						t.Fatal(err)
					}
				}
				var parts []Part[[]float32]
				for rank, a := range accumulators {
					if got, plan := a.Held(), Cover(n, func(i int) bool { return owner[i] == rank }); !slices.Equal(got, plan) {
						t.Fatalf("%s n=%d: rank %d holds %v, Cover says %v", name, n, rank, got, plan)
					}
					parts = append(parts, a.Take()...)
				}
				joined, _ := New(n, adder(round), nil)
				for _, i := range r.Perm(len(parts)) {
					if _, ok := joined.Sum(); ok {
						t.Fatalf("%s n=%d: sum before all parts were there", name, n)
					}
					if parts[i].Subtree != Root(n) { // the wire rounds each part; a root stays as it is
						for j, v := range parts[i].Value {
							parts[i].Value[j] = round(v)
						}
					}
					if err := joined.Put(parts[i].Subtree, parts[i].Value); err != nil {
						t.Fatal(err)
					}
				}
				got, ok := joined.Sum()
				if !ok || !sameBits(got, want) {
					t.Fatalf("%s n=%d, %d ranks, owners %v: got %v %v, want %v", name, n, ranks, owner, got, ok, want)
				}
			}
		}
	}
}

func TestOrderMatters(t *testing.T) {
	// The property above would hold for any sum if float addition were associative
	// on the leaves it uses.
	leaves := randomLeaves(rand.New(rand.NewPCG(1, 2)), 33, 64)
	serial := make([]float32, 64)
	for _, l := range leaves {
		for i, v := range l {
			serial[i] += v
		}
	}
	if sameBits(serial, definition(leaves, exact)) {
		t.Fatal("the serial sum has the tree's bits: the leaves prove nothing")
	}
}

func TestConcurrentPut(t *testing.T) {
	const n = 33
	leaves := randomLeaves(rand.New(rand.NewPCG(3, 4)), n, 257)
	want := definition(leaves, exact)
	released := 0
	a, err := New(n, adder(exact), func([]float32) { released++ })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := a.Put(Leaf(i), slices.Clone(leaves[i])); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, ok := a.Sum(); !ok || !sameBits(got, want) {
		t.Fatal("the sum differs from the definition")
	}
	if released != n-1 {
		t.Errorf("%d values released, want %d", released, n-1)
	}
}

func TestPutRefuses(t *testing.T) {
	if _, err := New(0, adder(exact), nil); err == nil {
		t.Error("a tree of no leaves was accepted")
	}
	a, _ := New(8, adder(exact), nil)
	put := func(s Subtree) error { return a.Put(s, []float32{1}) }
	if err := errors.Join(put(Leaf(2)), put(Subtree{4, 6})); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s    Subtree
		want error
	}{
		{Leaf(2), ErrOverlap}, {Subtree{0, 4}, ErrOverlap}, {Leaf(5), ErrOverlap}, {Root(8), ErrOverlap},
		{Subtree{1, 3}, ErrNotANode}, {Subtree{0, 3}, ErrNotANode}, {Leaf(8), ErrNotANode}, {Leaf(-1), ErrNotANode}, {Subtree{3, 3}, ErrNotANode},
	} {
		if err := put(c.s); !errors.Is(err, c.want) {
			t.Errorf("put %v: %v, want %v", c.s, err, c.want)
		}
	}
	a.Take()
	if err := put(Leaf(2)); !errors.Is(err, ErrOverlap) {
		t.Errorf("put a leaf after it was taken: %v", err)
	}
}

func TestFailingAddSticks(t *testing.T) {
	boom := errors.New("device lost")
	a, _ := New(4, func(_, _, _ []float32) error { return boom }, nil)
	if err := a.Put(Leaf(0), nil); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 3} {
		if err := a.Put(Leaf(i), nil); !errors.Is(err, boom) {
			t.Errorf("put %d: %v, want %v", i, err, boom)
		}
	}
	if _, ok := a.Sum(); ok {
		t.Error("a failed accumulator has a sum")
	}
}
