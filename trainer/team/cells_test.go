package team

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"ressa/collective/tensor"
	"ressa/kernels/reference"
	"ressa/shard"
	"ressa/trainer/model"
)

// lanes returns lanes by stage, over one stream.
func lanes(t *testing.T, stages int) []*model.Lane {
	t.Helper()
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	pool := model.NewPool(d)
	t.Cleanup(func() { _ = s.Close(); pool.Close() })
	var all []*model.Lane
	for range stages {
		all = append(all, &model.Lane{Stream: s, Pool: pool})
	}
	return all
}

func value(ctx context.Context, l *model.Lane, e model.Edge) (float32, error) {
	raw := make([]byte, 4)
	l.Stream.Download(raw, e.Tensor("x"))
	err := l.Stream.Synchronize(ctx)
	return math.Float32frombits(binary.LittleEndian.Uint32(raw)), err
}

// chain computes x = 0.1*cell in the first stage and x/3 + its index in each that
// follows: values that survive neither rounding nor a swap of stages.
func chain(ctx context.Context, l []*model.Lane, cell int, order *[]int) func(int, model.Edge) (model.Edge, error) {
	return func(i int, in model.Edge) (model.Edge, error) {
		*order = append(*order, i)
		x := 0.1 * float32(cell)
		if i > 0 {
			before, err := value(ctx, l[i], in)
			if err != nil {
				return model.Edge{}, err
			}
			x = before/3 + float32(i)
		}
		out := l[i].Scratch(1, 1)
		l[i].Stream.Fill(out, x)
		return model.Edge{}.With("x", out), nil
	}
}

// relay are three stages on two workers, so that worker 0 comes twice in a cell.
func relay() shard.Plan {
	return shard.Plan{Nodes: []string{"t1", "t2"}, Microbatches: 2, Stages: []shard.Stage{
		{Tower: shard.Vision, Hi: 1, Workers: []int{0}, Owners: []int{0, 0}},
		{Tower: shard.Language, Hi: 1, Workers: []int{1}, Owners: []int{1, 1}},
		{Tower: shard.Language, Index: 1, Lo: 1, Hi: 2, Workers: []int{0, 1}, Owners: []int{0, 1}},
	}}
}

// TestForward takes cells through teams of several shapes: the last stage's owner
// gets the bits of a worker alone, the others nothing, and no tensor stays behind.
func TestForward(t *testing.T) {
	const cells = 4
	for name, plan := range map[string]shard.Plan{"alone": shard.Solo("t1", 2, 2, 2), "split": split(), "relay": relay()} {
		members, _, _ := teamOf(t, plan)
		stages := len(plan.Stages)
		for w, err := range each(members, func(w int, m *Team) error {
			ctx, l := t.Context(), lanes(t, stages)
			number := m.Number(1)
			return m.Run(ctx, 1, cells, func(ctx context.Context, _, cell int) error {
				var order []int
				out, err := m.Forward(ctx, l, number, cell, 0, chain(ctx, l, cell, &order))
				if err != nil {
					return err
				}
				for _, i := range order {
					if !m.Owns(i, cell) {
						return fmt.Errorf("cell %d: computed stage %d of another", cell, i)
					}
				}
				if last := stages - 1; m.Owns(last, cell) {
					want := 0.1 * float32(cell)
					for i := 1; i < stages; i++ {
						want = want/3 + float32(i)
					}
					got, err := value(ctx, l[last], out)
					if err != nil || math.Float32bits(got) != math.Float32bits(want) {
						return fmt.Errorf("cell %d gives %v, want %v (%v)", cell, got, want, err)
					}
					release(l[last], out)
				} else if len(out.Tensors) > 0 {
					return fmt.Errorf("cell %d: the output of another stays here", cell)
				}
				if n := l[0].Pool.InUse(); n != 0 {
					return fmt.Errorf("cell %d leaves %d bytes in use", cell, n)
				}
				return nil
			})
		}) {
			if err != nil {
				t.Errorf("%s, worker %d: %v", name, w, err)
			}
		}
	}
}

// TestForwardFails names the stage whose output did not come, or whose sending
// failed, and frees what it held.
func TestForwardFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members, seats, _ := teamOf(t, split())
		l := lanes(t, 2)
		var order []int
		_, err := members[1].Forward(t.Context(), l, 0, 0, 0, chain(t.Context(), l, 0, &order))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "receive the output of stage 0: receive ") || len(order) > 0 {
			t.Errorf("without the stage before: %v, computed %v", err, order)
		}
		bad := errors.New("bad stage")
		if _, err := members[0].Forward(t.Context(), l, 0, 0, 0, func(int, model.Edge) (model.Edge, error) { return model.Edge{}, bad }); !errors.Is(err, bad) {
			t.Errorf("a stage that fails: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		seats[0].world = 1 // refuses to send to rank 1
		_, err = members[0].Forward(ctx, l, 0, 0, 0, chain(ctx, l, 0, &order))
		cancel()
		if err == nil || !strings.HasPrefix(err.Error(), "send the output of stage 0: ") {
			t.Errorf("a peer that cannot be reached: %v", err)
		}
		if n := l[0].Pool.InUse(); n != 0 {
			t.Errorf("%d bytes stay in use", n)
		}
	})
}

// TestForwardRefuses messages that are not the cell's: of another generation, of
// another pass, or cut off.
func TestForwardRefuses(t *testing.T) {
	// pass lets worker 0 send cell 0 of a pass and worker 1 hear what forge makes of it.
	pass := func(generation uint64, number int, forge func(string, []byte) []byte) error {
		members, seats, _ := teamOf(t, split())
		seats[0].generation, seats[1].generation, seats[1].forge = generation, generation, forge
		return each(members[:2], func(_ int, m *Team) error {
			l := lanes(t, 2)
			var order []int
			out, err := m.Forward(t.Context(), l, number, 0, 0, chain(t.Context(), l, 0, &order))
			release(l[1], out)
			return err
		})[1]
	}
	var kept []byte
	if err := pass(1, 5, func(_ string, m []byte) []byte { kept = m; return m }); err != nil {
		t.Fatal(err)
	}
	old := func(string, []byte) []byte { return kept }
	for _, c := range []struct {
		name       string
		generation uint64
		number     int
		forge      func(string, []byte) []byte
		want       error
	}{
		{"the same", 1, 5, old, nil},
		{"of an older generation", 2, 5, old, tensor.ErrStale},
		{"of another pass", 1, 6, old, tensor.ErrMisplaced},
		{"cut off", 1, 5, func(_ string, m []byte) []byte { return m[:len(m)-5] }, tensor.ErrTruncated},
	} {
		if err := pass(c.generation, c.number, c.forge); !errors.Is(err, c.want) {
			t.Errorf("%s: found %v, want %v", c.name, err, c.want)
		}
	}
}
