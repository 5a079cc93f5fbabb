package joblog

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"ressa/coordinator/api"
)

// Bounds of the questions of a store.
const (
	askWait       = 2 * time.Second // for an answer
	asksAtOnce    = 8               // and one a source
	asksPerSecond = 100
	// expectFor is how long a source is asked only to hear that nothing is missing.
	expectFor = 10 * time.Second
)

// asking asks nodes for what is missing until ctx ends.
func (s *Store) asking(ctx context.Context, hub *nats.Conn) {
	limit, room := rate.NewLimiter(asksPerSecond, asksAtOnce), semaphore.NewWeighted(asksAtOnce)
	for {
		var due []question
		if hub.IsConnected() {
			due = s.due(time.Now())
		}
		for _, q := range due {
			if limit.Wait(ctx) != nil || room.Acquire(ctx, 1) != nil {
				return
			}
			s.tasks.Go(func() {
				defer room.Release(1)
				s.ask(ctx, hub, q)
			})
		}
		var later <-chan time.Time
		if s.open() {
			later = time.After(grace)
		}
		select {
		case <-s.wake:
		case <-later:
		case <-ctx.Done():
			return
		}
	}
}

// open reports whether any source may have to be asked.
func (s *Store) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gaps) > 0
}

// due returns the questions whose time has come.
func (s *Store) due(now time.Time) []question {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []question
	for src := range s.gaps {
		switch at, open := src.due(now); {
		case !open:
			delete(s.gaps, src)
		case !src.asking && !now.Before(at):
			out = append(out, src.ask(now))
		}
	}
	return out
}

// ask asks one question and takes in what came of it.
func (s *Store) ask(ctx context.Context, hub *nats.Conn, q question) {
	r, err := request(ctx, hub, q.ask)
	var lines []numbered
	if err == nil {
		lines, err = q.check(r, parseLine)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := q.source
	if s.closed || s.files[key{src.Job, src.Kind}] != src.file {
		return // the job is forgotten
	}
	var out []numbered
	var lost []span
	before := src.size
	if err != nil {
		s.logger.Debug("lines of a job not had", "job", src.Job, "node", src.Node, "error", err)
		out, lost = src.failed(time.Now())
	} else {
		out, lost = src.answer(q, r, lines)
	}
	s.held += src.size - before
	err = s.keep(src, out, lost)
	if err != nil {
		s.logger.Warn("lines of a job not kept", "job", src.Job, "error", err)
	}
	src.file.tell()
}

// request sends a question and returns the answer.
func request(ctx context.Context, hub *nats.Conn, ask api.LineRequest) (r api.LineReply, err error) {
	raw, err := json.Marshal(ask)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	m, err := hub.RequestWithContext(ctx, api.LinesSubject(ask.Node), raw)
	if err != nil {
		return r, err
	}
	if why := m.Header.Get(api.HeaderError); why != "" {
		return r, errors.New(why)
	}
	return r, json.Unmarshal(m.Data, &r)
}

// Complete reports whether all lines are here that there are of a job that was over at
// a time. Sources in last, the workers of its last generation, are asked unless they
// are known to have ended; of others what is known to be missing counts. Where the
// answer is no, the channel of Read tells of changes.
func (s *Store) Complete(job string, kind Kind, last []api.LineSource, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	complete := true
	for _, x := range last {
		src, err := s.source(x)
		if err != nil {
			continue // no such worker has said anything
		}
		if !src.complete(at) {
			complete = false
			if src.expect.Before(at) {
				src.expect = at
			}
			s.gap(src)
		}
	}
	f, err := s.file(key{job, kind})
	if err != nil {
		return true
	}
	for _, src := range f.sources {
		complete = complete && !src.missing()
	}
	return complete
}
