package joblog

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

func TestLinesAreKeptOnceAndInOrder(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	add := func(seq uint64, worker int, text string) {
		t.Helper()
		if err := s.Add(Log, api.LogLine{Job: "abc", Generation: 1, Node: "n1", Worker: worker, Seq: seq, Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	_, changed, err := s.Read("abc", Log, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	add(1, 0, "a")
	select {
	case <-changed:
	default:
		t.Error("a reader is not woken")
	}
	add(1, 1, "b")
	add(1, 0, "again")
	add(2, 0, "c")
	read := func() string {
		lines, _, err := s.Read("abc", Log, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var out string
		for _, raw := range lines {
			var l api.LogLine
			if err := json.Unmarshal(raw, &l); err != nil {
				t.Fatal(err)
			}
			out += l.Text
		}
		return out
	}
	if got := read(); got != "abc" {
		t.Errorf("lines %q", got)
	}
	if lines, _, _ := s.Read("abc", Log, 1, 1); len(lines) != 1 {
		t.Errorf("%d lines from 1", len(lines))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash cut the last line; the store goes on behind what is whole.
	path := filepath.Join(dir, "abc", "log.jsonl")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(raw, `{"job":"a`...), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	add(2, 0, "again")
	add(3, 0, "d")
	if got := read(); got != "abcd" {
		t.Errorf("lines after a crash %q", got)
	}
	if err := s.Add(Log, api.LogLine{Job: "../x", Node: "n1", Seq: 1}); err == nil {
		t.Error("a job that is a path was kept")
	}
	if err := s.Keep(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A reader gets the lines from any number on, of a file that was written now or before.
func TestLinesAreReadFromAnyNumber(t *testing.T) {
	dir := t.TempDir()
	const n = 3*offsetEvery + 7
	for round, from := range []int{0, n} { // the second goes on with what the first has left
		s, err := Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i < from+n; i++ {
			if err := s.Add(Log, api.LogLine{Job: "abc", Generation: 1, Node: "n1", Seq: uint64(i + 1), Text: strings.Repeat("x", i%90)}); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := s.Count("abc", Log); err != nil || have != from+n {
			t.Errorf("%d lines, %v, want %d", have, err, from+n)
		}
		for _, at := range []int{0, 1, offsetEvery - 1, offsetEvery, offsetEvery + 1, 2*offsetEvery + 100, from + n - 1, from + n} {
			lines, _, err := s.Read("abc", Log, at, 2)
			if err != nil || len(lines) != min(2, from+n-at) {
				t.Fatalf("round %d: %d lines from %d, %v", round, len(lines), at, err)
			}
			for i, raw := range lines {
				var l api.LogLine
				if err := json.Unmarshal(raw, &l); err != nil || l.Seq != uint64(at+i+1) {
					t.Errorf("round %d: line %d is number %d, %v", round, at+i, l.Seq, err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
