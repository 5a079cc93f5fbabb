package waterfall

import (
	"cmp"
	"slices"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

const (
	// skew is how much later than the step, by the clocks of two nodes, a span of it may
	// seem to end.
	skew = 2 * time.Millisecond
	// short is what takes no time: what was received within it had been there before, and
	// what overlaps by less came one after the other.
	short = 200 * time.Microsecond
)

// critical returns the chain of spans that decided when the step ended, in the order of
// time: leaves of the trace, each of which waited for the one before.
//
// It is followed back from what ended last. What received something waited for what sent
// it, if that took time and the sending had not ended when it began; what all workers of a tower do
// together waited for who came last, and an update for the last sum; anything else for what ended last before it began,
// within the same microbatch if possible, else on the same node.
func critical(spans []api.Span, known map[string]*api.Span) []string {
	parents := map[string]bool{}
	for i := range spans {
		if spans[i].Parent != "" {
			parents[spans[i].Parent] = true
		}
	}
	t := walker{known: known, byParent: map[string][]*api.Span{}, byNode: map[string][]*api.Span{}, together: map[string][]*api.Span{}}
	var last *api.Span
	var end time.Time
	for i := range spans {
		if s := &spans[i]; s.Parent == "" && s.Name == "step" {
			end = s.End
		}
	}
	for i := range spans {
		s := &spans[i]
		if parents[s.ID] || s.Parent == "" {
			continue
		}
		t.byParent[s.Parent] = append(t.byParent[s.Parent], s)
		t.byNode[s.Node] = append(t.byNode[s.Node], s)
		if s.Name == "allreduce" {
			k := s.Attributes[string(telemetry.Tower)]
			t.together[k] = append(t.together[k], s)
		}
		// A checkpoint comes behind the step's end.
		if (end.IsZero() || !s.End.After(end.Add(skew))) && (last == nil || s.End.After(last.End)) {
			last = s
		}
	}
	for _, list := range []map[string][]*api.Span{t.byParent, t.byNode} {
		for _, l := range list {
			slices.SortFunc(l, func(a, b *api.Span) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.ID, b.ID)) })
		}
	}
	var out []string
	seen := map[string]bool{}
	for s := last; s != nil && !seen[s.ID]; s = t.before(s) {
		seen[s.ID] = true
		out = append(out, s.ID)
	}
	slices.Reverse(out)
	return out
}

// walker finds what a span waited for. Lists are sorted by end.
type walker struct {
	known            map[string]*api.Span
	byParent, byNode map[string][]*api.Span
	together         map[string][]*api.Span // by tower
}

// before returns what a span waited for; nil for nothing that is known.
func (t *walker) before(s *api.Span) *api.Span {
	for _, id := range s.Links {
		if from := t.known[id]; from != nil && from.Node != s.Node && s.End.Sub(s.Start) > short && from.End.After(s.Start) && from.Start.Before(s.End) {
			return from
		}
	}
	begin := s
	if s.Name == "allreduce" {
		for _, x := range t.together[s.Attributes[string(telemetry.Tower)]] {
			if x.Start.After(begin.Start) && x.Start.Before(s.End) {
				begin = x
			}
		}
		if begin != s {
			return begin
		}
	}
	if s.Name == "optimizer" { // all workers have said before that they have their sums
		var last *api.Span
		for _, tower := range t.together {
			for _, x := range tower {
				if !x.End.After(s.Start.Add(short)) && (last == nil || x.End.After(last.End) || x.End.Equal(last.End) && x.ID < last.ID) {
					last = x
				}
			}
		}
		if last != nil {
			return last
		}
	}
	if p := t.known[s.Parent]; p != nil && p.Parent != "" {
		if x := lastBefore(t.byParent[s.Parent], s); x != nil {
			return x
		}
	}
	return lastBefore(t.byNode[s.Node], s)
}

// lastBefore returns the span of a list, sorted by end, that ended last before s began.
func lastBefore(list []*api.Span, s *api.Span) *api.Span {
	limit := s.Start.Add(short)
	i, _ := slices.BinarySearchFunc(list, limit, func(x *api.Span, at time.Time) int {
		if x.End.After(at) {
			return 1
		}
		return -1
	})
	for _, x := range slices.Backward(list[:i]) {
		if x != s && x.Start.Before(s.Start) {
			return x
		}
	}
	return nil
}
