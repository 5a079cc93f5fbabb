package telemetry

import (
	"context"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

func TestContextTravelsInHeaders(t *testing.T) {
	root := StepRoot("job", 1, 2)
	h := http.Header{}
	Inject(root.Under(t.Context()), h)
	got := trace.SpanContextFromContext(Extract(context.Background(), h))
	if got.TraceID() != root.Trace || got.SpanID() != root.Span || !got.IsRemote() || h.Get("traceparent") == "" {
		t.Errorf("%v from %v", got, h)
	}
	Inject(t.Context(), http.Header{})
	for _, bad := range []string{"", "nonsense", "00-00000000000000000000000000000000-0000000000000000-01"} {
		if ctx := Extract(t.Context(), http.Header{"Traceparent": {bad}}); ctx != t.Context() {
			t.Errorf("%q leads to %v", bad, trace.SpanContextFromContext(ctx))
		}
	}
}
