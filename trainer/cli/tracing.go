package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otrace "go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/trainer/trace"
)

const (
	// keptSteps is how many steps of a job can be looked at afterwards.
	keptSteps = 64
	// keptGenerations is of how many generations a node keeps them.
	keptGenerations = 4
	// lastSpans is how long a process that ends waits for a collector to take its spans.
	lastSpans = 3 * time.Second
)

// openSink opens where the spans of a job go; nil for nowhere.
func openSink(ctx context.Context, j api.Job, log *slog.Logger) (*telemetry.Sink, error) {
	c := telemetry.DefaultConfig()
	c.Address, c.Logger = j.Trace.Endpoint, log
	s, err := telemetry.Open(ctx, c)
	if err != nil {
		return nil, api.Invalid(fmt.Errorf("traces: %w", err))
	}
	return s, nil
}

// closeSink gives the last spans some time to be delivered.
func closeSink(s *telemetry.Sink, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		log.Debug("last traces not delivered", "error", err)
	}
	if n := s.Counts().Dropped; n > 0 {
		log.Warn("some spans were not delivered", "dropped", n, "delivered", s.Counts().Delivered)
	}
}

// traced runs a job of this process alone with a recorder, under the root of its
// trace.
func (l Launch) traced(ctx context.Context, j api.Job, run func(*trace.Recorder) (api.Result, error)) (api.Result, error) {
	sink, err := openSink(ctx, j, l.Log)
	if err != nil {
		return api.Result{}, err
	}
	defer closeSink(sink, l.Log)
	id := strings.ToLower(rand.Text()[:8])
	tracer := telemetry.Service{Name: "ressa-cli", Instance: "local", Version: l.Version}.Tracer(sink.Take)
	_, root := tracer.Start(telemetry.JobRoot(id).Begin(ctx), "job", otrace.WithNewRoot(), otrace.WithAttributes(telemetry.Job.String(id), attribute.String("ressa.name", j.Name)))
	defer root.End()
	return run(trace.New(trace.Config{Job: id, Generation: 1, Node: "local", Version: l.Version, Every: j.Trace.Every, Keep: keptSteps, Sink: sink}))
}

// sinks are those of the jobs that a node works on, by address. One that nobody uses any
// more is closed beside the work, so that no job waits for a collector at its end, and
// only what jobs name now is open.
type sinks struct {
	mu      sync.Mutex
	open    map[string]*sharedSink
	closing sync.WaitGroup
}

type sharedSink struct {
	sink  *telemetry.Sink
	users int
}

// of returns the sink of a job, and what gives it back. log is the job's, own the node's.
func (s *sinks) of(ctx context.Context, j api.Job, log, own *slog.Logger) (*telemetry.Sink, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	address := j.Trace.Endpoint
	x := s.open[address]
	if x == nil {
		sink, err := openSink(ctx, j, log)
		if err != nil { // of the node's own variables: the job goes on
			log.Warn("no traces", "error", err)
		}
		if s.open == nil {
			s.open = map[string]*sharedSink{}
		}
		x = &sharedSink{sink: sink}
		s.open[address] = x
	}
	x.users++
	return x.sink, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if x.users--; x.users == 0 && s.open[address] == x {
			delete(s.open, address)
			s.closing.Go(func() { closeSink(x.sink, own) })
		}
	}
}

// close closes what is open, also of work that hangs, and waits for all that is closed.
func (s *sinks) close(own *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.open {
		s.closing.Go(func() { closeSink(x.sink, own) })
	}
	clear(s.open)
	s.closing.Wait()
}
