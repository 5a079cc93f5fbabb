package state

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

var update = flag.Bool("update", false, "rewrite testdata; what version 1 wrote must stay readable, so only before it is released or for a new version")

// story is a log with all commands: job a is planned, loses a node, goes on and
// succeeds; b fails inspection, c is cancelled, d runs, and some come in vain.
func story() []Body {
	s := []Body{member("c1"), member("c2"), member("c3"), &RemoveMember{"c3", "asked for"}}
	s = append(s, running()...)
	return append(s,
		publish("a", 1, 10), submit("b"), with(inspected("b"), func(c *Inspected) { c.Inspection.Error, c.Inspection.ExitCode = "no such model", api.ExitInvalid }),
		submit("c"), inspected("c"), waiting("c", Busy), setNode("t1", api.NodeLost), plan("a", 2, "t2", "t3"), started("a", 2),
		report("a", "t1", 0, 1, api.Failed), // stale
		publish("a", 2, 20), cancel("c"), resume("c"), submit("d"), inspected("d"), node("t1"), node("t4"), drain("t4", true),
		plan("d", 1, "t1"), unplan("d", 1, 3), with(plan("d", 2, "t1"), func(c *Plan) { c.Passed = "c" }), started("d", 2),
		report("a", "t3", 1, 2, api.Succeeded), report("a", "t2", 0, 2, api.Succeeded), finish("a", 2, api.Succeeded),
		cancel("a"), // has succeeded
		submit("a"), // known by its token
	)
}

const goldenLog, goldenSnapshot = "v1.log.jsonl", "v1.snapshot.json"

// TestWrittenByVersion1 replays a log and reads a snapshot as version 1 wrote them.
func TestWrittenByVersion1(t *testing.T) {
	logPath, snapshotPath := filepath.Join("testdata", goldenLog), filepath.Join("testdata", goldenSnapshot)
	if *update {
		m := newMachine(t)
		var log bytes.Buffer
		for _, b := range story() {
			index := m.state().Index() + 1
			raw := encoded(t, Command{at(index), b})
			log.Write(append(raw, '\n'))
			m.log(index, raw)
		}
		for path, b := range map[string][]byte{logPath: log.Bytes(), snapshotPath: bytesOf(t, m.state())} {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	log, err := os.ReadFile(logPath)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(snapshotPath)
	if err != nil {
		t.Fatal(err)
	}

	m := newMachine(t)
	written := map[string]bool{}
	var refused []string
	for line := range bytes.Lines(log) {
		c, err := Decode(line)
		if err != nil {
			t.Fatalf("entry %d: %v", m.state().Index()+1, err)
		}
		written[c.Body.kind()] = true
		if again := encoded(t, c); string(again) != strings.TrimSuffix(string(line), "\n") {
			t.Errorf("entry %d is written otherwise now: %s", m.state().Index()+1, differ(string(again), string(line)))
		}
		if r := m.log(m.state().Index()+1, line); r.Err != nil {
			refused = append(refused, r.Err.Error())
		}
	}
	for _, b := range bodies() {
		if since(b) == 1 && !written[b.kind()] {
			t.Errorf("the log has no %q", b.kind())
		}
	}
	if want := []string{
		"report: generation 1 of job a, which is running in generation 2: stale generation", "cancel: job a has succeeded already: conflict",
	}; !slices.Equal(refused, want) {
		t.Errorf("refused were %q, want %q", refused, want)
	}
	if got := bytesOf(t, m.state()); !bytes.Equal(got, want) {
		t.Errorf("the log leads elsewhere now: %s", differ(string(got), string(want)))
	}

	s, err := Read(bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if got := bytesOf(t, s); !bytes.Equal(got, want) {
		t.Errorf("the snapshot is written otherwise now: %s", differ(string(got), string(want)))
	}
	var got []string
	for _, j := range s.Jobs() {
		got = append(got, j.ID+" "+shown(Reply{Job: j}))
	}
	for _, n := range s.Nodes() {
		got = append(got, shown(Reply{Node: n}))
	}
	for _, c := range s.Members() {
		got = append(got, "member "+c.ID)
	}
	if want := []string{
		"d running generation 2 on [t1]: worker 0 runs",
		"c pending generation 0 on []: waits to be inspected by a node",
		"b failed generation 0 on [] exit 2: no such model",
		"a succeeded generation 2 on [t2 t3] exit 0: ended: succeeded",
		"t1 ready in s-t1: node t1 came up", "t2 ready in s-t2: node t2 came up", "t3 ready in s-t3: node t3 came up", "t4 draining in s-t4: asked for",
		"member c1", "member c2",
	}; !slices.Equal(got, want) {
		t.Errorf("found  %s\nwanted %s", strings.Join(got, "\n       "), strings.Join(want, "\n       "))
	}
	a := s.Job("a")
	if a.Replanned != 1 || a.Checkpoint().Step != 20 || a.Result.Generations != 2 || len(a.Reports) != 2 || s.Holder("t1").ID != "d" || s.Job("c").Passed != 1 {
		t.Errorf("job a: %+v", a)
	}
}

// TestReadRefuses what is no snapshot of this version, or none of a state.
func TestReadRefuses(t *testing.T) {
	m := newMachine(t)
	m.do(running()...)
	m.do(submit("b"), member("c1"))
	whole := string(bytesOf(t, m.state()))
	edit := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("the snapshot has no %s", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	for _, c := range []struct {
		raw  string
		is   error
		want string
	}{
		{"", ErrInvalid, "snapshot: invalid: unexpected end of JSON input"},
		{whole[:len(whole)/2], ErrInvalid, "snapshot: invalid: unexpected end of JSON input"},
		{`{"v":3,"jobs":{}}`, ErrVersion, "snapshot has version 3, this coordinator understands up to 2: upgrade it: newer version"},
		{edit(`{"v":1,`, `{"v":3,"shards":[],`), ErrVersion, "snapshot has version 3, this coordinator understands up to 2: upgrade it: newer version"},
		{`{"jobs":[]}`, ErrInvalid, "snapshot has version 0, want 1 to 2: invalid"},
		{edit(`{"v":1,`, `{"v":1,"shards":[],`), ErrInvalid, `snapshot: invalid: json: unknown field "shards"`},
		{edit(`"jobs":[`, `"jobs":[null,`), ErrInvalid, "snapshot: invalid: a job is missing or there twice"},
		{edit(`"id":"b"`, `"id":"a"`), ErrInvalid, "snapshot: invalid: a job is missing or there twice"},
		{edit(`"nodes":[{"info"`, `"nodes":[null,{"info"`), ErrInvalid, "snapshot: invalid: a node is missing or there twice"},
		{edit(`{"name":"t2","session"`, `{"name":"t1","session"`), ErrInvalid, "snapshot: invalid: a node is missing or there twice"},
		{edit(`"members":[`, `"members":[{"id":"c1"},`), ErrInvalid, "snapshot: invalid: a coordinator is there twice"},
		{edit(`"nodes":["t1","t2"]`, `"nodes":["t1"]`), ErrInvalid, "snapshot: invalid: job a: plan: stage 0 of the language tower names worker 1 of 1"},
		{edit(`"sessions":["s-t1","s-t2"]`, `"sessions":[]`), ErrInvalid, "snapshot: invalid: job a has 2 workers, 2 devices, 0 sessions"},
		{edit(`"state":"running"`, `"state":"walking"`), ErrInvalid, `snapshot: invalid: job a: state: found "walking", want one of pending, starting, running, cancelling, succeeded, failed, cancelled`},
		{edit(`"token":"token-b"`, `"token":"token-a"`), ErrInvalid, `snapshot: invalid: the jobs a and b have the token "token-a"`},
	} {
		if _, err := Read(strings.NewReader(c.raw)); err == nil || err.Error() != c.want || !errors.Is(err, c.is) {
			t.Errorf("found  %v\nwanted %s", err, c.want)
		}
		before := bytesOf(t, m.state())
		if err := m.fsm.Restore(io.NopCloser(strings.NewReader(c.raw))); !errors.Is(err, c.is) || !bytes.Equal(before, bytesOf(t, m.state())) {
			t.Errorf("Restore: %v, or the state is another one", err)
		}
	}
}

// TestPersistCancels gives back what a full disk has taken of a snapshot.
func TestPersistCancels(t *testing.T) {
	m := newMachine(t)
	m.do(running()...)
	s, err := m.fsm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	k := &sink{limit: 100}
	if err := s.Persist(k); err == nil || err.Error() != "snapshot: disk full" || !k.cancelled || k.closed {
		t.Errorf("found %v, cancelled %v, closed %v", err, k.cancelled, k.closed)
	}
}
