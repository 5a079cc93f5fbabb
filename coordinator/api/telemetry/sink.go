package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Config says where spans go and how many wait.
type Config struct {
	// Address of a collector, as api.CheckCollector takes it; empty for that of OTEL_*.
	Address string
	// Queue is how many spans may wait, Batch how many go at once, Delay how long
	// they wait for others, and Timeout how long one delivery may take.
	Queue, Batch   int
	Delay, Timeout time.Duration
	Logger         *slog.Logger
}

// DefaultConfig returns the defaults of the OpenTelemetry specification, with a longer
// queue: a step ends with hundreds of spans at once.
func DefaultConfig() Config {
	return Config{Queue: 16384, Batch: 512, Delay: time.Second, Timeout: 10 * time.Second, Logger: slog.Default()}
}

// Sink takes spans to a collector, beside the work. It is safe for concurrent use; a
// nil one drops everything.
type Sink struct {
	config   Config
	exporter sdk.SpanExporter
	queue    chan sdk.ReadOnlySpan
	stop     context.CancelFunc
	done     chan struct{}
	once     sync.Once
	closed   atomic.Bool

	given, delivered, dropped atomic.Int64
}

// Counts are what became of the spans of a sink.
type Counts struct {
	Given     int64 // to Put
	Delivered int64 // a collector took them
	Dropped   int64 // the queue was full, or a delivery failed
	Waiting   int
}

// Open returns a sink, or nil where spans have nowhere to go. Close ends it.
func Open(ctx context.Context, c Config) (*Sink, error) {
	e, err := open(ctx, c.Address)
	if err != nil || e == nil {
		return nil, err
	}
	return start(c, e), nil
}

func start(c Config, e sdk.SpanExporter) *Sink {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sink{config: c, exporter: e, queue: make(chan sdk.ReadOnlySpan, c.Queue), stop: cancel, done: make(chan struct{})}
	go s.run(ctx)
	return s
}

// Put hands spans over. It never waits.
func (s *Sink) Put(spans ...sdk.ReadOnlySpan) {
	if s == nil {
		return
	}
	s.given.Add(int64(len(spans)))
	for i, x := range spans {
		if s.closed.Load() {
			s.dropped.Add(int64(len(spans) - i))
			return
		}
		select {
		case s.queue <- x:
		default:
			s.dropped.Add(1)
		}
	}
}

// Take is Put of one span, for a tracer whose spans all go.
func (s *Sink) Take(x sdk.ReadOnlySpan) { s.Put(x) }

// Counts returns what has become of the spans so far.
func (s *Sink) Counts() Counts {
	if s == nil {
		return Counts{}
	}
	return Counts{s.given.Load(), s.delivered.Load(), s.dropped.Load(), len(s.queue)}
}

// run delivers until it is stopped, and then what is left, once.
func (s *Sink) run(ctx context.Context) {
	defer close(s.done)
	failing := false
	for {
		batch := s.gather(ctx)
		if len(batch) > 0 {
			err := s.deliver(batch)
			if err != nil && !failing {
				s.config.Logger.Warn("traces are not delivered", "error", err)
			} else if err == nil && failing {
				s.config.Logger.Info("traces are delivered again", "dropped", s.dropped.Load())
			}
			failing = err != nil
		}
		if ctx.Err() != nil && (len(s.queue) == 0 || failing) {
			for len(s.queue) > 0 {
				<-s.queue
				s.dropped.Add(1)
			}
			return
		}
	}
}

// gather returns the next batch: as many as there are after a delay.
func (s *Sink) gather(ctx context.Context) []sdk.ReadOnlySpan {
	var batch []sdk.ReadOnlySpan
	timer := time.NewTimer(s.config.Delay)
	defer timer.Stop()
	for len(batch) < s.config.Batch {
		select {
		case x := <-s.queue:
			batch = append(batch, x)
			continue
		default:
		}
		select {
		case x := <-s.queue:
			batch = append(batch, x)
		case <-timer.C:
			if len(batch) > 0 {
				return batch
			}
			timer.Reset(s.config.Delay)
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func (s *Sink) deliver(batch []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Timeout)
	defer cancel()
	err := s.exporter.ExportSpans(ctx, batch)
	if err != nil {
		s.dropped.Add(int64(len(batch)))
	} else {
		s.delivered.Add(int64(len(batch)))
	}
	return err
}

// Close delivers what waits, as long as ctx allows, and ends the sink.
func (s *Sink) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	var err error
	s.once.Do(func() {
		s.closed.Store(true)
		s.stop()
		select {
		case <-s.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		err = errors.Join(err, s.exporter.Shutdown(ctx))
	})
	return err
}

// Quiet has the OpenTelemetry libraries report to a logger what they would write to
// standard error.
func Quiet(log *slog.Logger) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("OpenTelemetry", "error", err) }))
}
