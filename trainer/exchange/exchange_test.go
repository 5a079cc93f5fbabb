package exchange

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"ressa/collective/tensor"
	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/model"
	"ressa/trainer/step"
)

// loopback is a messenger whose messages come back.
type loopback struct {
	generation uint64
	queue      map[string][]byte
}

func (l *loopback) Rank() int          { return 0 }
func (l *loopback) World() int         { return 2 }
func (l *loopback) Generation() uint64 { return l.generation }
func (l *loopback) Send(_ context.Context, _ int, tag string, m []byte) error {
	l.queue[tag] = m
	return nil
}
func (l *loopback) Recv(_ context.Context, _ int, tag string) ([]byte, error) {
	m, ok := l.queue[tag]
	if !ok {
		return nil, errors.New("nothing under " + tag)
	}
	return m, nil
}

func newLane(t *testing.T) *model.Lane {
	t.Helper()
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	pool := model.NewPool(d)
	t.Cleanup(func() { _ = s.Close(); pool.Close() })
	return &model.Lane{Stream: s, Pool: pool}
}

func newExchange(t *testing.T, g Messenger, wire kernels.DType) *Exchange {
	t.Helper()
	x, err := New(Config{Group: g, Rank: func(node, _ int) int { return node }, Wire: wire, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestEdgeCrosses sends a view with a stride, an absent tensor and integers.
func TestEdgeCrosses(t *testing.T) {
	for _, wire := range []kernels.DType{kernels.F32, kernels.BF16} {
		l := newLane(t)
		full := l.Scratch(3, 5)
		l.Stream.Fill(full, 1.5)
		view := full.SliceCols(1, 3)
		l.Stream.Fill(view, -2.25) // exact in bf16
		x := newExchange(t, &loopback{3, map[string][]byte{}}, wire)
		k := step.EdgeKey{Step: 4, Microbatch: 2, From: 1, To: 0, Gradient: true}
		sent := model.Edge{Ints: []model.NamedInts{{Name: "grid", Values: []int32{2, 1}}}}.With("a", view).With("absent", kernels.Tensor{}).With("b", full)
		if err := x.Send(context.Background(), l, k, sent); err != nil {
			t.Fatal(err)
		}
		got, err := x.Recv(context.Background(), l, k)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Tensors) != 2 || len(got.Ints) != 1 || got.Ints[0].Values[0] != 2 {
			t.Fatalf("%v: got %+v", wire, got)
		}
		for _, name := range []string{"a", "b"} {
			a, b := make([]byte, sent.Tensor(name).Bytes()), make([]byte, sent.Tensor(name).Bytes())
			l.Stream.Download(a, sent.Tensor(name))
			l.Stream.Download(b, got.Tensor(name))
			if err := l.Stream.Synchronize(context.Background()); err != nil || !bytes.Equal(a, b) {
				t.Errorf("%v: tensor %s changed on its way (%v)", wire, name, err)
			}
			l.Free(got.Tensor(name))
		}
	}
}

func TestRecvRefuses(t *testing.T) {
	l := newLane(t)
	g := &loopback{3, map[string][]byte{}}
	k := step.EdgeKey{Step: 4, Microbatch: 2, From: 0, To: 1}
	other := step.EdgeKey{Step: 5, Microbatch: 2, From: 0, To: 1}
	e := model.Edge{}.With("a", l.Scratch(2, 2))
	x := newExchange(t, g, kernels.F32)
	if err := x.Send(context.Background(), l, k, e); err != nil {
		t.Fatal(err)
	}
	if _, err := newExchange(t, g, kernels.BF16).Recv(context.Background(), l, k); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("another wire dtype: %v", err)
	}
	g.queue[x.tag(other)] = g.queue[x.tag(k)]
	if _, err := newExchange(t, g, kernels.F32).Recv(context.Background(), l, other); !errors.Is(err, tensor.ErrMisplaced) {
		t.Errorf("another step: %v", err)
	}
	g.generation = 4
	if _, err := newExchange(t, g, kernels.F32).Recv(context.Background(), l, k); !errors.Is(err, tensor.ErrStale) {
		t.Errorf("an older generation: %v", err)
	}
	raw := g.queue[x.tag(k)]
	g.generation, g.queue[x.tag(k)] = 3, raw[:len(raw)-5]
	if _, err := newExchange(t, g, kernels.F32).Recv(context.Background(), l, k); !errors.Is(err, tensor.ErrTruncated) {
		t.Errorf("a truncated message: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	g := &loopback{}
	for name, c := range map[string]Config{
		"wire":    {Group: g, Rank: first, Wire: kernels.I32, Timeout: 1},
		"ranks":   {Group: g, Timeout: 1},
		"timeout": {Group: g, Rank: first},
		"group":   {Timeout: 1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func first(int, int) int { return 0 }
