//go:build cgo && linux

package cuda

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"ressa/kernels"
)

// twoOfFour is weight with a mask that keeps inputs 1 and 2 of each four.
func (r *layerRig) twoOfFour(out, in, rank int, round kernels.DType) kernels.LinearWeight {
	w := r.weight(out, in, rank, round)
	row := make([]byte, 8*w.Mask.Cols)
	for i := range in {
		if i%4 == 1 || i%4 == 2 {
			row[i/8] |= 1 << (i % 8)
		}
	}
	r.stream.Upload(w.Mask, slices.Repeat(row, out))
	w.TwoOfFour = true
	return w
}

// Layers of real models take several panels, which those of the case table do not.
func TestSparsePanelsGiveTheBitsOfOne(t *testing.T) {
	for _, o := range []Options{onDevice(t), rounding(onDevice(t))} {
		r, s := layerRigOn(t, o)
		w := r.twoOfFour(300, 200, 3, kernels.BF16)
		x, bias, y := r.random(40, 200), r.random(1, 300), r.empty(40, 300)
		s.linearForward(y, x, w, bias, panelBytes)
		want := r.read(y)
		s.linearForward(y, x, w, bias, 1)
		if !slices.Equal(r.read(y), want) {
			t.Errorf("compute %v: other bits in panels of %d rows", o.Compute, side)
		}
	}
}

// A mask that is not what LinearWeight says it is must not give a wrong result.
func TestMaskThatKeepsThreeOfFourIsRefused(t *testing.T) {
	r, s := newLayerRig(t)
	w := r.twoOfFour(70, 140, 2, kernels.BF16)
	x, y := r.random(40, 140), r.empty(40, 70)
	s.LinearForward(y, x, w, kernels.Tensor{})
	before := r.read(y)

	word := w.Mask.SliceRows(69, 70).SliceCols(2, 3)           // inputs 128 to 139
	s.Upload(word, binary.LittleEndian.AppendUint64(nil, 0x7)) // the last was 0x666
	s.LinearForward(y, x, w, kernels.Tensor{})
	after := make([]byte, y.Bytes())
	s.Download(after, y)
	err := s.Synchronize(t.Context())
	if want := "linear forward: mask row 69 keeps 3 weights in columns 128 to 131, want at most 2 of 4"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if !slices.Equal(after, make([]byte, len(after))) || slices.Equal(before, make([]float32, len(before))) {
		t.Error("a result behind the fault was delivered")
	}
	dense := w
	dense.TwoOfFour = false
	other := openStream(t, s.device)
	defer other.Close()
	other.LinearForward(y, x, dense, kernels.Tensor{})
	if err := other.Synchronize(t.Context()); err != nil {
		t.Errorf("as a dense weight: %v", err)
	}
}
