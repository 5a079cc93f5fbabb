package team

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ressa/kernels"
	"ressa/shard"
)

func TestNewRefuses(t *testing.T) {
	mail := &post{boxes: map[string]chan []byte{}}
	gap := split()
	gap.Stages[1].Owners = gap.Stages[1].Owners[:2]
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"no plan", Config{}, "plan: 0 nodes, 0 stages, 0 microbatches"},
		{"a plan with a microbatch of nobody", Config{Plan: gap, Group: &seat{post: mail, world: 3}, Timeout: patience}, "plan: stage 0 of the language tower: "},
		{"several workers without a group", Config{Plan: split()}, "team: a plan of 3 workers without a group"},
		{"a group of another size", Config{Plan: split(), Group: &seat{post: mail, world: 2}, Timeout: patience}, "team: a group of 2 for a plan of 3 workers, timeout 1m0s"},
		{"no timeout", Config{Plan: split(), Group: &seat{post: mail, world: 3}}, "team: a group of 3 for a plan of 3 workers, timeout 0s"},
	} {
		if m, err := New(c.config); err == nil || m != nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: found %v, want %s", c.name, err, c.want)
		}
	}
}

// TestWhoDoesWhat: worker 0 leads, the first holder speaks for a stage, and the
// holders of a stage take the cells in turn.
func TestWhoDoesWhat(t *testing.T) {
	members, _, _ := teamOf(t, split())
	for w, m := range members {
		var got []string
		for cell := range 4 {
			got = append(got, fmt.Sprint(m.Owns(0, cell), m.Owns(1, cell), m.Part(cell)))
		}
		want := [][]string{
			{"true false true", "true false true", "true false true", "true false true"},
			{"false true true", "false false false", "false true true", "false false false"},
			{"false false false", "false true true", "false false false", "false true true"},
		}[w]
		if !slices.Equal(got, want) {
			t.Errorf("worker %d computes %q, want %q", w, got, want)
		}
		if m.Worker() != w || m.Size() != 3 || m.Alone() || m.Chief() != (w == 0) || m.Holds(0) != (w == 0) || m.Holds(1) != (w > 0) || m.First(0) != (w == 0) || m.First(1) != (w == 1) {
			t.Errorf("worker %d has another part: %+v", w, m)
		}
		if peers, err := m.Peers(kernels.F32); err != nil || peers == nil {
			t.Errorf("worker %d: peers %v, %v", w, peers, err)
		}
	}
}

// TestAlone exchanges nothing and needs no group.
func TestAlone(t *testing.T) {
	m, err := New(Config{Plan: shard.Solo("t1", 2, 2, 2)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	all, err := m.Gather(ctx, "hello", []byte("a"))
	if err != nil || len(all) != 1 || string(all[0]) != "a" {
		t.Errorf("gather: %q, %v", all, err)
	}
	if said, err := m.Tell(ctx, "state", 0, []byte("b")); err != nil || string(said) != "b" {
		t.Errorf("tell: %q, %v", said, err)
	}
	if got, missing, err := m.Trade(ctx, "data", Bytes{"x": []byte("c")}, []string{"x"}); err != nil || missing != nil || string(got["x"]) != "c" {
		t.Errorf("trade: %q, %q, %v", got, missing, err)
	}
	if _, missing, err := m.Trade(ctx, "data", Bytes{}, []string{"y", "x", "y"}); err != nil || !slices.Equal(missing, []string{"x", "y"}) {
		t.Errorf("trade of what nobody has: %q, %v", missing, err)
	}
	if said, err := m.Share(ctx, 0, 0, 0, []byte("d")); err != nil || string(said) != "d" {
		t.Errorf("share: %q, %v", said, err)
	}
	var taken []string
	err = m.Collect(ctx, "stages", func(i int) ([]byte, error) { return []byte{byte('0' + i)}, nil },
		func(i int, said []byte) error { taken = append(taken, fmt.Sprint(i, string(said))); return nil })
	if err != nil || !slices.Equal(taken, []string{"00", "11"}) {
		t.Errorf("collect: %q, %v", taken, err)
	}
	if peers, err := m.Peers(kernels.F32); !m.Alone() || !m.Chief() || m.Leave(ctx) != nil || peers != nil || err != nil {
		t.Errorf("peers %v, %v", peers, err)
	}
}

// TestTalks lets all members make the same calls, and then looks at what each has
// heard and at what went over the wire.
func TestTalks(t *testing.T) {
	members, _, mail := teamOf(t, split())
	heard := make([][]string, 3)
	taken := []string{}
	for w, err := range each(members, func(w int, m *Team) error {
		hear := func(what string, raw ...[]byte) { heard[w] = append(heard[w], fmt.Sprintf("%s %s", what, raw)) }
		ctx, me := t.Context(), fmt.Appendf(nil, "w%d", w)
		all, err := m.Gather(ctx, "hello", me)
		hear("hello", all...)
		if err != nil {
			return err
		}
		said, err := m.Tell(ctx, "state", 1, me)
		hear("state", said)
		if err != nil {
			return err
		}
		have := Bytes{"all": []byte("all"), string(me): []byte("of " + string(me))}
		got, missing, err := m.Trade(ctx, "data", have, []string{"all", fmt.Sprintf("w%d", (w+1)%3)})
		hear("data", got["all"], got[fmt.Sprintf("w%d", (w+1)%3)])
		if err != nil || missing != nil {
			return fmt.Errorf("missing %q: %w", missing, err)
		}
		_, missing, err = m.Trade(ctx, "nothing", have, []string{fmt.Sprintf("x%d", w)})
		hear(fmt.Sprint("missing ", missing))
		if err != nil {
			return err
		}
		err = m.Collect(ctx, "stages", func(i int) ([]byte, error) { return fmt.Appendf(nil, "%s has %d", me, i), nil },
			func(i int, said []byte) error { taken = append(taken, string(said)); return nil })
		if err != nil {
			return err
		}
		for cell := range 2 {
			if m.Part(cell) {
				said, err := m.Share(ctx, 7, cell, 0, me)
				hear(fmt.Sprint("cell ", cell), said)
				if err != nil {
					return err
				}
			}
		}
		return m.Leave(ctx)
	}) {
		if err != nil {
			t.Errorf("worker %d: %v", w, err)
		}
	}
	want := [][]string{
		{"hello [w0 w1 w2]", "state [w1]", "data [all of w1]", "missing [x0 x1 x2] []", "cell 0 [w1]", "cell 1 [w2]"},
		{"hello [w0 w1 w2]", "state [w1]", "data [all of w2]", "missing [x0 x1 x2] []", "cell 0 [w1]"},
		{"hello [w0 w1 w2]", "state [w1]", "data [all of w0]", "missing [x0 x1 x2] []", "cell 1 [w2]"},
	}
	for w := range want {
		if !slices.Equal(heard[w], want[w]) {
			t.Errorf("worker %d heard %q, want %q", w, heard[w], want[w])
		}
	}
	if !slices.Equal(taken, []string{"w0 has 0", "w1 has 1"}) {
		t.Errorf("the chief took %q", taken)
	}
	var wire []string
	for _, s := range mail.seen() {
		if what := s[strings.LastIndexByte(s, ' ')+1:]; !slices.Contains([]string{"hello", "data", "nothing", "barrier"}, what) { // all say these
			wire = append(wire, s)
		}
	}
	if want := []string{
		"0>2 team 4 data parcel 2", "1>0 share 7/0", "1>0 team 2 state", "1>0 team 4 data parcel 0", "1>0 team 6 stages 1",
		"1>2 team 2 state", "2>0 share 7/1", "2>1 team 4 data parcel 1",
	}; !slices.Equal(wire, want) {
		t.Errorf("on the wire were %q, want %q", wire, want)
	}
}

// TestMissingMember leaves one out of each kind of talk: who waits for it gives up
// exactly when the timeout ends, and says at what.
func TestMissingMember(t *testing.T) {
	say := func(int) ([]byte, error) { return []byte("x"), nil }
	take := func(int, []byte) error { return nil }
	for _, c := range []struct {
		name    string
		missing int
		talk    func(ctx context.Context, m *Team) error
		want    []string // by worker; "" is done without it
	}{
		{"gather", 2, func(ctx context.Context, m *Team) error { _, err := m.Gather(ctx, "hello", nil); return err },
			[]string{"hello: receive team 1 hello from rank 2", "hello: receive team 1 hello from rank 2", ""}},
		{"tell without the chief", 0, func(ctx context.Context, m *Team) error { _, err := m.Tell(ctx, "state", 0, nil); return err },
			[]string{"", "state: receive team 1 state from rank 0", "state: receive team 1 state from rank 0"}},
		{"trade", 1, func(ctx context.Context, m *Team) error { _, _, err := m.Trade(ctx, "data", Bytes{}, nil); return err },
			[]string{"data: receive team 1 data from rank 1", "", "data: receive team 1 data from rank 1"}},
		{"collect", 1, func(ctx context.Context, m *Team) error { return m.Collect(ctx, "stages", say, take) },
			[]string{"stages: receive team 1 stages 1 from rank 1", "", ""}},
		{"share", 1, func(ctx context.Context, m *Team) error {
			if !m.Part(0) {
				return nil
			}
			_, err := m.Share(ctx, 7, 0, 0, nil)
			return err
		}, []string{"what the last stage says of cell 0: receive share 7/0 from rank 1", "", ""}},
		{"leave", 0, func(ctx context.Context, m *Team) error { return m.Leave(ctx) },
			[]string{"", "leave the team: receive barrier from rank 0", "leave the team: receive barrier from rank 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				members, _, _ := teamOf(t, split())
				members[c.missing] = nil
				begin := time.Now()
				for w, err := range each(members, func(_ int, m *Team) error { return c.talk(t.Context(), m) }) {
					want := c.want[w]
					if want == "" && err == nil {
						continue
					}
					if want += ": context deadline exceeded"; err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("worker %d: found %v, want %s", w, err, want)
					}
				}
				if waited := time.Since(begin); waited != patience {
					t.Errorf("gave up after %v, want %v", waited, patience)
				}
			})
		})
	}
}

// TestCancelled gives up at once when the job is stopped.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members, _, _ := teamOf(t, split())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		if _, err := members[1].Tell(ctx, "state", 0, nil); !errors.Is(err, context.Canceled) || time.Since(begin) != time.Second {
			t.Errorf("found %v after %v", err, time.Since(begin))
		}
	})
}

// TestErrorsOfTheCallers come back as they are, with the name of the talk.
func TestErrorsOfTheCallers(t *testing.T) {
	full := errors.New("disk full")
	synctest.Test(t, func(t *testing.T) {
		members, _, _ := teamOf(t, split())
		errs := each(members, func(w int, m *Team) error {
			return m.Collect(t.Context(), "stages", func(int) ([]byte, error) { return nil, nil }, func(int, []byte) error { return full })
		})
		if !errors.Is(errs[0], full) || errs[0].Error() != "stages: disk full" || errs[1] != nil || errs[2] != nil {
			t.Errorf("take: found %v", errs)
		}
		stolen := stolen{Bytes{"x": []byte("1")}, full}
		errs = each(members, func(w int, m *Team) error {
			have, need := Stock(Bytes{}), []string{"x"}
			if w == 1 {
				have, need = stolen, nil
			}
			_, _, err := m.Trade(t.Context(), "data", have, need)
			return err
		})
		if !errors.Is(errs[1], full) || !errors.Is(errs[0], context.DeadlineExceeded) || !errors.Is(errs[2], context.DeadlineExceeded) {
			t.Errorf("trade: found %v", errs)
		}
	})
}

// stolen is a stock that lists what it cannot read.
type stolen struct {
	Bytes
	err error
}

func (s stolen) Read(string) ([]byte, error) { return nil, s.err }

// TestDispatch sends what is missing from the lowest who has it, and what is much in
// several parcels.
func TestDispatch(t *testing.T) {
	large := tradeBytes/2 + 1
	parcels, missing := dispatch([]declared{
		{Need: []string{"d", "c", "b", "a", "b"}},
		{Have: []string{"a", "b", "c"}, Sizes: []int{large, large, 1}, Need: []string{"a", "d"}},
		{Have: []string{"c", "d", "b"}, Sizes: []int{1, 1, large}, Need: []string{"d"}},
	})
	want := []parcel{{1, 0, []string{"a"}}, {1, 0, []string{"b", "c"}}, {2, 0, []string{"d"}}, {2, 1, []string{"d"}}}
	if fmt.Sprint(parcels) != fmt.Sprint(want) || missing != nil {
		t.Errorf("found %v and missing %q, want %v", parcels, missing, want)
	}
}

// TestRun gives each of a worker's cells to one lane, in order, and stops at the
// first error.
func TestRun(t *testing.T) {
	members, _, _ := teamOf(t, split())
	for w, want := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 2, 4, 6, 8}, {1, 3, 5, 7}} {
		for _, lanes := range []int{1, 3} {
			var mu sync.Mutex
			var got []int
			inLane := make([]atomic.Int32, lanes)
			err := members[w].Run(t.Context(), lanes, 9, func(_ context.Context, lane, cell int) error {
				if inLane[lane].Add(1) != 1 {
					t.Errorf("lane %d has two cells at once", lane)
				}
				defer inLane[lane].Add(-1)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, cell)
				return nil
			})
			if lanes > 1 {
				slices.Sort(got) // lanes overtake each other
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("worker %d in %d lanes: %v, %v, want %v", w, lanes, got, err, want)
			}
		}
	}
	bad := errors.New("bad cell")
	var done []int
	err := members[0].Run(t.Context(), 1, 9, func(_ context.Context, _, cell int) error {
		if done = append(done, cell); cell == 3 {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) || !slices.Equal(done, []int{0, 1, 2, 3}) {
		t.Errorf("found %v after %v", err, done)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := members[0].Run(ctx, 2, 9, func(context.Context, int, int) error { return bad }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run: %v", err)
	}
}

func TestNumbersDoNotMeet(t *testing.T) {
	m, err := New(Config{Plan: shard.Solo("t1", 2, 2, 2)})
	if err != nil {
		t.Fatal(err)
	}
	if a, b, c := m.Number(3), m.Number(1), m.Number(2); a != 0 || b != 3 || c != 4 {
		t.Errorf("reserved from %d, %d and %d", a, b, c)
	}
}
