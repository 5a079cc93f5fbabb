package group

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func sampleFrame() frame {
	return frame{kind: kindData, from: 3, generation: 1 << 40, id: 9, total: 100, offset: 95, tag: "grad/7", payload: []byte("abcde")}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range []frame{sampleFrame(), {kind: kindHello, payload: []byte{}}, {kind: kindAck, id: 1, offset: 101, payload: []byte{}}} {
		got, err := parseFrame(f.append([]byte("ahead"))[5:])
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("got %+v, %v, want %+v", got, err, f)
		}
	}
}

func TestFrameRefusesEveryFlippedBit(t *testing.T) {
	f := sampleFrame()
	whole := f.append(nil)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := parseFrame(b); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		if _, err := parseFrame(whole[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
}

func TestFrameRefusesContradictions(t *testing.T) {
	for name, f := range map[string]frame{
		"chunk past the end":  {kind: kindData, total: 4, offset: 2, payload: []byte("abc")},
		"offset past the end": {kind: kindData, total: 4, offset: 5},
		"offset overflows":    {kind: kindData, total: 1<<64 - 1, offset: 1<<64 - 1, payload: []byte("ab")},
		"kind 0":              {},
		"unknown kind":        {kind: kindAbort + 1},
	} {
		if _, err := parseFrame(f.append(nil)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, s := range []frame{sampleFrame(), {kind: kindAbort, payload: []byte("why")}} {
		f.Add(s.append(nil)[8:])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		// With a right checksum, what is parsed must be what is written again.
		b := sealed(content)
		got, err := parseFrame(b)
		if err == nil && !bytes.Equal(got.append(nil), b) {
			t.Fatalf("%+v is written otherwise", got)
		}
	})
}
