package trace

import (
	"slices"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"ressa/coordinator/api"
)

// Read returns what this worker recorded of a step; 0 is the newest that is over. It
// reports whether the step is still in memory.
func (r *Recorder) Read(step int) (api.Trace, bool) {
	if r == nil {
		return api.Trace{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.steps) {
		if step != 0 && s.Number != step || step == 0 && !s.over {
			continue
		}
		t := api.Trace{Job: r.config.Job, Generation: r.config.Generation, Step: s.Number, TraceID: s.Root.Trace.String(), Sampled: s.exported}
		for _, x := range s.spans {
			t.Spans = append(t.Spans, spanOf(x))
		}
		t.Sort()
		return t, true
	}
	return api.Trace{}, false
}

func spanOf(x sdk.ReadOnlySpan) api.Span {
	s := api.Span{ID: x.SpanContext().SpanID().String(), Name: x.Name(), Start: x.StartTime(), End: x.EndTime(), Attributes: map[string]string{}}
	if x.Parent().HasSpanID() {
		s.Parent = x.Parent().SpanID().String()
	}
	for _, a := range x.Attributes() {
		s.Attributes[string(a.Key)] = a.Value.String()
	}
	for _, a := range x.Resource().Attributes() {
		switch a.Key {
		case semconv.ServiceNameKey:
			s.Service = a.Value.AsString()
		case semconv.ServiceInstanceIDKey:
			s.Node = a.Value.AsString()
		}
	}
	for _, l := range x.Links() {
		s.Links = append(s.Links, l.SpanContext.SpanID().String())
	}
	if x.Status().Code == codes.Error {
		s.Error = x.Status().Description
	}
	return s
}
