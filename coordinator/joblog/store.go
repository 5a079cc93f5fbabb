package joblog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// Kind says which of a job's files is meant.
type Kind = api.LineKind

// The files of a job.
const (
	Events = api.EventLines
	Log    = api.LogLines
)

// MaxBytes bounds a job's file of one kind.
const MaxBytes = 64 << 20

// maxLine bounds one line.
const maxLine = api.MaxHubPayload

// offsetEvery is how many lines a reader looks over at most before those it wants.
const offsetEvery = 256

// Bounds of what marks and lines can make a store remember.
const (
	maxFiles   = 1 << 16
	maxSources = 1 << 16  // of a file
	maxHeld    = 64 << 20 // bytes of lines that wait for others, of all sources
)

// Store keeps the lines. It is safe for concurrent use.
type Store struct {
	dir    string
	logger *slog.Logger
	subs   []*nats.Subscription
	stop   context.CancelFunc // of what asks; nil before Listen
	tasks  sync.WaitGroup
	wake   chan struct{} // tells what asks of a new gap

	mu     sync.Mutex
	closed bool
	files  map[key]*file
	gaps   map[*source]bool // that may have to be asked
	held   int
}

type key struct {
	job  string
	kind Kind
}

// file is one file of a job.
type file struct {
	path    string
	bytes   int64
	lines   int
	offsets []int64 // of every offsetEvery-th line
	dropped int     // lines that came after the bound
	sources map[worker]*source
	changed chan struct{} // closed at the next line
	f       *os.File
}

type worker struct{ generation, worker int }

// Open returns the store of a folder.
func Open(dir string, l *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("job logs: %w", err)
	}
	return &Store{dir: dir, logger: l, wake: make(chan struct{}, 1), files: map[key]*file{}, gaps: map[*source]bool{}}, nil
}

// Close ends Listen and closes the files.
func (s *Store) Close() error {
	var errs []error
	for _, sub := range s.subs {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, err)
		}
	}
	if s.stop != nil {
		s.stop()
	}
	s.tasks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, f := range s.files {
		if f.f != nil {
			errs = append(errs, f.f.Close())
			f.f = nil
		}
	}
	return errors.Join(errs...)
}

var jobForm = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// file returns a job's file, reading what is there when it is first asked for. The
// lock is held.
func (s *Store) file(k key) (*file, error) {
	if f := s.files[k]; f != nil {
		return f, nil
	}
	if !jobForm.MatchString(k.job) {
		return nil, fmt.Errorf("job %q is no ID", k.job)
	}
	if len(s.files) >= maxFiles {
		return nil, fmt.Errorf("job %s: there are lines of too many jobs", k.job)
	}
	f := &file{path: filepath.Join(s.dir, k.job, string(k.kind)+".jsonl"), sources: map[worker]*source{}, changed: make(chan struct{})}
	raw, err := os.ReadFile(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// A crash may have cut the last line.
	if end := bytes.LastIndexByte(raw, '\n') + 1; end < len(raw) {
		if err := os.Truncate(f.path, int64(end)); err != nil {
			return nil, err
		}
		raw = raw[:end]
	}
	for line := range bytes.Lines(raw) {
		f.counted(len(line))
		var l api.LogLine
		if json.Unmarshal(line, &l) == nil {
			at := worker{l.Generation, l.Worker}
			if f.sources[at] == nil {
				f.sources[at] = &source{file: f, LineSource: api.LineSource{Job: k.job, Generation: l.Generation, Node: l.Node, Worker: l.Worker, Kind: k.kind}}
			}
			src := f.sources[at]
			src.have = max(src.have, l.Seq)
			src.want = src.have
		}
	}
	s.files[k] = f
	return f, nil
}

// source returns a source. The lock is held.
func (s *Store) source(x api.LineSource) (*source, error) {
	if err := x.Check(); err != nil {
		return nil, err
	}
	f, err := s.file(key{x.Job, x.Kind})
	if err != nil {
		return nil, err
	}
	at := worker{x.Generation, x.Worker}
	src := f.sources[at]
	switch {
	case src == nil && len(f.sources) >= maxSources:
		return nil, fmt.Errorf("job %s: there are lines of too many workers", x.Job)
	case src == nil:
		src = &source{LineSource: x, file: f}
		f.sources[at] = src
	case src.Node != x.Node:
		return nil, fmt.Errorf("job %s: node %s speaks for worker %d of generation %d, which is on %s", x.Job, x.Node, x.Worker, x.Generation, src.Node)
	}
	return src, nil
}

// Add takes a line that was heard: it is kept when its turn has come, unless it is here
// already.
func (s *Store) Add(kind Kind, line api.LogLine) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src, err := s.source(api.LineSource{Job: line.Job, Generation: line.Generation, Node: line.Node, Worker: line.Worker, Kind: kind})
	if err != nil || s.closed {
		return err
	}
	before := src.size
	if s.held+len(raw) > maxHeld && line.Seq > src.have+1 {
		src.announce(line.Seq, time.Now()) // it will be asked for
		s.gap(src)
		return nil
	}
	out := src.line(numbered{line.Seq, raw}, time.Now())
	s.held += src.size - before
	return s.keep(src, out, nil)
}

// Mark takes in which lines there are.
func (s *Store) Mark(m api.LineMark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	src, err := s.source(m.LineSource)
	if err != nil || s.closed {
		return err
	}
	src.announce(m.Last, time.Now())
	if m.Ended && !src.ended {
		src.ended = true
		src.file.tell()
	}
	if src.missing() {
		s.gap(src)
	}
	return nil
}

// gap has a source asked. The lock is held.
func (s *Store) gap(src *source) {
	s.gaps[src] = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// keep writes the lines of a source whose turn has come and says which are lost. What
// cannot be written will be asked for again. The lock is held.
func (s *Store) keep(src *source, out []numbered, lost []span) error {
	for _, l := range lost {
		s.logger.Warn("lines of a job are gone: its node does not have them any more", "job", src.Job, "kind", src.Kind,
			"generation", src.Generation, "worker", src.Worker, "node", src.Node, "from", l.from, "to", l.to)
	}
	var err error
	for _, l := range out {
		if err = src.file.write(l.raw); err != nil {
			src.have, src.want = l.seq-1, max(src.want, l.seq)
			src.next = time.Now().Add(maxPause)
			break
		}
	}
	if len(out) > 0 {
		src.file.tell()
	}
	if src.missing() {
		s.gap(src)
	}
	return err
}

// tell wakes readers.
func (f *file) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// write appends a line, or counts it where the file is full.
func (f *file) write(raw []byte) error {
	if f.dropped > 0 || f.bytes+int64(len(raw)) > MaxBytes {
		f.dropped++
		return nil
	}
	if f.f == nil {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return err
		}
		var err error
		if f.f, err = os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return err
		}
	}
	if _, err := f.f.Write(append(slices.Clip(raw), '\n')); err != nil {
		return errors.Join(err, f.f.Truncate(f.bytes)) // a part of it may be there
	}
	f.counted(len(raw) + 1)
	return nil
}

// counted takes in that a line of so many bytes is in the file.
func (f *file) counted(size int) {
	if f.lines%offsetEvery == 0 {
		f.offsets = append(f.offsets, f.bytes)
	}
	f.lines++
	f.bytes += int64(size)
}

// Count returns how many lines of a job there are.
func (s *Store) Count(job string, kind Kind) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.file(key{job, kind})
	if err != nil {
		return 0, err
	}
	return f.lines, nil
}

// Read returns at most so many lines of a job from line number from on, counted
// from 0, and a channel that is closed when there are more.
func (s *Store) Read(job string, kind Kind, from, most int) ([]json.RawMessage, <-chan struct{}, error) {
	s.mu.Lock()
	f, err := s.file(key{job, kind})
	if err != nil {
		s.mu.Unlock()
		return nil, nil, err
	}
	lines, changed := f.lines, f.changed
	if from >= lines {
		s.mu.Unlock()
		return nil, changed, nil
	}
	from = max(from, 0)
	at := from / offsetEvery
	offset := f.offsets[at]
	s.mu.Unlock()
	r, err := os.Open(f.path)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return nil, nil, err
	}
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	var out []json.RawMessage
	for n := at * offsetEvery; n < lines && len(out) < most && scan.Scan(); n++ {
		if n >= from {
			out = append(out, bytes.Clone(scan.Bytes()))
		}
	}
	return out, changed, scan.Err()
}

// Keep removes the files of jobs that keep does not report true for.
func (s *Store) Keep(keep func(job string) bool) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	jobs := map[string]bool{}
	for _, e := range entries {
		jobs[e.Name()] = true
	}
	s.mu.Lock()
	for k := range s.files {
		jobs[k.job] = true
	}
	s.mu.Unlock()
	var errs []error
	for job := range jobs {
		if keep(job) {
			continue
		}
		s.mu.Lock()
		for _, kind := range []Kind{Events, Log} {
			if f := s.files[key{job, kind}]; f != nil {
				errs = append(errs, s.forget(f))
			}
			delete(s.files, key{job, kind})
		}
		s.mu.Unlock()
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, job)))
	}
	return errors.Join(errs...)
}

// forget closes a file and asks for nothing of it any more. The lock is held.
func (s *Store) forget(f *file) error {
	for _, src := range f.sources {
		delete(s.gaps, src)
		s.held -= src.size
	}
	f.tell()
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
