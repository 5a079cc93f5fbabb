package api

import "time"

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

// Taken names a node whose spans are not in a trace, and why.
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
