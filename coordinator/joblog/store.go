package joblog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// Kind says which of a job's files is meant.
type Kind string

// The files of a job.
const (
	Events Kind = "events"
	Log    Kind = "log"
)

// MaxBytes bounds a job's file of one kind.
const MaxBytes = 64 << 20

// maxLine bounds one line.
const maxLine = api.MaxHubPayload

// Store keeps the lines. It is safe for concurrent use.
type Store struct {
	dir    string
	logger *slog.Logger
	subs   []*nats.Subscription

	mu    sync.Mutex
	files map[key]*file
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
	dropped int // lines that came after the bound
	seen    map[source]uint64
	changed chan struct{} // closed at the next line
	f       *os.File
}

type source struct{ generation, worker int }

// Open returns the store of a folder.
func Open(dir string, l *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("job logs: %w", err)
	}
	return &Store{dir: dir, logger: l, files: map[key]*file{}}, nil
}

// Listen keeps what arrives over the hub until Close.
func (s *Store) Listen(hub *nats.Conn) error {
	for subject, kind := range map[string]Kind{api.LogSubject("*"): Log, api.EventSubject("*"): Events} {
		sub, err := hub.Subscribe(subject, func(m *nats.Msg) {
			var line api.LogLine
			if err := json.Unmarshal(m.Data, &line); err != nil {
				s.logger.Warn("line of a job not kept", "subject", m.Subject, "error", err)
				return
			}
			if strings.Split(m.Subject, ".")[2] != line.Job {
				s.logger.Warn("line of a job not kept: it names another", "subject", m.Subject)
				return
			}
			if err := s.Add(kind, line); err != nil {
				s.logger.Warn("line of a job not kept", "job", line.Job, "error", err)
			}
		})
		if err != nil {
			return fmt.Errorf("job logs: %w", err)
		}
		s.subs = append(s.subs, sub)
	}
	return nil
}

// Close ends Listen and closes the files.
func (s *Store) Close() error {
	var errs []error
	for _, sub := range s.subs {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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
	f := &file{path: filepath.Join(s.dir, k.job, string(k.kind)+".jsonl"), seen: map[source]uint64{}, changed: make(chan struct{})}
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
	f.bytes = int64(len(raw))
	for line := range bytes.Lines(raw) {
		f.lines++
		var l api.LogLine
		if json.Unmarshal(line, &l) == nil {
			at := source{l.Generation, l.Worker}
			f.seen[at] = max(f.seen[at], l.Seq)
		}
	}
	s.files[k] = f
	return f, nil
}

// Add keeps a line, unless it is here already.
func (s *Store) Add(kind Kind, line api.LogLine) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.file(key{line.Job, kind})
	if err != nil {
		return err
	}
	at := source{line.Generation, line.Worker}
	if line.Seq <= f.seen[at] {
		return nil
	}
	f.seen[at] = line.Seq
	if f.bytes+int64(len(raw)) > MaxBytes {
		f.dropped++
		return nil
	}
	if f.f == nil {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return err
		}
		if f.f, err = os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return err
		}
	}
	if _, err := f.f.Write(append(raw, '\n')); err != nil {
		return err
	}
	f.bytes += int64(len(raw)) + 1
	f.lines++
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
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
	s.mu.Unlock()
	if from >= lines {
		return nil, changed, nil
	}
	r, err := os.Open(f.path)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 64<<10), maxLine)
	var out []json.RawMessage
	for n := 0; n < lines && len(out) < most && scan.Scan(); n++ {
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
	var errs []error
	for _, e := range entries {
		if keep(e.Name()) {
			continue
		}
		s.mu.Lock()
		for _, kind := range []Kind{Events, Log} {
			if f := s.files[key{e.Name(), kind}]; f != nil && f.f != nil {
				errs = append(errs, f.f.Close())
			}
			delete(s.files, key{e.Name(), kind})
		}
		s.mu.Unlock()
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	return errors.Join(errs...)
}
