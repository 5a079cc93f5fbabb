package waterfall

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"ressa/coordinator/api"
)

// Row is one span at its place.
type Row struct {
	api.Span
	Depth    int  // ancestors on the same node, but for the step itself
	Critical bool // it is on the critical path
}

// Group are the spans of one node, children behind their parents.
type Group struct {
	Node string
	Rows []Row
}

// Chart is a trace as it is shown.
type Chart struct {
	Begin, End time.Time // of all spans
	Step       *api.Span // the root; nil where it is missing
	Groups     []Group   // by node
	Path       []string  // IDs of the critical path's spans, in the order of time
}

// Of lays out a trace.
func Of(t api.Trace) Chart {
	c := Chart{}
	spans := slices.Clone(t.Spans)
	known := make(map[string]*api.Span, len(spans))
	for i := range spans {
		s := &spans[i]
		known[s.ID] = s
		if c.Begin.IsZero() || s.Start.Before(c.Begin) {
			c.Begin = s.Start
		}
		if s.End.After(c.End) {
			c.End = s.End
		}
		if s.Parent == "" && s.Name == "step" {
			c.Step = s
		}
	}
	c.Path = critical(spans, known)
	on := map[string]bool{}
	for _, id := range c.Path {
		on[id] = true
	}
	groups := map[string][]Row{}
	for i := range spans {
		s := spans[i]
		groups[s.Node] = append(groups[s.Node], Row{Span: s, Depth: depth(&s, known, 0), Critical: on[s.ID]})
	}
	for node, rows := range groups {
		c.Groups = append(c.Groups, Group{node, nested(rows)})
	}
	slices.SortFunc(c.Groups, func(a, b Group) int { // t2 before t10
		return cmp.Or(cmp.Compare(len(a.Node), len(b.Node)), cmp.Compare(a.Node, b.Node))
	})
	return c
}

// deepest bounds how far a span is followed up: a loop has an end.
const deepest = 8

// depth counts the span's ancestors on the same node: others are shown elsewhere.
func depth(s *api.Span, known map[string]*api.Span, from int) int {
	p := known[s.Parent]
	if p == nil || from >= deepest {
		return 0
	}
	d := depth(p, known, from+1)
	if p.Node == s.Node && p.Parent != "" {
		d++
	}
	return d
}

// nested orders rows by start, with children behind their parents.
func nested(rows []Row) []Row {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Depth, b.Depth), b.End.Compare(a.End), cmp.Compare(a.ID, b.ID))
	})
	in := map[string]bool{}
	for _, r := range rows {
		in[r.ID] = true
	}
	children := map[string][]Row{}
	var top []Row
	for _, r := range rows {
		if r.Depth > 0 && in[r.Parent] && r.Parent != r.ID {
			children[r.Parent] = append(children[r.Parent], r)
			continue
		}
		top = append(top, r)
	}
	out := make([]Row, 0, len(rows))
	placed := map[string]bool{}
	var put func(r Row)
	put = func(r Row) {
		if placed[r.ID] {
			return
		}
		placed[r.ID] = true
		out = append(out, r)
		below := children[r.ID]
		delete(children, r.ID)
		for _, c := range below {
			put(c)
		}
	}
	for _, r := range top {
		put(r)
	}
	for _, r := range rows { // that are their own ancestors
		put(r)
	}
	return out
}

// Attribute returns an attribute that is a number.
func Attribute(s api.Span, key string) (int64, bool) {
	n, err := strconv.ParseInt(s.Attributes[key], 10, 64)
	return n, err == nil
}
