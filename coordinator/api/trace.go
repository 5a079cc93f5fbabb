package api

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// MaxSpans bounds what one trace holds.
const MaxSpans = 100_000

// Trace is what nodes know of one step: the answer to GET /v1/jobs/ID/trace.
type Trace struct {
	Job        string  `json:"job"`
	Generation int     `json:"generation"`
	Step       int     `json:"step"` // from 1
	TraceID    string  `json:"trace_id"`
	Sampled    bool    `json:"sampled"` // it went to a collector, where there is one
	Spans      []Span  `json:"spans"`   // by start
	Missing    []Taken `json:"missing,omitempty"`
}

// Taken names a node whose part is missing, and why.
type Taken struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Span is a part of a step that took time.
type Span struct {
	ID         string            `json:"span_id"`
	Parent     string            `json:"parent_span_id,omitempty"` // empty: of the trace itself
	Name       string            `json:"name"`
	Service    string            `json:"service"` // ressa-vision, ressa-language, …
	Node       string            `json:"node"`
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Links      []string          `json:"links,omitempty"` // span IDs: what it followed from on another node
	Error      string            `json:"error,omitempty"`
}

// TraceRequest asks a node, over the hub, for what it recorded of a step. The reply is a
// [Trace], with nothing missing.
type TraceRequest struct {
	Job        string `json:"job"`
	Generation int    `json:"generation,omitempty"` // 0: the newest that made the step
	Step       int    `json:"step,omitempty"`       // 0: the newest that is over
}

// Check verifies the request.
func (r TraceRequest) Check() error {
	if r.Generation < 0 {
		return fmt.Errorf("generation: found %d, want 1 or more, or 0 for the newest", r.Generation)
	}
	if r.Step < 0 {
		return fmt.Errorf("step: found %d, want 1 or more, or 0 for the newest", r.Step)
	}
	return nil
}

// Sort sorts the spans by their start, those that hold others first.
func (t *Trace) Sort() {
	slices.SortStableFunc(t.Spans, func(a, b Span) int { return cmp.Or(a.Start.Compare(b.Start), b.End.Compare(a.End)) })
}
