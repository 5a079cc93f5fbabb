package llava_test

import (
	"context"
	"errors"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/model/llava"
)

// live is a device that knows how much of its memory is given out.
type live struct {
	kernels.Device
	given int
	out   map[kernels.Buffer]bool
}

func (d *live) Alloc(bytes int) (kernels.Buffer, error) {
	b, err := d.Device.Alloc(bytes)
	if err == nil {
		d.given++
		d.out[b] = true
	}
	return b, err
}

func (d *live) Free(b kernels.Buffer) {
	delete(d.out, b)
	d.Device.Free(b)
}

// What was kept of two stages makes a third, with the values that loading it gives;
// only what nobody held is loaded, and nothing stays allocated in the end.
func TestKeptParametersAreNotLoadedAgain(t *testing.T) {
	ctx, d := context.Background(), &live{Device: reference.Open(), out: map[kernels.Buffer]bool{}}
	c := smallConfig()
	open := func(o llava.Options) *llava.Model {
		t.Helper()
		m, err := llava.New(ctx, d, c, 7, o)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	last := c.Language.Blocks - 1
	first := open(llava.Options{WithoutVision: true, Language: llava.Range{Lo: 0, Hi: last}})
	vision := open(llava.Options{WithoutLanguage: true})
	kept := llava.NewKept(d)
	kept.Take(first)
	kept.Take(vision)
	whole := llava.Options{WithoutVision: true, Kept: kept}
	if err := kept.Only(c, whole); err != nil {
		t.Fatal(err)
	}
	if len(d.out) != kept.Len() {
		t.Errorf("%d buffers for %d parameters that the language tower takes", len(d.out), kept.Len())
	}
	want := open(llava.Options{WithoutVision: true})
	before, rest := d.given, kept.Len()
	m := open(whole)
	if loaded := d.given - before; rest == 0 || loaded != len(m.Params())-rest+2 { // and two rotary tables
		t.Errorf("%d parameters were loaded of %d, %d were kept", loaded, len(m.Params()), rest)
	}
	r := newRig(t, d, open(llava.Options{})) // for its stream
	for i, p := range m.Params() {
		if w := want.Params()[i]; w.Name != p.Name || !sameBits(r.read(w.Value), r.read(p.Value)) {
			t.Errorf("%s is not %s as loaded", p.Name, w.Name)
		}
	}
	kept.Take(m)
	bad := c
	bad.Language.Inner++
	if m, err := llava.New(ctx, d, bad, 7, whole); !errors.Is(err, llava.ErrTensor) || m != nil {
		t.Errorf("another model than what was kept: %v", err)
	}
	kept.Close()
	want.Close()
	r.model.Close()
	r.pool.Close()
	if len(d.out) != 0 {
		t.Errorf("%d buffers are left", len(d.out))
	}
}
