package kerneltest

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
)

// faulty is the reference with one operation that is wrong.
type faulty struct {
	kernels.Device
	wrap func(s kernels.Stream) kernels.Stream
}

func (d faulty) NewStream() (kernels.Stream, error) {
	s, err := d.Device.NewStream()
	if err != nil {
		return nil, err
	}
	return d.wrap(s), nil
}

// edit changes each element of an F32 tensor.
func edit(s kernels.Stream, t kernels.Tensor, f func(float32) float32) {
	b := make([]byte, t.Bytes())
	s.Download(b, t)
	for i := 0; i < len(b); i += 4 { // the reference has run the download by now
		v := math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))
		binary.LittleEndian.PutUint32(b[i:], math.Float32bits(f(v)))
	}
	s.Upload(t, b)
}

// The wrong operations.
type (
	noMaskForward      struct{ kernels.Stream }
	noMaskWeight       struct{ kernels.Stream }
	noScale            struct{ kernels.Stream }
	negativeZeros      struct{ kernels.Stream }
	overwriting        struct{ kernels.Stream }
	noLengths          struct{ kernels.Stream }
	noPitch            struct{ kernels.Stream }
	lateCausal         struct{ kernels.Stream }
	staleKeys          struct{ kernels.Stream }
	forgetsLastKey     struct{ kernels.Stream }
	roundedScores      struct{ kernels.Stream }
	wideGap            struct{ kernels.Stream }
	firstColumnsOnly   struct{ kernels.Stream }
	forgetsLastElement struct{ kernels.Stream }
	otherEps           struct{ kernels.Stream }
	otherGradientScale struct{ kernels.Stream }
	noBiasCorrection   struct{ kernels.Stream }
	neverRounds        struct{ kernels.Stream }
	coarse             struct{ kernels.Stream }
	nextBit            struct{ kernels.Stream }
	writesInput        struct{ kernels.Stream }
	forgetsLastColumn  struct{ kernels.Stream }
	forgetsSum         struct{ kernels.Stream }
	otherNorms         struct {
		kernels.Stream
		of func(column int, v float64) float64
	}
	acceptsAll      struct{ kernels.Stream }
	forgetsLastKept struct{ kernels.Stream }
	negativeDropped struct{ kernels.Stream }
)

func (s noMaskForward) LinearForward(y, x kernels.Tensor, w kernels.LinearWeight, bias kernels.Tensor) {
	if !w.IsPacked() {
		w.Mask = kernels.Tensor{}
	}
	s.Stream.LinearForward(y, x, w, bias)
}

func (s noMaskWeight) LinearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	if !w.IsPacked() {
		w.Mask = kernels.Tensor{}
	}
	s.Stream.LinearBackwardAdapter(dA, dB, dy, x, w)
}

func (s noScale) LinearBackwardAdapter(dA, dB, dy, x kernels.Tensor, w kernels.LinearWeight) {
	w.Scale = 1
	s.Stream.LinearBackwardAdapter(dA, dB, dy, x, w)
}

func (s negativeZeros) LinearBackwardWeight(dW, dy, x, mask kernels.Tensor) {
	s.Stream.LinearBackwardWeight(dW, dy, x, mask)
	if !mask.IsZero() {
		edit(s, dW, func(v float32) float32 {
			if v == 0 {
				return float32(math.Copysign(0, -1))
			}
			return v
		})
	}
}

func (s overwriting) LinearBackwardInput(dx, dy kernels.Tensor, w kernels.LinearWeight, _ bool) {
	s.Stream.LinearBackwardInput(dx, dy, w, false)
}

func (s noLengths) AttentionForward(a kernels.AttentionArgs) {
	a.Lengths = kernels.Tensor{}
	s.Stream.AttentionForward(a)
}

func (s noPitch) AttentionForward(a kernels.AttentionArgs) {
	a.KeyPitch = 0
	a.K, a.V = a.K.SliceRows(0, a.Batch*a.KeyLen), a.V.SliceRows(0, a.Batch*a.KeyLen)
	s.Stream.AttentionForward(a)
}

func (s lateCausal) AttentionForward(a kernels.AttentionArgs) {
	a.Causal = a.Causal && a.QueryLen == a.KeyLen
	s.Stream.AttentionForward(a)
}

func (s staleKeys) AttentionBackward(a kernels.AttentionArgs, g kernels.AttentionGrads) {
	s.Stream.AttentionBackward(a, g)
	if a.KeyPitch > a.KeyLen { // rows behind the last key are left as they were
		s.Fill(g.DK.SliceRows(a.KeyLen, a.KeyLen+1), 1)
	}
}

func (s forgetsLastKey) AttentionForward(a kernels.AttentionArgs) {
	if a.KeyLen > 256 && a.Lengths.IsZero() && !a.Causal { // as if a part of many keys ended early
		a.KeyPitch, a.KeyLen = a.Pitch(), a.KeyLen-1
	}
	s.Stream.AttentionForward(a)
}

func (s roundedScores) AttentionForward(a kernels.AttentionArgs) {
	a.Scale *= 1 + 0x1p-8 // as if scores were rounded to bfloat16
	s.Stream.AttentionForward(a)
}

func (s wideGap) Add(dst, a, b kernels.Tensor) {
	s.Stream.Add(dst, a, b)
	if dst.Stride > dst.Cols {
		dst.Cols++
		s.Fill(dst.SliceCols(dst.Cols-1, dst.Cols), 0)
	}
}

func (s firstColumnsOnly) ArgmaxRows(dst, x kernels.Tensor) {
	s.Stream.ArgmaxRows(dst, x)
	if x.Cols > 64 { // only the first columns are looked at
		s.Stream.ArgmaxRows(dst, x.SliceCols(0, 64))
	}
}

func (s forgetsLastElement) Convert(dst, src kernels.Tensor) {
	if src.DType == kernels.F32 && dst.DType == kernels.BF16 {
		dst, src = dst.SliceCols(0, dst.Cols-1), src.SliceCols(0, src.Cols-1)
	}
	s.Stream.Convert(dst, src)
}

func (s otherEps) RMSNorm(y, x, gamma kernels.Tensor, _ float32, rstd kernels.Tensor) {
	s.Stream.RMSNorm(y, x, gamma, 1e-3, rstd)
}

func (s otherGradientScale) CrossEntropyKL(a kernels.CrossEntropyKLArgs) {
	a.KLScale *= a.Temperature
	s.Stream.CrossEntropyKL(a)
}

func (s noBiasCorrection) AdamW(a kernels.AdamWArgs) {
	a.Bias2 = 1
	s.Stream.AdamW(a)
}

func (s neverRounds) AddRounded(dst, a, b kernels.Tensor, _ kernels.DType) {
	s.Stream.AddRounded(dst, a, b, kernels.F32)
}

func (s coarse) Gemm(g kernels.GemmArgs) {
	s.Stream.Gemm(g)
	edit(s, g.C, func(v float32) float32 { return v * (1 + 1e-4) }) // as if an operand lost its low bits
}

func (s nextBit) Gemm(g kernels.GemmArgs) {
	s.Stream.Gemm(g)
	edit(s, g.C, func(v float32) float32 { return math.Nextafter32(v, 2*v) })
}

func (s writesInput) Gate(y, gate, up kernels.Tensor, f kernels.Activation) {
	s.Stream.Gate(y, gate, up, f)
	s.Fill(up, 0)
}

func (s forgetsLastColumn) LayerNorm(y, x, gamma, beta kernels.Tensor, eps float32, mean, rstd kernels.Tensor) {
	if n := x.Cols; n > 1 {
		y, x, gamma, beta = y.SliceCols(0, n-1), x.SliceCols(0, n-1), gamma.SliceCols(0, n-1), beta.SliceCols(0, n-1)
	}
	s.Stream.LayerNorm(y, x, gamma, beta, eps, mean, rstd)
}

func (s forgetsSum) AddRMSNorm(y, h, x, r, gamma kernels.Tensor, eps float32, rstd kernels.Tensor) {
	s.Add(h, x, r)
	s.RMSNorm(y, x, gamma, eps, rstd)
}

func (s otherNorms) SelectMask(a kernels.SelectMaskArgs) {
	if a.Norms.IsZero() {
		s.Stream.SelectMask(a)
		return
	}
	old := make([]byte, a.Norms.Bytes())
	s.Download(old, a.Norms)
	changed := slices.Clone(old)
	for c := range a.Norms.Cols {
		v := s.of(c, math.Float64frombits(binary.LittleEndian.Uint64(old[8*c:])))
		binary.LittleEndian.PutUint64(changed[8*c:], math.Float64bits(v))
	}
	s.Upload(a.Norms, changed)
	s.Stream.SelectMask(a)
	s.Upload(a.Norms, old)
}

func (s acceptsAll) SelectMask(a kernels.SelectMaskArgs) {
	s.Stream.SelectMask(a)
	none := make([]byte, a.Bad.Bytes())
	for i := range none {
		none[i] = 0xff
	}
	s.Upload(a.Bad, none)
}

func (s forgetsLastKept) PackKept(dst, src, mask kernels.Tensor) {
	s.Stream.PackKept(dst, src, mask)
	if dst.Cols > 0 {
		s.Fill(dst.SliceCols(dst.Cols-1, dst.Cols), 0)
	}
}

func (s negativeDropped) UnpackKept(dst, src, mask kernels.Tensor) {
	s.Stream.UnpackKept(dst, src, mask)
	edit(s, dst, func(v float32) float32 {
		if v == 0 {
			return float32(math.Copysign(0, -1))
		}
		return v
	})
}

// The table must find each of these mistakes; a table that does not is worthless.
func TestTableFindsFaults(t *testing.T) {
	for _, f := range []struct {
		op   string
		wrap func(s kernels.Stream) kernels.Stream
	}{
		{"LinearForward", func(s kernels.Stream) kernels.Stream { return noMaskForward{s} }},
		{"LinearBackwardAdapter", func(s kernels.Stream) kernels.Stream { return noMaskWeight{s} }},
		{"LinearBackwardAdapter", func(s kernels.Stream) kernels.Stream { return noScale{s} }},
		{"LinearBackwardWeight", func(s kernels.Stream) kernels.Stream { return negativeZeros{s} }},
		{"LinearBackwardInput", func(s kernels.Stream) kernels.Stream { return overwriting{s} }},
		{"AttentionForward", func(s kernels.Stream) kernels.Stream { return noLengths{s} }},
		{"AttentionForward", func(s kernels.Stream) kernels.Stream { return noPitch{s} }},
		{"AttentionForward", func(s kernels.Stream) kernels.Stream { return lateCausal{s} }},
		{"AttentionForward", func(s kernels.Stream) kernels.Stream { return forgetsLastKey{s} }},
		{"AttentionForward", func(s kernels.Stream) kernels.Stream { return roundedScores{s} }},
		{"AttentionBackward", func(s kernels.Stream) kernels.Stream { return staleKeys{s} }},
		{"Add", func(s kernels.Stream) kernels.Stream { return wideGap{s} }},
		{"ArgmaxRows", func(s kernels.Stream) kernels.Stream { return firstColumnsOnly{s} }},
		{"Convert", func(s kernels.Stream) kernels.Stream { return forgetsLastElement{s} }},
		{"RMSNorm", func(s kernels.Stream) kernels.Stream { return otherEps{s} }},
		{"CrossEntropyKL", func(s kernels.Stream) kernels.Stream { return otherGradientScale{s} }},
		{"AdamW", func(s kernels.Stream) kernels.Stream { return noBiasCorrection{s} }},
		{"AddRounded", func(s kernels.Stream) kernels.Stream { return neverRounds{s} }},
		{"Gemm", func(s kernels.Stream) kernels.Stream { return coarse{s} }},
		{"Gate", func(s kernels.Stream) kernels.Stream { return writesInput{s} }},
		{"LayerNorm", func(s kernels.Stream) kernels.Stream { return forgetsLastColumn{s} }},
		{"AddRMSNorm", func(s kernels.Stream) kernels.Stream { return forgetsSum{s} }},
		{"SelectMask", func(s kernels.Stream) kernels.Stream { // scores in float32
			return otherNorms{s, func(_ int, v float64) float64 { return float64(float32(v)) }}
		}},
		{"SelectMask", func(s kernels.Stream) kernels.Stream { // the lower column of equal ones is kept
			return otherNorms{s, func(c int, v float64) float64 { return v * (1 - float64(c)*1e-12) }}
		}},
		{"SelectMask", func(s kernels.Stream) kernels.Stream { return acceptsAll{s} }},
		{"PackKept", func(s kernels.Stream) kernels.Stream { return forgetsLastKept{s} }},
		{"UnpackKept", func(s kernels.Stream) kernels.Stream { return negativeDropped{s} }},
	} {
		d := faulty{reference.Open(), f.wrap}
		wrap := f.wrap(nil)
		for _, table := range []Table{{}, {Factors: kernels.BF16}} {
			found := 0
			for _, c := range table.cases() {
				if c.op != f.op || found > 0 {
					continue
				}
				faults, err := c.faults(t.Context(), d)
				if err != nil {
					t.Errorf("%T: %s: %v", wrap, c.title(), err)
				}
				found += len(faults)
			}
			if found == 0 {
				t.Errorf("no case of %s with factors of %v finds %T", f.op, table.Factors, wrap)
			}
		}
	}
}

// A peer with other bits is found, also where they are within the tolerance.
func TestPeersMustGiveTheSameBits(t *testing.T) {
	other := faulty{reference.Open(), func(s kernels.Stream) kernels.Stream { return nextBit{s} }}
	found := false
	for _, c := range cases() {
		if c.op != "Gemm" {
			continue
		}
		if faults, err := c.faults(t.Context(), reference.Open(), opened{"other", other}); err != nil || len(faults) > 1 {
			t.Fatalf("%s: %v, %v", c.title(), faults, err)
		} else if len(faults) == 1 {
			found = true
		}
		if faults, err := c.faults(t.Context(), other); err != nil || len(faults) > 0 {
			t.Fatalf("%s: beyond the tolerance, which is not what this test is about: %v, %v", c.title(), faults, err)
		}
		if found {
			return
		}
	}
	t.Error("no case found the peer")
}

// The table covers every operation, and every operation has a tolerance.
func TestEveryOperationHasCasesAndTolerance(t *testing.T) {
	seen := map[string]bool{"Upload and Download": true} // see contract
	for _, c := range cases() {
		seen[c.op] = true
	}
	for op, tolerance := range Tolerances() {
		if !seen[op] {
			t.Errorf("%s has a tolerance but no case", op)
		}
		if tolerance.Reason == "" || tolerance.Units < 0 {
			t.Errorf("%s: tolerance %+v", op, tolerance)
		}
	}
	for op := range seen {
		if _, ok := Tolerances()[op]; !ok {
			t.Errorf("%s has cases but no tolerance", op)
		}
	}
	for _, op := range operations() {
		if !seen[op] {
			t.Errorf("%s has no case", op)
		}
	}
}

// A case is the same on every run.
func TestCasesAreReproducible(t *testing.T) {
	names := map[string]bool{}
	for _, c := range cases() {
		if names[c.title()] {
			t.Errorf("%s occurs twice", c.title())
		}
		names[c.title()] = true
	}
	for _, c := range gemmCases()[:8] {
		a, b := c.trial(), c.trial()
		for i := range a.operands {
			if string(a.operands[i].data) != string(b.operands[i].data) {
				t.Errorf("%s: %s differs between two runs", c.title(), a.operands[i].name)
			}
		}
	}
}
