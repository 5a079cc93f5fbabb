package telemetry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Root is the first span of a trace, known before it has begun.
type Root struct {
	Trace trace.TraceID
	Span  trace.SpanID
}

// StepRoot is the root of a step's trace. Steps count from 1, as in reports; a step
// that another generation makes again has a trace of its own.
func StepRoot(job string, generation, step int) Root { return root("step", job, generation, step) }

// JobRoot is the root of a job's trace: what the cluster decides about it, and its
// phases.
func JobRoot(job string) Root { return root("job", job, 0, 0) }

func root(what, job string, generation, step int) Root {
	text := append([]byte("ressa "+what+" "+job), 0)
	text = binary.BigEndian.AppendUint64(text, uint64(generation))
	text = binary.BigEndian.AppendUint64(text, uint64(step))
	sum := sha256.Sum256(text)
	return Root{trace.TraceID(sum[:16]), trace.SpanID(sum[16:24])}
}

// Context returns the span's context as others refer to it.
func (r Root) Context() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: r.Trace, SpanID: r.Span, TraceFlags: trace.FlagsSampled, Remote: true})
}

// Under returns a context whose spans are the root's children, whoever began it.
func (r Root) Under(ctx context.Context) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, r.Context())
}

type rootKey struct{}

// Begin returns a context in which the next span that starts with WithNewRoot is
// this root itself.
func (r Root) Begin(ctx context.Context) context.Context {
	return context.WithValue(ctx, rootKey{}, r)
}

// ids gives spans their numbers.
type ids struct{}

var _ sdk.IDGenerator = ids{}

// NewIDs implements [sdk.IDGenerator].
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if r, ok := ctx.Value(rootKey{}).(Root); ok {
		return r.Trace, r.Span
	}
	var t trace.TraceID
	_, _ = rand.Read(t[:]) // it never fails
	return t, newSpan()
}

// NewSpanID implements [sdk.IDGenerator].
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID { return newSpan() }

func newSpan() (s trace.SpanID) {
	_, _ = rand.Read(s[:])
	return s
}

// Fresh returns a root that nobody else knows, for requests that belong to no job.
func Fresh() (r Root) {
	_, _ = rand.Read(r.Trace[:]) // it never fails
	r.Span = newSpan()
	return r
}

// Unrecorded returns a context whose requests carry the root, though nobody records it.
func (r Root) Unrecorded(ctx context.Context) context.Context {
	return trace.ContextWithRemoteSpanContext(ctx, r.Context().WithTraceFlags(0))
}
