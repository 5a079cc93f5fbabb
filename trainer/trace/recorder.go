package trace

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api/telemetry"
)

// Config describes one worker of one generation of a job.
type Config struct {
	Job        string // its ID
	Generation int
	Node       string
	Worker     int // 0 begins the root
	Version    string
	// Every has one step in so many exported; 0 none but the slow and the failed.
	Every int
	// Keep is how many steps stay in memory.
	Keep int
	// Sink takes what is exported; nil exports nothing.
	Sink *telemetry.Sink
}

// Recorder records the steps of one worker. It is safe for concurrent use; steps come
// one after the other.
type Recorder struct {
	config  Config
	job     telemetry.Root
	tracers map[string]trace.Tracer // by role

	mu    sync.Mutex
	steps []*Step // the newest last
	pace  pace
}

// Step is one step that was or is recorded.
type Step struct {
	Number   int // from 1
	Root     telemetry.Root
	recorder *Recorder
	root     trace.Span // of worker 0
	began    time.Time

	// under the recorder's lock
	spans    []sdk.ReadOnlySpan
	over     bool // it was decided whether it is exported
	exported bool
}

// New returns a recorder.
func New(c Config) *Recorder {
	r := &Recorder{config: c, job: telemetry.JobRoot(c.Job), tracers: map[string]trace.Tracer{}}
	for role, name := range map[string]string{"": "ressa-trainer", "vision": "ressa-vision", "language": "ressa-language"} {
		r.tracers[role] = telemetry.Service{Name: name, Instance: c.Node, Version: c.Version}.Tracer(r.take)
	}
	return r
}

func (r *Recorder) tracer(role string) trace.Tracer {
	if t := r.tracers[role]; t != nil {
		return t
	}
	return r.tracers[""]
}

// Begin begins a step, counted from 1; the one before it is over. A nil recorder
// records nothing.
func (r *Recorder) Begin(ctx context.Context, step int) (context.Context, *Step) {
	if r == nil {
		return ctx, nil
	}
	r.Settle()
	s := &Step{Number: step, Root: telemetry.StepRoot(r.config.Job, r.config.Generation, step), recorder: r, began: time.Now()}
	r.mu.Lock()
	r.steps = append(r.steps, s)
	if n := len(r.steps) - max(1, r.config.Keep); n > 0 {
		clear(r.steps[:n])
		r.steps = r.steps[n:]
	}
	r.mu.Unlock()
	ctx = context.WithValue(ctx, key{}, r)
	if r.config.Worker != 0 {
		return s.Root.Under(ctx), s
	}
	ctx, s.root = r.tracer("").Start(s.Root.Begin(ctx), "step", trace.WithNewRoot(), trace.WithAttributes(r.attributes(step)...),
		trace.WithLinks(trace.Link{SpanContext: r.job.Context()}))
	return ctx, s
}

func (r *Recorder) attributes(step int) []attribute.KeyValue {
	return []attribute.KeyValue{telemetry.Job.String(r.config.Job), telemetry.Generation.Int(r.config.Generation), telemetry.Step.Int(step), telemetry.Node.String(r.config.Node)}
}

// Slow reports whether the step that ctx is in has taken unusually long so far.
func Slow(ctx context.Context) bool {
	r := of(ctx)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pace.slow(time.Since(r.steps[len(r.steps)-1].began))
}

// End ends the step. What follows it, such as its checkpoint, is part of its trace
// until the next one begins. slow is what the workers agreed on.
func (s *Step) End(slow bool, err error) {
	if s == nil {
		return
	}
	if s.root != nil {
		(&Span{s.root}).End(err)
	}
	r := s.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.pace.add(time.Since(s.began))
	}
	s.exported = slow || err != nil || r.config.Every > 0 && s.Number%r.config.Every == 0
}

// JobTrace returns the ID of the job's trace; empty without a recorder.
func (r *Recorder) JobTrace() string {
	if r == nil {
		return ""
	}
	return r.job.Trace.String()
}

// Phase begins the span of a phase in the job's trace, on worker 0.
func (r *Recorder) Phase(name, message string) *Span {
	if r == nil || r.config.Worker != 0 {
		return nil
	}
	ctx := r.job.Under(context.Background())
	_, s := r.tracer("").Start(ctx, name, trace.WithAttributes(telemetry.Job.String(r.config.Job), telemetry.Generation.Int(r.config.Generation),
		telemetry.Node.String(r.config.Node), attribute.String("ressa.message", message)))
	return &Span{s}
}

// Settle has the newest step exported, if it is to be; nothing is added to it from
// now on.
func (r *Recorder) Settle() {
	if r == nil {
		return
	}
	r.mu.Lock()
	var spans []sdk.ReadOnlySpan
	if n := len(r.steps); n > 0 && !r.steps[n-1].over {
		s := r.steps[n-1]
		if s.over = true; s.exported {
			spans = s.spans
		}
	}
	r.mu.Unlock()
	r.config.Sink.Put(spans...)
}

// take keeps a span that has ended, if its step is not over. Spans of the job go on
// at once.
func (r *Recorder) take(x sdk.ReadOnlySpan) {
	if x.SpanContext().TraceID() == r.job.Trace {
		r.config.Sink.Put(x)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.steps); n > 0 {
		if s := r.steps[n-1]; s.Root.Trace == x.SpanContext().TraceID() && !s.over {
			s.spans = append(s.spans, x)
		}
	}
}
