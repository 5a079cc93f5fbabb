package spans

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// Source is what is needed of the member. Package cluster implements it.
type Source interface {
	Watch() (*state.State, <-chan struct{})
	Leads() bool
	View() schedule.View
	Schedule() schedule.Config
}

// Config describes a member.
type Config struct {
	ID      string
	Version string // of Ressa
	Source  Source
	Logger  *slog.Logger
	Now     func() time.Time
	// Open returns where spans go for a job that names an address, or none; nil for
	// nowhere. Taking a span does not wait.
	Open func(ctx context.Context, address string) (Out, error)
}

// Out takes spans that have ended.
type Out interface {
	Take(sdk.ReadOnlySpan)
	Close(context.Context) error
}

// Run tells decisions until ctx ends.
func Run(ctx context.Context, c Config) {
	t := &teller{Config: c, outs: outs{config: c}}
	defer t.outs.close()
	now, changed := c.Source.Watch()
	seen := now.Index() // what was decided before is not this member's to tell
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		now, changed = c.Source.Watch()
		if c.Source.Leads() {
			t.tell(ctx, now, seen)
		}
		seen = now.Index()
	}
}

type teller struct {
	Config
	outs outs
}

// tell makes spans of what was decided about jobs after an index.
func (t *teller) tell(ctx context.Context, now *state.State, seen uint64) {
	past := now.History()
	first := len(past)
	for first > 0 && past[first-1].Index > seen {
		first--
	}
	planned := map[string]int{} // plans of a job that are still to come
	for _, d := range past[first:] {
		if d.Action == "planned" {
			planned[d.Job]++
		}
	}
	for _, d := range past[first:] {
		j := now.Job(d.Job)
		if j == nil {
			continue
		}
		if d.Action == "planned" {
			planned[d.Job]--
		}
		t.decision(ctx, j, d, planned[d.Job])
	}
}

// place is where in a job something happened.
type place struct{ generation, step int }

// at returns where the job was when later more plans were still to come: the step that
// was being made.
func (t *teller) at(j *state.Job, later int) place {
	p := place{j.Generation - later, j.Step}
	if c, ok := change(j, p.generation); ok {
		p.step = max(p.step, c.Step)
	}
	if later == 0 {
		p.step = max(p.step, schedule.Record(j, t.Source.View(), t.Source.Schedule(), "", "").Status.Step)
	}
	p.step++
	if n := j.Steps(); n > 0 {
		p.step = min(p.step, n) // training is over
	}
	return p
}

// hits returns the steps that a decision is about.
func (t *teller) hits(j *state.Job, d api.Decision, later int) []place {
	p := t.at(j, later)
	switch d.Action {
	case "planned":
		if p.generation > 1 {
			return []place{{p.generation - 1, t.at(j, later+1).step}}
		}
		return nil
	case "checkpoint":
		x := j.Checkpoint()
		return []place{{x.Generation, x.Step}}
	case "went-on":
		return nil // the recovery has them
	case "node-lost", "node-left", "reported", "unplanned", api.Cancelling, api.Failed, api.Cancelled:
		if p.generation > 0 {
			return []place{p}
		}
	}
	return nil
}

func links(job string, places []place) []trace.Link {
	var out []trace.Link
	for _, p := range places {
		if p.generation > 0 && p.step > 0 {
			out = append(out, trace.Link{SpanContext: telemetry.StepRoot(job, p.generation, p.step).Context(),
				Attributes: []attribute.KeyValue{telemetry.Generation.Int(p.generation), telemetry.Step.Int(p.step)}})
		}
	}
	return out
}

// decision makes the span of one entry of a job's history: from when it was proposed to
// when this member had applied it. A recovery, and the job as a whole, have spans of their own.
func (t *teller) decision(ctx context.Context, j *state.Job, d api.Decision, later int) {
	out := t.outs.of(ctx, j)
	if out == nil {
		return
	}
	attributes := []attribute.KeyValue{telemetry.Job.String(j.ID), telemetry.Generation.Int(j.Generation - later), attribute.String("ressa.reason", d.Reason), attribute.Int64("ressa.index", int64(d.Index))}
	if d.Node != "" {
		attributes = append(attributes, telemetry.Node.String(d.Node))
	}
	under := telemetry.JobRoot(j.ID).Under(ctx)
	span(under, out, d.Action, d.At, t.Now(), "", trace.WithAttributes(attributes...), trace.WithLinks(links(j.ID, t.hits(j, d, later))...))
	switch d.Action {
	case "went-on":
		if c, ok := change(j, j.Generation-later); ok {
			span(under, out, "recovery", c.CausedAt, c.WentOn, "", trace.WithAttributes(telemetry.Job.String(j.ID), telemetry.Generation.Int(c.Generation), telemetry.Node.String(c.Node),
				attribute.String("ressa.reason", c.Cause), attribute.String("ressa.from", c.From), attribute.Int("ressa.steps_lost", c.StepsLost)),
				trace.WithLinks(links(j.ID, []place{{c.Generation - 1, c.Step + c.StepsLost + 1}, {c.Generation, c.Step + 1}})...))
		}
	case api.Succeeded, api.Failed, api.Cancelled:
		failed := ""
		if d.Action == api.Failed {
			failed = d.Reason
		}
		span(telemetry.JobRoot(j.ID).Begin(ctx), out, "job", j.Submitted, j.Ended, failed, trace.WithNewRoot(), trace.WithAttributes(telemetry.Job.String(j.ID),
			attribute.String("ressa.name", j.Name), attribute.String("ressa.state", j.State), telemetry.Generation.Int(j.Generation)))
	}
}

// change returns how training went on in a generation of the job.
func change(j *state.Job, generation int) (api.Change, bool) {
	for _, c := range j.Changes {
		if c.Generation == generation {
			return c, true
		}
	}
	return api.Change{}, false
}

// span makes a span that is over. Clocks of two leaders may differ: none ends before it
// began.
func span(ctx context.Context, out *out, name string, from, to time.Time, failed string, o ...trace.SpanStartOption) {
	if to.Before(from) {
		to = from
	}
	_, s := out.tracer.Start(ctx, name, append(o, trace.WithTimestamp(from))...)
	if failed != "" {
		s.SetStatus(codes.Error, failed)
	}
	s.End(trace.WithTimestamp(to))
}
