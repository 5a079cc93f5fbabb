package trace

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Span is a part of a step that goes on. A nil one records nothing.
type Span struct{ span trace.Span }

type key struct{}

// of returns the recorder of the step that ctx is in; nil without one.
func of(ctx context.Context) *Recorder {
	r, _ := ctx.Value(key{}).(*Recorder)
	return r
}

// Begin begins a span of a role, vision, language or empty for the worker itself, in
// the step that ctx is in. It goes on in the context that is returned until End.
func Begin(ctx context.Context, role, name string, attributes ...attribute.KeyValue) (context.Context, *Span) {
	r := of(ctx)
	if r == nil {
		return ctx, nil
	}
	ctx, s := r.tracer(role).Start(ctx, name, trace.WithAttributes(attributes...))
	return ctx, &Span{s}
}

// In returns the span that ctx is in, to add to it.
func In(ctx context.Context) *Span {
	if of(ctx) == nil {
		return nil
	}
	return &Span{trace.SpanFromContext(ctx)}
}

// Set adds attributes.
func (s *Span) Set(attributes ...attribute.KeyValue) {
	if s != nil {
		s.span.SetAttributes(attributes...)
	}
}

// Follow links the span to one of another worker, whose context came with a message.
func (s *Span) Follow(carrier map[string]string) {
	if s == nil {
		return
	}
	from := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(carrier)))
	if from.IsValid() {
		s.span.AddLink(trace.Link{SpanContext: from})
		s.span.SetAttributes(attribute.String(linked, from.SpanID().String()))
	}
}

const linked = "ressa.follows" // for stores that do not show links

// End ends the span; an error is why.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.span.RecordError(err)
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Carrier returns the context of the span that ctx is in, to travel with a message;
// nil outside of a step.
func Carrier(ctx context.Context) map[string]string {
	if of(ctx) == nil {
		return nil
	}
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	return c
}
