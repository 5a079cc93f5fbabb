package group

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"ressa/collective/castagnoli"
)

func sampleFrame() frame {
	return frame{kind: kindData, path: 2, from: 3, generation: 1 << 40, id: 9, total: 100, offset: 95, oldest: 7, tag: "grad/7", payload: []byte("abcde")}
}

// whole is a frame as it travels.
func whole(f frame) []byte { return append(f.appendHead(nil), f.payload...) }

// parse reads a frame with its payload.
func parse(b []byte) (frame, error) {
	r := bytes.NewReader(b)
	f, err := readHead(r, len(b))
	if err != nil {
		return f, err
	}
	f.payload = make([]byte, f.size)
	return f, f.readPayload(r, f.payload)
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range []frame{sampleFrame(), {kind: kindHello, payload: []byte{}}, {kind: kindAck, id: 1, offset: 101, payload: []byte{}}} {
		got, err := parse(whole(f))
		f.size, f.sum = len(f.payload), castagnoli.Checksum(f.payload)
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("got %+v, %v, want %+v", got, err, f)
		}
	}
}

func TestFrameRefusesEveryFlippedBit(t *testing.T) {
	w := whole(sampleFrame())
	for i := range w {
		for bit := range 8 {
			b := bytes.Clone(w)
			b[i] ^= 1 << bit
			if _, err := parse(b); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		if _, err := parse(w[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	if _, err := parse(append(w, 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestFrameRefusesContradictions(t *testing.T) {
	for name, f := range map[string]frame{
		"chunk past the end":  {kind: kindData, total: 4, offset: 2, payload: []byte("abc")},
		"offset past the end": {kind: kindData, total: 4, offset: 5},
		"offset overflows":    {kind: kindData, total: 1<<64 - 1, offset: 1<<64 - 1, payload: []byte("ab")},
		"kind 0":              {},
		"unknown kind":        {kind: kindAbort + 1},
		"long reason":         {kind: kindAbort, payload: make([]byte, maxReason+1)},
	} {
		if _, err := parse(whole(f)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// resealed makes the checksums of a frame's bytes right, as far as its lengths allow.
func resealed(content []byte) []byte {
	b := append([]byte(frameMagic+"\x00\x00\x00\x00"), content...)
	if len(b) < headerSize || headerSize+int(b[9]) > len(b) {
		return b
	}
	end := headerSize + int(b[9])
	binary.LittleEndian.PutUint32(b[60:], castagnoli.Checksum(b[end:]))
	binary.LittleEndian.PutUint32(b[4:], castagnoli.Checksum(b[8:end]))
	return b
}

func FuzzReadFrame(f *testing.F) {
	for _, s := range []frame{sampleFrame(), {kind: kindAbort, payload: []byte("why")}, {kind: kindProbe, path: 3, id: 5, total: 1 << 30, tag: "t"}} {
		f.Add(whole(s)[8:])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		// With right checksums, what is read must be what is written again.
		b := resealed(content)
		got, err := parse(b)
		if err == nil && !bytes.Equal(whole(got), b) {
			t.Fatalf("%+v is written otherwise", got)
		}
	})
}
