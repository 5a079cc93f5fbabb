package joblog

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// Bounds of the lines of one source that came before their turn; what does not fit is
// asked for.
const (
	maxHeldLines = 1024
	maxHeldBytes = 1 << 20
)

// How often a source is asked: after grace, in which lines that are on the way may
// come, then at once while that brings lines, and after a pause that doubles where it
// does not. After maxFails in a row, a minute or two, its node counts as gone.
const (
	grace    = 50 * time.Millisecond
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
	maxFails = 40
)

// source is how far the lines of a worker in a generation are here, of one kind.
type source struct {
	api.LineSource
	file *file

	have  uint64 // lines that are kept: none before is missing that could be had
	want  uint64 // the last line that is known of
	held  map[uint64][]byte
	size  int  // bytes of held
	ended bool // want is the last that there will be

	expect   time.Time // an answer is wanted that was asked for at this time or later
	answered time.Time // when the last question that was answered was asked
	asking   bool
	next     time.Time // no question before
	fails    int       // in a row
}

// numbered is a line as it is kept.
type numbered struct {
	seq uint64
	raw []byte
}

// span are lines that cannot be had any more.
type span struct{ from, to uint64 }

// missing reports whether there are lines that are not here.
func (s *source) missing() bool { return s.want > s.have }

// line takes a line that was heard and returns what can be kept now.
func (s *source) line(l numbered, now time.Time) []numbered {
	s.announce(l.seq, now)
	switch {
	case l.seq <= s.have || s.held[l.seq] != nil:
		return nil
	case l.seq > s.have+1:
		if len(s.held) < maxHeldLines && s.size+len(l.raw) <= maxHeldBytes {
			if s.held == nil {
				s.held = map[uint64][]byte{}
			}
			s.held[l.seq], s.size = l.raw, s.size+len(l.raw)
		}
		return nil
	}
	s.have = l.seq
	return s.drain([]numbered{l})
}

// announce takes in that there are lines up to a number.
func (s *source) announce(last uint64, now time.Time) {
	if at := now.Add(grace); last > s.want && !s.missing() && s.next.Before(at) {
		s.next = at
	}
	s.want = max(s.want, last)
}

// drain appends held lines whose turn it is.
func (s *source) drain(out []numbered) []numbered {
	for raw := s.held[s.have+1]; raw != nil; raw = s.held[s.have+1] {
		s.drop(s.have + 1)
		s.have++
		out = append(out, numbered{s.have, raw})
	}
	return out
}

func (s *source) drop(seq uint64) {
	s.size -= len(s.held[seq])
	delete(s.held, seq)
}

// due reports whether the source is to be asked at all, and from when on.
func (s *source) due(now time.Time) (at time.Time, open bool) {
	open = s.missing() || s.awaited() && now.Before(s.expect.Add(expectFor))
	return s.next, open || s.asking
}

// awaited reports whether an answer is wanted of a source of which nothing is known to
// be missing.
func (s *source) awaited() bool { return !s.ended && s.answered.Before(s.expect) }

// question is one that is under way.
type question struct {
	source *source
	ask    api.LineRequest
	want   uint64 // what was known of when it was asked
	at     time.Time
}

func (s *source) ask(now time.Time) question {
	s.asking = true
	return question{s, api.LineRequest{LineSource: s.LineSource, From: s.have + 1}, s.want, now}
}

// answer takes the answer to a question, whose lines are the ones that it says, and
// returns the lines that can be kept now and those that are gone.
func (s *source) answer(q question, r api.LineReply, lines []numbered) (out []numbered, lost []span) {
	s.asking, s.fails, s.answered, s.next = false, 0, q.at, q.at
	if len(lines) == 0 {
		s.next = q.at.Add(minPause)
	}
	if r.Unknown {
		s.ended = true
		return s.giveUp()
	}
	if q.want == s.want {
		// Nothing was announced since: the node knows better than who said more.
		for seq := range s.held {
			if seq > r.Last {
				s.drop(seq)
			}
		}
		s.want = max(r.Last, s.have)
	}
	s.want, s.ended = max(s.want, r.Last), r.Ended
	if len(lines) > 0 {
		out, lost = s.skip(r.First)
	}
	for _, l := range lines {
		if l.seq == s.have+1 {
			s.drop(l.seq)
			s.have = l.seq
			out = append(out, l)
		}
	}
	return s.drain(out), lost
}

// skip goes on before line number to, and returns which lines before it were held and
// which are lost.
func (s *source) skip(to uint64) (out []numbered, lost []span) {
	for _, seq := range slices.Sorted(maps.Keys(s.held)) {
		if seq >= to {
			break
		}
		if seq > s.have+1 {
			lost = append(lost, span{s.have + 1, seq - 1})
		}
		out, s.have = append(out, numbered{seq, s.held[seq]}), seq
		s.drop(seq)
	}
	if to > s.have+1 {
		lost = append(lost, span{s.have + 1, to - 1})
		s.have = to - 1
	}
	return out, lost
}

// giveUp ends waiting for lines of a source that nobody can be asked for: what is held
// is kept, and what was only announced may still come.
func (s *source) giveUp() (out []numbered, lost []span) {
	if len(s.held) > 0 {
		last := slices.Max(slices.Collect(maps.Keys(s.held)))
		raw := s.held[last]
		s.drop(last)
		out, lost = s.skip(last)
		out, s.have = append(out, numbered{last, raw}), last
	}
	if s.want > s.have {
		lost = append(lost, span{s.have + 1, s.want})
	}
	s.want = s.have
	return out, lost
}

// failed takes in that a question brought nothing.
func (s *source) failed(now time.Time) (out []numbered, lost []span) {
	s.asking = false
	s.next = now.Add(min(minPause<<min(s.fails, 10), maxPause))
	if s.fails++; s.fails >= maxFails && s.missing() {
		s.fails = 0
		return s.giveUp()
	}
	return nil, nil
}

// complete reports whether all lines are here that there were at a time.
func (s *source) complete(at time.Time) bool {
	return !s.missing() && (s.ended || !s.answered.Before(at))
}

// check returns the lines of an answer, or says why it is none to the question.
func (q question) check(r api.LineReply, parse func([]byte) (api.LogLine, []byte, error)) ([]numbered, error) {
	switch {
	case r.Unknown:
		return nil, nil
	case r.First < q.ask.From || r.First > q.ask.From && r.First > r.Last:
		return nil, fmt.Errorf("lines from %d of %d, asked for %d", r.First, r.Last, q.ask.From)
	case len(r.Lines) == 0 && r.Last >= r.First:
		return nil, fmt.Errorf("no lines, though there are some from %d to %d", r.First, r.Last)
	}
	out := make([]numbered, len(r.Lines))
	for i, raw := range r.Lines {
		l, raw, err := parse(raw)
		if err != nil {
			return nil, err
		}
		want := r.First + uint64(i)
		if l.Job != q.ask.Job || l.Generation != q.ask.Generation || l.Worker != q.ask.Worker || l.Node != q.ask.Node || l.Seq != want || want > r.Last {
			return nil, fmt.Errorf("line %d of worker %d of job %.80s, want line %d of worker %d of job %s", l.Seq, l.Worker, l.Job, want, q.ask.Worker, q.ask.Job)
		}
		out[i] = numbered{l.Seq, raw}
	}
	return out, nil
}
