package telemetry

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector that takes OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string]string // service/name to trace ID
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{spans: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body := io.Reader(q.Body)
		if q.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		raw, err := io.ReadAll(body)
		var x collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(raw, &x)
		}
		if err != nil || q.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", q.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range x.ResourceSpans {
			service := ""
			for _, a := range rs.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					r.spans[service+"/"+s.Name] = trace.TraceID(s.TraceId).String()
				}
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func quick(address string) Config {
	c := DefaultConfig()
	c.Address, c.Delay, c.Timeout, c.Logger = address, 5*time.Millisecond, 200*time.Millisecond, slog.New(slog.DiscardHandler)
	return c
}

// unset clears the variables that say where spans go.
func unset(t *testing.T) {
	for _, v := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"} {
		t.Setenv(v, "")
	}
}

func TestSpansAreDelivered(t *testing.T) {
	unset(t)
	r := newReceiver(t)
	for _, c := range []struct{ name, address, variable, value string }{
		{"the job's address", r.URL, "", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "", "OTEL_EXPORTER_OTLP_ENDPOINT", r.URL},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
			t.Setenv("OTEL_SERVICE_NAME", "the-users") // services are named by role
			s, err := Open(t.Context(), quick(c.address))
			if err != nil || s == nil {
				t.Fatal(s, err)
			}
			tracer := Service{Name: "ressa-vision", Instance: "t1", Version: "1"}.Tracer(s.Take)
			root := StepRoot("job", 2, 7)
			_, span := tracer.Start(root.Begin(t.Context()), c.name, trace.WithNewRoot())
			if span.SpanContext().TraceID() != root.Trace || span.SpanContext().SpanID() != root.Span {
				t.Errorf("the root is %v", span.SpanContext())
			}
			_, child := tracer.Start(root.Under(t.Context()), c.name+" child")
			child.End()
			span.End()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := s.Close(ctx); err != nil {
				t.Error(err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, name := range []string{"ressa-vision/" + c.name, "ressa-vision/" + c.name + " child"} {
				if r.spans[name] != root.Trace.String() {
					t.Errorf("%s came in trace %q, want %v: %v", name, r.spans[name], root.Trace, r.spans)
				}
			}
			if n := s.Counts(); n != (Counts{Given: 2, Delivered: 2}) {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A collector that does not answer costs spans and no time.
func TestAHungCollectorDelaysNothing(t *testing.T) {
	unset(t)
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	c := quick(server.URL)
	c.Queue, c.Batch = 8, 4
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	tracer := Service{Name: "ressa-vision"}.Tracer(s.Take)
	began := time.Now()
	for range 1000 {
		_, span := tracer.Start(t.Context(), "x")
		span.End()
	}
	if took := time.Since(began); took > c.Timeout {
		t.Errorf("1000 spans took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_ = s.Close(ctx)
	if n := s.Counts(); n.Delivered != 0 || n.Dropped != 1000 || n.Waiting != 0 {
		t.Errorf("%+v, want all dropped", n)
	}
	s.Put() // after the end
}

func TestSpansStayHere(t *testing.T) {
	unset(t)
	for name, set := range map[string][2]string{
		"nothing set":              {},
		"OTEL_TRACES_EXPORTER":     {"OTEL_TRACES_EXPORTER", "none"},
		"OTEL_SDK_DISABLED (true)": {"OTEL_SDK_DISABLED", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			if set[0] != "" {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
				t.Setenv(set[0], set[1])
			}
			s, err := Open(t.Context(), quick(""))
			if s != nil || err != nil {
				t.Error(s, err)
			}
			s.Put()
			if err := s.Close(t.Context()); err != nil || s.Counts() != (Counts{}) {
				t.Error(err)
			}
		})
	}
}

func TestVariablesThatAreWrong(t *testing.T) {
	for name, value := range map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"} {
		unset(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv(name, value)
		if _, err := Open(t.Context(), quick("")); err == nil || !strings.Contains(err.Error(), name+": found") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRootsDiffer(t *testing.T) {
	seen := map[Root]string{}
	for name, r := range map[string]Root{"a": StepRoot("j", 1, 1), "b": StepRoot("j", 1, 2), "c": StepRoot("j", 2, 1), "d": StepRoot("k", 1, 1), "e": JobRoot("j"), "f": JobRoot("k")} {
		if other, ok := seen[r]; ok || !r.Context().IsValid() {
			t.Errorf("%s is %s: %v", name, other, r)
		}
		seen[r] = name
	}
	if _, ok := seen[StepRoot("j", 1, 1)]; !ok {
		t.Error("not the same twice")
	}
}
