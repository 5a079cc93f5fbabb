package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

// costly is a job that loses a node, then has its exchange broken, then waits for
// nodes, and grows again.
func costly() []Body {
	broke := report("a", "t3", 1, 2, api.Failed)
	broke.Report.Error, broke.Report.Broken = "rank 0: lost", []int{0}
	return append(running(),
		setNode("t1", api.NodeLost), with(plan("a", 2, "t2", "t3"), func(c *Plan) { c.Reason = "silent for 3.0 s; goes on on t2 and t3 (cpu-avx2)" }), started("a", 2), wentOn("a", 2, 57),
		broke, with(plan("a", 3, "t2", "t3"), func(c *Plan) { c.Reason = "the exchange broke; goes on on t2 and t3 (cpu-avx2)" }), // and training does not go on
		setNode("t3", api.NodeLost), with(unplan("a", 3, 60), func(c *Unplan) { c.Reason = "t3 is gone; no plan on who is left: too few" }),
		node("t1"), plan("a", 4, "t1"), started("a", 4), with(wentOn("a", 4, 40), func(c *WentOn) {
			c.Origin = api.Origin{From: api.FromCheckpoint, Step: 40, Holder: "t1", StepsLost: 20}
		}),
		node("t3"), with(plan("a", 5, "t1", "t3"), func(c *Plan) { c.Reason = "grows from 1 node to 2: runs on t1 and t3" }), started("a", 5), with(wentOn("a", 5, 90), func(c *WentOn) { c.Origin.StepsLost = 0 }),
	)
}

const goldenLog2, goldenSnapshot2 = "v2.log.jsonl", "v2.snapshot.json"

// TestWrittenByVersion2 replays a log and reads a snapshot as version 2 wrote them.
func TestWrittenByVersion2(t *testing.T) {
	logPath, snapshotPath := filepath.Join("testdata", goldenLog2), filepath.Join("testdata", goldenSnapshot2)
	m := newMachine(t)
	if *update {
		var log bytes.Buffer
		for _, b := range costly() {
			index := m.state().Index() + 1
			raw := encoded(t, Command{at(index), b})
			log.Write(append(raw, '\n'))
			m.log(index, raw)
		}
		if err := errors.Join(os.WriteFile(logPath, log.Bytes(), 0o644), os.WriteFile(snapshotPath, bytesOf(t, m.state()), 0o644)); err != nil {
			t.Fatal(err)
		}
		m = newMachine(t)
	}
	log, err := os.ReadFile(logPath)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(snapshotPath)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		c, err := Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if again := encoded(t, c); string(again) != strings.TrimSuffix(string(line), "\n") {
			t.Errorf("written otherwise now: %s", differ(string(again), string(line)))
		}
		if r := m.log(m.state().Index()+1, line); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if got := bytesOf(t, m.state()); !bytes.Equal(got, want) || !bytes.HasPrefix(want, []byte(`{"v":2,`)) {
		t.Errorf("the log leads elsewhere now: %s", differ(string(got), string(want)))
	}
	if s, err := Read(bytes.NewReader(want)); err != nil || !bytes.Equal(bytesOf(t, s), want) {
		t.Errorf("the snapshot is read otherwise: %v", err)
	}
	if _, err := Read(bytes.NewReader(bytes.Replace(want, []byte(`"v":2`), []byte(`"v":1`), 1))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a snapshot of version 1 with changes: %v", err)
	}
}

// A change of generation tells its first cause, where that is, and what it cost.
func TestChanges(t *testing.T) {
	m := newMachine(t)
	m.do(costly()...)
	var got []string
	for _, c := range Changes(m.state().Job("a")) {
		got = append(got, c.Node+" "+c.String())
	}
	want := []string{
		"t1 generation 2: silent for 3.0 s; went on after step 57, from memory; cost 4.1 s without steps and 1 step made again",
		"t3 generation 3: the exchange broke; training has not gone on in it",
		"t3 generation 4: t3 is gone; went on from the checkpoint of step 40 on node t1; cost an unknown time without steps and 20 steps made again",
		" generation 5: grows from 1 node to 2; went on after step 90, from memory; cost 4.1 s without steps and 0 steps made again",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	c := m.state().Job("a").Change(2)
	if c == nil || !c.CausedAt.Equal(at(8)) || !c.Planned.Equal(at(9)) || !c.WentOn.Equal(at(11)) {
		t.Errorf("change %+v", c)
	}
	if m.state().Job("a").Change(3) != nil {
		t.Error("generation 3 has a change that was not told")
	}
}

func TestWentOnRefuses(t *testing.T) {
	m := newMachine(t)
	m.do(second()...)
	m.do(wentOn("a", 2, 5))
	for _, c := range []struct {
		body Body
		is   error
	}{
		{wentOn("a", 1, 5), ErrStaleGeneration}, {wentOn("a", 3, 5), ErrConflict}, {wentOn("b", 2, 5), ErrNotFound},
		{with(wentOn("a", 2, 5), func(c *WentOn) { c.Origin.From = "elsewhere" }), ErrInvalid},
		{with(wentOn("a", 2, 5), func(c *WentOn) { c.Origin.Pause = -1 }), ErrInvalid},
		{with(wentOn("a", 2, 5), func(c *WentOn) { c.Origin.StepsLost = -1 }), ErrInvalid},
	} {
		if r := m.log(m.state().Index()+1, encoded(t, Command{at(1), c.body})); !errors.Is(r.Err, c.is) {
			t.Errorf("%+v: %v, want %v", c.body, r.Err, c.is)
		}
	}
	if r := m.try(wentOn("a", 2, 9)); !r.Existing || m.state().Job("a").Change(2).Step != 5 {
		t.Errorf("told twice: %+v", r)
	}
	m = newMachine(t)
	m.do(running()...)
	if r := m.try(wentOn("a", 1, 0)); !errors.Is(r.Err, ErrConflict) {
		t.Errorf("of the first generation: %v", r.Err)
	}
	for g := 2; g < 2*MaxChanges; g++ {
		m.do(plan("a", g, "t1"), publish("a", g, g), wentOn("a", g, g))
	}
	if c := m.state().Job("a").Changes; len(c) != MaxChanges || c[0].Generation != 2 || c[changesHead-1].Generation != changesHead+1 || c[len(c)-1].Generation != 2*MaxChanges-1 {
		t.Errorf("%d changes are kept, the first of generation %d", len(c), c[0].Generation)
	}
}
