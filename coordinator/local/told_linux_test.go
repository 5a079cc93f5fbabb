package local_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"ressa/coordinator/api"
)

// told are the events of a followed repair.
type told struct {
	mu     sync.Mutex
	steps  []api.Step
	phase  string
	result api.Result
	stderr bytes.Buffer
	ended  chan error
}

// follow starts a verb that follows a job, at a site, and reads what it tells.
func (s *storm) follow(site int, args ...string) *told {
	s.t.Helper()
	f := &told{ended: make(chan error, 1)}
	cmd := s.command(context.Background(), s.sites[site], append(args, "-o", "json")...)
	cmd.Stderr = &f.stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break // how it ended is what counts
			}
			f.take(line)
		}
		f.ended <- cmd.Wait()
	}()
	return f
}

func (f *told) take(line []byte) {
	var e api.Event
	if json.Unmarshal(line, &e) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e.Event {
	case "step":
		f.steps = append(f.steps, *e.Step)
	case "phase":
		f.phase = e.Phase
	case "result":
		_ = json.Unmarshal(line, &f.result) // what is missing is told by the checks
	}
}

// step returns the highest step that was told so far.
func (f *told) step() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.steps {
		n = max(n, s.Step)
	}
	return n
}

// at returns the phase that was told last.
func (f *told) at() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.phase
}

// over reports whether it has ended.
func (f *told) over() bool { return len(f.ended) > 0 }

// reach waits until a step was told.
func (s *storm) reach(f *told, step int) {
	s.t.Helper()
	for end := time.Now().Add(90 * time.Second); f.step() < step; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("step %d of %d was told, nothing more for long: %s", f.step(), step, f.stderr.String())
		}
	}
}

// undisturbed runs the job in one process, for comparison.
func (s *storm) undisturbed(steps int) *told {
	s.t.Helper()
	f := s.follow(0, "repair", "job.yaml", "--coordinator", "", "--output", "alone")
	if err := <-f.ended; err != nil || len(f.steps) != steps {
		s.t.Fatalf("undisturbed: %v, %d steps: %s", err, len(f.steps), f.stderr.String())
	}
	return f
}
