package telemetry

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Inject writes the span that ctx is in into the headers of a request, over HTTP or NATS,
// as W3C Trace Context. Outside of a span it writes nothing.
func Inject(ctx context.Context, header map[string][]string) {
	propagation.TraceContext{}.Inject(ctx, carrier(header))
}

// Extract returns a context whose spans are children of the one in a request's headers;
// ctx where there is none, or none that is well-formed.
func Extract(ctx context.Context, header map[string][]string) context.Context {
	from := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier(header)))
	if !from.IsValid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, from)
}

// carrier reads and writes headers by their canonical keys: those of NATS come as they
// were written.
type carrier map[string][]string

// Get implements [propagation.TextMapCarrier].
func (c carrier) Get(key string) string { return http.Header(c).Get(key) }

// Set implements [propagation.TextMapCarrier].
func (c carrier) Set(key, value string) { http.Header(c).Set(key, value) }

// Keys implements [propagation.TextMapCarrier].
func (c carrier) Keys() []string {
	var out []string
	for k := range c {
		out = append(out, k)
	}
	return out
}
