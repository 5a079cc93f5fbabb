package jaeger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// ErrNotFound is wrapped by the error of a trace that Jaeger does not have.
var ErrNotFound = errors.New("no such trace")

const (
	wait    = 10 * time.Second
	maxBody = 128 << 20
)

// Jaeger is one whose query API is called.
type Jaeger struct {
	url  string
	http *http.Client
}

// New returns the Jaeger at an URL, without its path. It does not connect yet.
func New(address string) (*Jaeger, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("found %q, want http://HOST:PORT or https://HOST:PORT", address)
	}
	return &Jaeger{strings.TrimSuffix(u.String(), "/"), &http.Client{Timeout: wait}}, nil
}

// Step returns the trace of a step.
func (j *Jaeger) Step(ctx context.Context, job string, generation, step int) (api.Trace, error) {
	out := api.Trace{Job: job, Generation: generation, Step: step, TraceID: telemetry.StepRoot(job, generation, step).Trace.String(), Sampled: true}
	var err error
	if out.Spans, err = j.Spans(ctx, out.TraceID); err != nil {
		return api.Trace{}, fmt.Errorf("step %d of generation %d of job %s: %w", step, generation, job, err)
	}
	out.Sort()
	return out, nil
}

// Spans returns the spans of a trace, in the order of the answer.
func (j *Jaeger) Spans(ctx context.Context, traceID string) ([]api.Span, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url+"/api/traces/"+url.PathEscape(traceID), nil)
	if err != nil {
		return nil, err
	}
	resp, err := j.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("jaeger: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("jaeger at %s: %w %s: it was not sampled (trace.every), is not there yet, or any more", j.url, ErrNotFound, traceID)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("jaeger at %s answered %s", j.url, resp.Status)
	}
	var body answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&body); err != nil {
		return nil, fmt.Errorf("jaeger at %s: %w", j.url, err)
	}
	if len(body.Data) == 0 {
		return nil, fmt.Errorf("jaeger at %s: %w %s", j.url, ErrNotFound, traceID)
	}
	return body.Data[0].spans(traceID)
}

// answer is what /api/traces/ID says, as far as it is read.
type answer struct {
	Data []trace `json:"data"`
}

type trace struct {
	TraceID   string             `json:"traceID"`
	Spans     []span             `json:"spans"`
	Processes map[string]process `json:"processes"`
}

type process struct {
	ServiceName string `json:"serviceName"`
	Tags        []tag  `json:"tags"`
}

type span struct {
	SpanID        string      `json:"spanID"`
	OperationName string      `json:"operationName"`
	References    []reference `json:"references"`
	StartTime     int64       `json:"startTime"` // µs
	Duration      int64       `json:"duration"`  // µs
	Tags          []tag       `json:"tags"`
	ProcessID     string      `json:"processID"`
}

type reference struct {
	RefType string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

type tag struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

func (t trace) spans(id string) ([]api.Span, error) {
	if len(t.Spans) > api.MaxSpans {
		return nil, fmt.Errorf("jaeger: trace %s has %d spans, want at most %d", id, len(t.Spans), api.MaxSpans)
	}
	out := make([]api.Span, 0, len(t.Spans))
	for _, x := range t.Spans {
		if x.Duration < 0 {
			return nil, fmt.Errorf("jaeger: span %q of trace %s lasts %d µs", x.OperationName, id, x.Duration)
		}
		p := t.Processes[x.ProcessID]
		s := api.Span{ID: x.SpanID, Name: x.OperationName, Service: p.ServiceName, Start: time.UnixMicro(x.StartTime).UTC(), Attributes: map[string]string{}}
		s.End = s.Start.Add(time.Duration(x.Duration) * time.Microsecond)
		for _, g := range p.Tags {
			if g.Key == "service.instance.id" {
				s.Node = fmt.Sprint(g.Value)
			}
		}
		for _, g := range x.Tags {
			text := fmt.Sprint(g.Value)
			switch {
			case g.Key == "otel.status_description":
				s.Error = text
			case strings.HasPrefix(g.Key, "ressa."):
				s.Attributes[g.Key] = number(g.Value)
			}
		}
		for _, r := range x.References {
			switch {
			case r.RefType == "CHILD_OF" && r.TraceID == t.TraceID:
				s.Parent = r.SpanID
			default:
				s.Links = append(s.Links, r.SpanID)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// number words a value of JSON as the attribute that it was.
func number(v any) string {
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		return fmt.Sprint(int64(f))
	}
	return fmt.Sprint(v)
}
