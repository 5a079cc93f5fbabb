package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ressa/coordinator/api"
)

// fuzzLimit keeps inputs small: long ones are tested where the limits are.
const fuzzLimit = 1 << 14

// FuzzDecode reads commands. What is read is written and read alike, every state
// survives it, and two replicas agree on what it does.
func FuzzDecode(f *testing.F) {
	for i, b := range story() {
		f.Add(encoded(f, Command{at(uint64(i)), b}))
	}
	for _, s := range []string{
		``, `null`, `[]`, `{"v":2,"type":"plan"}`, `{"v":3,"type":"plan"}`, `{"v":2,"type":"went-on","at":"2026-03-01T12:00:00Z","body":{"job":"d","generation":2,"origin":{"from":"memory","step":1,"steps_lost":0,"pause":1.5}}}`, `{"v":1,"type":"wait","at":"2026-03-01T12:00:00Z","body":null}`,
		`{"v":1,"type":"drain","at":"9999-12-31T23:59:59-05:00","body":{"name":"t1"}}`,
		`{"v":1,"type":"cancel","at":"2026-03-01T12:00:00.000000001+01:00","body":{"job":"d","reason":"\ud800\u0000<"}}`,
		`{"v":1,"type":"plan","at":"2026-03-01T12:00:00Z","body":{"job":"c","generation":1,"kind":"x","plan":{"nodes":["t2"],"stages":null,"microbatches":-1,"in_flight":[]},"devices":["cpu"],"sessions":["s-t2"]}}`,
	} {
		f.Add([]byte(s))
	}
	m := newMachine(f)
	for _, b := range story() {
		m.try(b)
	}
	full := m.state()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > fuzzLimit {
			return
		}
		c, err := Decode(raw)
		if err != nil {
			if errors.Is(err, ErrInvalid) == errors.Is(err, ErrVersion) {
				t.Fatalf("neither invalid nor of a newer version: %v", err)
			}
			return
		}
		once := encoded(t, c)
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("%s: written as %s: %v", raw, once, err)
		}
		if twice := encoded(t, again); !bytes.Equal(once, twice) {
			t.Fatalf("not stable: %s", differ(string(once), string(twice)))
		}
		for _, s := range []*State{Empty(), full} {
			before := bytesOf(t, s)
			next, r := s.next(s.index+1, c, true)
			if !bytes.Equal(before, bytesOf(t, s)) {
				t.Fatal("the state before has changed")
			}
			if same, _ := s.next(s.index+1, again, true); !bytes.Equal(bytesOf(t, next), bytesOf(t, same)) {
				t.Fatalf("two replicas differ: %s", differ(string(bytesOf(t, next)), string(bytesOf(t, same))))
			}
			if r.Err == nil && len(next.History()) > 0 {
				look(next)
			}
			restored, err := Read(bytes.NewReader(bytesOf(t, next)))
			if err != nil {
				t.Fatalf("a state that cannot be restored: %v", err)
			}
			if !bytes.Equal(bytesOf(t, next), bytesOf(t, restored)) {
				t.Fatalf("restored otherwise: %s", differ(string(bytesOf(t, next)), string(bytesOf(t, restored))))
			}
		}
	})
}

// FuzzRead reads snapshots: what is read is written and read alike, can be looked
// at and goes on.
func FuzzRead(f *testing.F) {
	m := newMachine(f)
	for i, b := range story() {
		m.try(b)
		if i%8 == 0 {
			f.Add(bytesOf(f, m.state()))
		}
	}
	golden, err := os.ReadFile(filepath.Join("testdata", goldenSnapshot))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	for _, s := range []string{
		``, `{"v":1}`, `{"v":2}`, `{"v":2,"jobs":[{"id":"a","state":"failed","changes":[{"generation":3},{"generation":2}]}]}`, `{"v":1,"jobs":[null]}`, `{"v":1,"index":18446744073709551615}`, `{"v":1,"jobs":[{"id":"a","state":"running"}]}`,
		`{"v":1,"jobs":[{"id":"a","state":"failed","submitted":"0000-01-01T00:00:00+23:59"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 4*fuzzLimit {
			return
		}
		s, err := Read(bytes.NewReader(raw))
		if err != nil {
			if errors.Is(err, ErrInvalid) == errors.Is(err, ErrVersion) {
				t.Fatalf("neither invalid nor of a newer version: %v", err)
			}
			return
		}
		once := bytesOf(t, s)
		again, err := Read(bytes.NewReader(once))
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if twice := bytesOf(t, again); !bytes.Equal(once, twice) {
			t.Fatalf("not stable: %s", differ(string(once), string(twice)))
		}
		look(s)
		for i, b := range story() {
			s, _ = s.next(s.index+1, Command{at(uint64(i)), b}, true)
		}
		look(s)
	})
}

// look calls what readers of a state call.
func look(s *State) {
	for _, j := range s.Jobs() {
		_, _ = j.Record(), Changes(j)
		_, _ = s.Find(j.ID)
		_ = s.Submitted(j.Request.Token)
	}
	for _, n := range s.Nodes() {
		_, _ = n.Shown(), n.Device("")
		_ = s.Assignments(n.Info.Name, n.Info.Session)
		if j := s.Holder(n.Info.Name); j != nil {
			for w := range j.Plan.Nodes {
				_ = s.Assignments(j.Plan.Nodes[w], j.Sessions[w])
			}
		}
	}
	_ = Nudges(Empty(), s)
	var _ []api.Member = s.Members()
}
