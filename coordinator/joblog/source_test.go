package joblog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// plain parses what the tests below use for a line: its number.
func plain(raw []byte) (l api.LogLine, kept []byte, err error) {
	err = json.Unmarshal(raw, &l.Seq)
	return l, raw, err
}

// A script of what a source is told, word by word: "3" is line 3, "m5" a mark up to 5,
// "e5" one of a worker that has ended, "?" a question, which the next word is the answer
// to: "a3-5/7" has lines 3 to 5 of 7, "u" is that the node knows nothing, "f" that there
// was none, "F" that there was none so often that it counts as gone. "a4-/3" has none.
func TestSourcesAreKeptInOrder(t *testing.T) {
	for name, c := range map[string]struct{ script, kept, lost, missing string }{
		"in order":                     {"1 2 3", "1 2 3", "", ""},
		"twice":                        {"1 1 2 1 2 3", "1 2 3", "", ""},
		"out of order":                 {"2 3 1", "1 2 3", "", ""},
		"a gap":                        {"1 4 5", "1", "", "2-5"},
		"a gap is filled":              {"1 4 5 ? a2-5/5 6", "1 2 3 4 5 6", "", ""},
		"a gap is filled in pieces":    {"1 6 ? a2-3/6 ? a4-5/6", "1 2 3 4 5 6", "", ""},
		"a gap closes by itself":       {"1 3 ? 2 a2-3/3 4", "1 2 3 4", "", ""},
		"lines go on meanwhile":        {"1 3 ? 4 5 a2-3/3 6", "1 2 3 4 5 6", "", ""},
		"lines after the answer":       {"1 3 ? 5 a2-3/3", "1 2 3", "", "4-5"},
		"a mark beyond":                {"1 m3", "1", "", "2-3"},
		"a mark of what is here":       {"1 2 m2 m1", "1 2", "", ""},
		"a mark is answered":           {"1 m3 ? a2-3/3", "1 2 3", "", ""},
		"a mark while asked":           {"m2 ? m3 a1-2/2", "1 2", "", "3-3"},
		"a new folder":                 {"m3 ? a1-3/3 4", "1 2 3 4", "", ""},
		"a mark too far":               {"1 m99 ? a2-/1 2", "1 2", "", ""},
		"a line that nobody said":      {"1 99 ? a2-/1 2 3", "1 2 3", "", ""},
		"the beginning is gone":        {"m9 ? a7-9/9 10", "7 8 9 10", "1-6", ""},
		"gone, but some are held":      {"1 3 ? a5-6/6", "1 3 5 6", "2-2 4-4", ""},
		"the node knows nothing":       {"1 4 6 ? u 7", "1 4 6 7", "2-3 5-5", ""},
		"nothing, of what was marked":  {"1 m5 ? u 2", "1 2", "2-5", ""},
		"the node is away":             {"1 3 ? f", "1", "", "2-3"},
		"the node is away, and back":   {"1 3 ? f ? a2-3/3", "1 2 3", "", ""},
		"the node is gone":             {"1 3 ? F 4", "1 3 4", "2-2", ""},
		"an answer to another":         {"1 4 ? a3-4/4", "1 3 4", "2-2", ""},
		"an answer before the gap":     {"1 4 ? a1-2/4", "1", "", "2-4"},
		"an answer that has no lines":  {"1 4 ? a2-/4", "1", "", "2-4"},
		"an answer that is not whole":  {"1 4 ? x2,4/4", "1", "", "2-4"},
		"an answer beyond its last":    {"1 4 ? a2-5/4", "1", "", "2-4"},
		"an end, with all":             {"1 2 e2", "1 2", "", ""},
		"an end, without the last":     {"1 e3 ? a2-3/3", "1 2 3", "", ""},
		"lines of another come in one": {"3 2 1 6 5 4", "1 2 3 4 5 6", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &source{}
			var kept, lost []string
			var q question
			now := time.Unix(1000, 0)
			take := func(out []numbered, gone []span) {
				for _, l := range out {
					if string(l.raw) != fmt.Sprint(l.seq) {
						t.Errorf("line %d is %s", l.seq, l.raw)
					}
					kept = append(kept, fmt.Sprint(l.seq))
				}
				for _, g := range gone {
					lost = append(lost, fmt.Sprintf("%d-%d", g.from, g.to))
				}
			}
			number := func(format, word string) uint64 {
				t.Helper()
				var n uint64
				if _, err := fmt.Sscanf(word, format, &n); err != nil {
					t.Fatalf("%q: %v", word, err)
				}
				return n
			}
			for _, word := range strings.Fields(c.script) {
				now = now.Add(time.Second)
				switch word[0] {
				case 'm', 'e':
					s.announce(number(word[:1]+"%d", word), now)
					s.ended = word[0] == 'e'
				case '?':
					if at, open := s.due(now); !open || at.After(now) || s.asking {
						t.Fatalf("no question is due")
					}
					q = s.ask(now)
				case 'u':
					take(s.answer(q, api.LineReply{Unknown: true}, nil))
				case 'f':
					take(s.failed(now))
				case 'F':
					for range maxFails {
						take(s.failed(now))
					}
				case 'a', 'x':
					r := api.LineReply{}
					list, last, _ := strings.Cut(word[1:], "/")
					r.Last = number("%d", last)
					if word[0] == 'x' {
						for _, seq := range strings.Split(list, ",") {
							r.Lines = append(r.Lines, json.RawMessage(seq))
						}
						r.First = number("%d", list)
					} else {
						first, to, _ := strings.Cut(list, "-")
						if r.First = number("%d", first); to != "" {
							for seq := r.First; seq <= number("%d", to); seq++ {
								r.Lines = append(r.Lines, json.RawMessage(fmt.Sprint(seq)))
							}
						}
					}
					lines, err := q.check(r, plain)
					if err != nil {
						take(s.failed(now))
						continue
					}
					take(s.answer(q, r, lines))
				default:
					n := number("%d", word)
					take(s.line(numbered{n, []byte(word)}, now), nil)
				}
				size := 0
				for _, raw := range s.held {
					size += len(raw)
				}
				if size != s.size {
					t.Errorf("after %s: %d bytes held, %d counted", word, size, s.size)
				}
			}
			missing := ""
			if s.missing() {
				missing = fmt.Sprintf("%d-%d", s.have+1, s.want)
			}
			if got := strings.Join(kept, " "); got != c.kept || strings.Join(lost, " ") != c.lost || missing != c.missing {
				t.Errorf("kept %q, lost %q, missing %q; want %q, %q, %q", got, lost, missing, c.kept, c.lost, c.missing)
			}
		})
	}
}

// What waits for its turn is bounded; what did not fit is asked for.
func TestHeldLinesAreBounded(t *testing.T) {
	s, now := &source{}, time.Unix(1000, 0)
	for seq := uint64(3 * maxHeldLines); seq > 1; seq-- {
		s.line(numbered{seq, []byte("x")}, now)
	}
	if len(s.held) != maxHeldLines || s.want != 3*maxHeldLines {
		t.Errorf("%d held, %d wanted", len(s.held), s.want)
	}
	s = &source{}
	s.line(numbered{2, make([]byte, maxHeldBytes)}, now)
	s.line(numbered{3, []byte("x")}, now)
	if len(s.held) != 1 || s.want != 3 {
		t.Errorf("%d held, %d wanted", len(s.held), s.want)
	}
	if out := s.line(numbered{1, []byte("x")}, now); len(out) != 2 || s.size != 0 || s.missing() != true {
		t.Errorf("%d lines, %d bytes held", len(out), s.size)
	}
}

// A node that does not answer is asked ever more rarely.
func TestQuestionsPause(t *testing.T) {
	s, now := &source{}, time.Unix(1000, 0)
	s.announce(5, now)
	var pauses []time.Duration
	for range 7 {
		at, open := s.due(now)
		if !open {
			t.Fatal("nothing is asked for")
		}
		pauses, now = append(pauses, at.Sub(now)), at
		s.ask(now)
		s.failed(now)
	}
	want := []time.Duration{grace, minPause, 2 * minPause, 4 * minPause, 8 * minPause, 16 * minPause, maxPause}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
}

// A source is complete when it has ended and all is here, or when its node has said so
// since.
func TestComplete(t *testing.T) {
	at := time.Unix(1000, 0)
	s := &source{expect: at}
	if _, open := s.due(at); !open || s.complete(at) {
		t.Error("complete, though its node was not asked")
	}
	s.answer(s.ask(at.Add(-time.Second)), api.LineReply{First: 1}, nil)
	if s.complete(at) {
		t.Error("complete by an earlier answer")
	}
	s.answer(s.ask(at), api.LineReply{First: 1}, nil)
	if _, open := s.due(at); open || !s.complete(at) {
		t.Error("not complete, though its node said so")
	}
	if s.line(numbered{2, []byte("x")}, at); s.complete(at) {
		t.Error("complete, though a line is missing")
	}
	s = &source{expect: at, ended: true}
	if _, open := s.due(at); open || !s.complete(at) {
		t.Error("not complete, though it ended")
	}
	s = &source{expect: at}
	if _, open := s.due(at.Add(expectFor)); open {
		t.Error("asked for ever")
	}
}
