package allreduce

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/kernels/sparse"
)

// exchange passes messages between ranks of one process, each after a random pause.
type exchange struct {
	mu    sync.Mutex
	boxes map[string]chan []byte
	rng   *rand.Rand
	sent  int // bytes
	wrong int // messages that are cut short by a byte, for tests of disagreement
}

func (x *exchange) box(from, to int, tag string) (chan []byte, time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := fmt.Sprint(from, to, tag)
	if x.boxes[k] == nil {
		x.boxes[k] = make(chan []byte, 1)
	}
	return x.boxes[k], time.Duration(x.rng.IntN(300)) * time.Microsecond
}

type end struct {
	*exchange
	rank, world int
}

func (e end) Rank() int  { return e.rank }
func (e end) World() int { return e.world }

func (e end) Send(ctx context.Context, to int, tag string, m []byte) error {
	box, pause := e.box(e.rank, to, tag)
	time.Sleep(pause)
	e.mu.Lock()
	e.sent += len(m)
	m = slices.Clone(m)
	if e.wrong > 0 {
		e.wrong--
		m = m[:len(m)-1]
	}
	e.mu.Unlock()
	select {
	case box <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e end) RecvInto(ctx context.Context, from int, tag string, buf []byte) (int, error) {
	box, _ := e.box(from, e.rank, tag)
	select {
	case m := <-box:
		return copy(buf, m), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// scenario is one reduction with its leaves.
type scenario struct {
	reduction Reduction
	world     int
	leaves    [][]float32
	options   Options
}

func leavesOf(r *rand.Rand, n, width int) [][]float32 {
	leaves := make([][]float32, n)
	for i := range leaves {
		leaves[i] = make([]float32, width)
		for j := range leaves[i] {
			leaves[i][j] = float32(r.NormFloat64() * math.Exp(4*r.NormFloat64()))
		}
	}
	return leaves
}

func round(d kernels.DType, v []float32) {
	for i := range v {
		v[i] = kernels.RoundTo(d, v[i])
	}
}

// adder is what package kernels' AddRounded does.
func adder(d kernels.DType) func(dst, a, b []float32) error {
	return func(dst, a, b []float32) error {
		for i := range dst {
			dst[i] = kernels.RoundTo(d, a[i]) + kernels.RoundTo(d, b[i])
		}
		return nil
	}
}

// want is the sum by one accumulator over all leaves.
func (s *scenario) want(t testing.TB) []float32 {
	t.Helper()
	acc, err := reduce.New(len(s.leaves), adder(s.reduction.Wire), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range s.leaves {
		if err := acc.Put(reduce.Leaf(i), slices.Clone(l)); err != nil {
			t.Fatal(err)
		}
	}
	sum, _ := acc.Sum()
	if !s.reduction.ExactRoot {
		round(s.reduction.Wire, sum)
	}
	if k := s.reduction.Keep; k != nil {
		for i := range sum {
			if k.words[i/64]>>(i%64)&1 == 0 {
				sum[i] = 0
			}
		}
	}
	return sum
}

// parts are the sub-trees of one rank, summed by an accumulator of its own.
func (s *scenario) parts(t testing.TB, rank int) []Part {
	t.Helper()
	acc, err := reduce.New(len(s.leaves), adder(s.reduction.Wire), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range s.leaves {
		if s.reduction.Owners[i] == rank {
			if err := acc.Put(reduce.Leaf(i), slices.Clone(l)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return acc.Take()
}

// run computes the reduction on all members and returns their results.
func (s *scenario) run(t testing.TB, x *exchange, inPlace bool) (results [][]float32, errs []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	members := s.reduction.members(s.world)
	results, errs = make([][]float32, len(members)), make([]error, len(members))
	var wg sync.WaitGroup
	for i, rank := range members {
		parts := s.parts(t, rank)
		results[i] = make([]float32, s.reduction.Len)
		for j := range results[i] {
			results[i][j] = 77 // what was there must not show
		}
		if inPlace && len(parts) > 0 {
			results[i] = parts[len(parts)-1].Value
		}
		r, err := New(end{x, rank, s.world}, s.options)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			errs[i] = r.AllReduce(ctx, s.reduction, parts, results[i])
			if errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return results, errs
}

func newExchange(r *rand.Rand) *exchange {
	return &exchange{boxes: map[string]chan []byte{}, rng: rand.New(rand.NewPCG(r.Uint64(), 1))}
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

func randomKeep(r *rand.Rand, n int) *Keep {
	k := NewKeep(n)
	for i := range k.words {
		switch r.IntN(4) {
		case 0: // nothing
		case 1:
			k.words[i] = ^uint64(0)
		default:
			k.words[i] = r.Uint64() & r.Uint64()
		}
	}
	if n%64 != 0 {
		k.words[len(k.words)-1] &= 1<<(n%64) - 1
	}
	return k
}

// TestBitsOfOneAccumulator draws assignments of leaves to ranks, members, lengths,
// masks and wires; all members must have the bits of one accumulator.
func TestBitsOfOneAccumulator(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, leaves := range []int{8, 5, 7, 13, 1, 2} {
		for ranks := 1; ranks <= 5; ranks++ {
			for try := range 8 {
				s := scenario{world: ranks + r.IntN(2), options: Options{Segment: 1 + r.IntN(300), Depth: 1 + r.IntN(4)}}
				d := &s.reduction
				d.Key, d.Len, d.Wire, d.ExactRoot = "r", r.IntN(2000), []kernels.DType{kernels.F32, kernels.BF16}[try%2], r.IntN(3) == 0
				d.Members = r.Perm(s.world)[:ranks]
				slices.Sort(d.Members)
				if try == 0 && ranks == s.world {
					d.Members = nil
				}
				members := d.members(s.world)
				for i := range leaves {
					owner := members[r.IntN(len(members))]
					if try%4 == 0 { // contiguous, as plans have it
						owner = members[i*len(members)/leaves]
					}
					d.Owners = append(d.Owners, owner)
				}
				if r.IntN(3) == 0 {
					d.Keep = randomKeep(r, d.Len)
				}
				s.leaves = leavesOf(r, leaves, d.Len)
				want := s.want(t)
				results, errs := s.run(t, newExchange(r), r.IntN(2) == 0)
				for i := range results {
					if errs[i] != nil || !sameBits(results[i], want) {
						t.Fatalf("%+v, rank %d: %v, or other bits", *d, members[i], errs[i])
					}
				}
			}
		}
	}
}

// TestBytes holds the promise that a byte crosses twice, and what bf16 and masks
// save.
func TestBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const n = 64 * 100
	half := NewKeep(n)
	for i := range half.words {
		half.words[i] = 0x5555555555555555
	}
	for _, c := range []struct {
		name string
		wire kernels.DType
		keep *Keep
		want int
	}{{"fp32", kernels.F32, nil, 2 * 4 * n}, {"bf16", kernels.BF16, nil, 2 * 2 * n}, {"masked", kernels.F32, half, 2 * 4 * n / 2}, {"masked bf16", kernels.BF16, half, 2 * 2 * n / 2}} {
		s := scenario{world: 2, options: Options{Segment: 1000, Depth: 2}, leaves: leavesOf(r, 8, n),
			reduction: Reduction{Key: "r", Owners: []int{0, 0, 0, 0, 1, 1, 1, 1}, Len: n, Wire: c.wire, Keep: c.keep}}
		x := newExchange(r)
		s.run(t, x, false)
		if x.sent != c.want {
			t.Errorf("%s: %d bytes crossed, want %d", c.name, x.sent, c.want)
		}
	}
}

func TestReduceScatter(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, keep := range []*Keep{nil, randomKeep(r, 777)} {
		s := scenario{world: 3, options: Options{Segment: 100, Depth: 2}, leaves: leavesOf(r, 7, 777),
			reduction: Reduction{Key: "r", Owners: []int{0, 1, 2, 2, 1, 0, 0}, Len: 777, Wire: kernels.BF16, Keep: keep}}
		want, x := s.want(t), newExchange(r)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		covered := make([]int, 3)
		var wg sync.WaitGroup
		for rank := range 3 {
			parts, out := s.parts(t, rank), make([]float32, 777)
			reducer, err := New(end{x, rank, 3}, s.options)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				lo, hi, err := reducer.ReduceScatter(ctx, s.reduction, parts, out)
				if err != nil || !sameBits(out[lo:hi], want[lo:hi]) {
					t.Errorf("rank %d: %v, or other bits in [%d,%d)", rank, err, lo, hi)
				}
				covered[rank] = hi - lo
			})
		}
		wg.Wait()
		if covered[0]+covered[1]+covered[2] != 777 {
			t.Errorf("ranks own %v of 777 elements", covered)
		}
	}
}

func TestDisagreementIsAnError(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	s := scenario{world: 2, options: DefaultOptions(), leaves: leavesOf(r, 2, 100),
		reduction: Reduction{Key: "r", Owners: []int{0, 1}, Len: 100, Wire: kernels.F32}}
	x := newExchange(r)
	x.wrong = 1
	_, errs := s.run(t, x, false)
	if text := fmt.Sprint(errs); !strings.Contains(text, "disagree") {
		t.Errorf("a message of another length: %v", text)
	}
}

func TestRefusals(t *testing.T) {
	reducer, err := New(end{newExchange(rand.New(rand.NewPCG(1, 1))), 0, 2}, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	part := []Part{{Subtree: reduce.Leaf(0), Value: make([]float32, 10)}}
	good := Reduction{Key: "r", Owners: []int{0, 1}, Len: 10, Wire: kernels.F32}
	for name, c := range map[string]struct {
		change func(*Reduction)
		parts  []Part
		out    int
	}{
		"wire":        {func(d *Reduction) { d.Wire = kernels.I32 }, part, 10},
		"members":     {func(d *Reduction) { d.Members = []int{1, 0} }, part, 10},
		"not among":   {func(d *Reduction) { d.Members = []int{1} }, part, 10},
		"rank":        {func(d *Reduction) { d.Members = []int{0, 2} }, part, 10},
		"owner":       {func(d *Reduction) { d.Owners = []int{0, 2} }, part, 10},
		"no leaf":     {func(d *Reduction) { d.Owners = nil }, nil, 10},
		"mask":        {func(d *Reduction) { d.Keep = NewKeep(11) }, part, 10},
		"no part":     {func(*Reduction) {}, nil, 10},
		"other part":  {func(d *Reduction) { d.Owners = []int{1, 0} }, part, 10},
		"part length": {func(d *Reduction) { d.Len = 11 }, part, 11},
		"out":         {func(*Reduction) {}, part, 9},
		"key":         {func(d *Reduction) { d.Key = strings.Repeat("k", 201) }, part, 10},
	} {
		d := good
		c.change(&d)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := reducer.AllReduce(ctx, d, c.parts, make([]float32, c.out)); err == nil || ctx.Err() != nil {
			t.Errorf("%s was accepted: %v", name, err)
		}
		cancel()
	}
	if _, err := New(end{}, Options{}); err == nil {
		t.Error("options of nothing were accepted")
	}
}

func TestKeep(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 50 {
		rows, cols, lo := 1+r.IntN(5), 1+r.IntN(200), r.IntN(150)
		m := sparse.New(rows, cols)
		k := NewKeep(lo + rows*cols + r.IntN(100))
		want := make([]bool, k.Len())
		for i := range rows * cols {
			if r.IntN(2) == 0 {
				m.Set(i/cols, i%cols, true)
				want[lo+i] = true
			}
		}
		if err := k.Mask(lo, m); err != nil {
			t.Fatal(err)
		}
		from := r.IntN(lo + 1)
		if err := k.Range(from, lo); err != nil {
			t.Fatal(err)
		}
		count := 0
		for i := range want {
			want[i] = want[i] || from <= i && i < lo
			if want[i] {
				count++
			}
			if got := k.words[i/64]>>(i%64)&1 == 1; got != want[i] {
				t.Fatalf("position %d of a (%d, %d) mask at %d: kept %v, want %v", i, rows, cols, lo, got, want[i])
			}
		}
		if k.Count() != count {
			t.Fatalf("%d kept, want %d", k.Count(), count)
		}
	}
	k := NewKeep(100)
	if k.Range(50, 101) == nil || k.Range(-1, 5) == nil || k.Range(6, 5) == nil || k.Mask(95, sparse.NewOnes(2, 3)) == nil || k.Mask(-1, sparse.New(1, 1)) == nil {
		t.Error("what lies outside was accepted")
	}
}

// TestLayout holds that parts and segments cover the vector once and that segments
// are no larger than asked for.
func TestLayout(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 300 {
		d := Reduction{Len: r.IntN(5000), Owners: []int{0}}
		if r.IntN(2) == 0 {
			d.Keep = randomKeep(r, d.Len)
		}
		size := 64 * (1 + r.IntN(10))
		at, kept := 0, 0
		for _, segments := range d.lay(1+r.IntN(5), size).parts {
			for _, s := range segments {
				if s.lo != at || s.hi <= s.lo || s.kept > size || d.Keep == nil && s.lo%block != 0 || d.Keep != nil && s.lo%64 != 0 {
					t.Fatalf("segment %+v after %d, size %d", s, at, size)
				}
				at, kept = s.hi, kept+s.kept
			}
		}
		if at != d.Len || d.Keep != nil && kept != d.Keep.Count() {
			t.Fatalf("segments end at %d of %d with %d kept", at, d.Len, kept)
		}
	}
}
