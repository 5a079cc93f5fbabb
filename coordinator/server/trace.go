package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/state"
)

// traceWait bounds how long nodes may take to answer for a trace.
const traceWait = 5 * time.Second

// trace answers with what the nodes of a job recorded of a step.
func (s *Server) trace(_ http.ResponseWriter, r *http.Request) (any, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	ask := api.TraceRequest{Job: j.ID}
	if err := numbers(r.URL.Query(), map[string]*int{"step": &ask.Step, "generation": &ask.Generation}); err != nil {
		return nil, err
	}
	if err := ask.Check(); err != nil {
		return nil, invalid(err)
	}
	if j.Generation == 0 {
		return nil, &refusal{http.StatusConflict, api.ExitFailed, fmt.Sprintf("job %s has not run yet: there is no step", j.ID)}
	}
	ctx, cancel := context.WithTimeout(r.Context(), traceWait)
	defer cancel()
	nodes := asked(s.Cluster.State(), j)
	parts := fanOut(nodes, func(node string) part { return s.part(ctx, node, ask) })
	if again, ok := agree(parts, ask); ok {
		for i, p := range fanOut(nodes, func(node string) part {
			if x := parts[node]; x.err != nil || x.trace.Generation == again.Generation && x.trace.Step == again.Step {
				return x
			}
			return s.part(ctx, node, again)
		}) {
			parts[i] = p
		}
	}
	return merge(j, nodes, parts)
}

// numbers reads parameters that are integers.
func numbers(query url.Values, into map[string]*int) error {
	for name, to := range into {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return invalid(fmt.Errorf("%s: found %q, want an integer", name, text))
		}
		*to = n
	}
	return nil
}

// asked returns the nodes that may know something of a job's steps: those of its plan,
// and those that are there, of which some may have been in an earlier one.
func asked(now *state.State, j *state.Job) []string {
	out := append([]string{}, j.Plan.Nodes...)
	in := map[string]bool{}
	for _, n := range out {
		in[n] = true
	}
	for _, n := range now.Nodes() {
		if name := n.Info.Name; !in[name] && n.State == api.NodeReady {
			out = append(out, name)
		}
	}
	return out
}

// part is what one node says of a step.
type part struct {
	trace api.Trace
	err   error
}

// part asks a node.
func (s *Server) part(ctx context.Context, node string, ask api.TraceRequest) part {
	var p part
	if p.err = s.ask(ctx, api.TraceSubject(node), ask, &p.trace); p.err == nil {
		p.err = checkPart(p.trace, ask)
	}
	return p
}

// checkPart verifies that a reply is of the step that was asked for.
func checkPart(t api.Trace, ask api.TraceRequest) error {
	switch {
	case t.Job != ask.Job || t.Step < 1 || t.Generation < 1 || ask.Step != 0 && t.Step != ask.Step || ask.Generation != 0 && t.Generation != ask.Generation:
		return fmt.Errorf("it answered with step %d of generation %d of job %q", t.Step, t.Generation, t.Job)
	case t.TraceID != telemetry.StepRoot(t.Job, t.Generation, t.Step).Trace.String():
		return fmt.Errorf("it answered with trace %q", t.TraceID)
	}
	for _, x := range t.Spans {
		for _, id := range append([]string{x.ID, x.Parent}, x.Links...) {
			if raw, err := hex.DecodeString(id); err != nil || len(raw) != 8 && id != "" || x.ID == "" {
				return fmt.Errorf("it answered with a span of ID %q", id)
			}
		}
		if x.End.Before(x.Start) {
			return fmt.Errorf("it answered with a span %q that ends before it begins", x.Name)
		}
	}
	return nil
}

// agree returns the step that all nodes have, where they were asked for their newest and
// some are further than others: of the newest generation, the oldest of these.
func agree(parts map[string]part, ask api.TraceRequest) (api.TraceRequest, bool) {
	newest := 0
	for _, p := range parts {
		if p.err == nil {
			newest = max(newest, p.trace.Generation)
		}
	}
	if newest == 0 {
		return ask, false
	}
	out := api.TraceRequest{Job: ask.Job, Generation: newest, Step: ask.Step}
	for _, p := range parts {
		if p.err == nil && p.trace.Generation == newest && (out.Step == 0 || p.trace.Step < out.Step) {
			out.Step = p.trace.Step
		}
	}
	return out, true
}

// merge makes one trace of the parts. A node is missing that had a part in the step, by
// the job's plan, or that gave no answer at all.
func merge(j *state.Job, nodes []string, parts map[string]part) (api.Trace, error) {
	out := api.Trace{Job: j.ID, Spans: []api.Span{}}
	for _, p := range parts {
		if p.err == nil && len(p.trace.Spans) > 0 && p.trace.Generation >= out.Generation {
			out.Generation, out.Step, out.TraceID, out.Sampled = p.trace.Generation, p.trace.Step, p.trace.TraceID, p.trace.Sampled
		}
	}
	planned := map[string]bool{}
	for _, n := range j.Plan.Nodes {
		planned[n] = out.Generation == j.Generation || out.Generation == 0
	}
	seen := map[string]bool{}
	for _, node := range nodes {
		p := parts[node]
		var silent *silentError
		switch {
		case p.err != nil && (planned[node] || errors.As(p.err, &silent)):
			out.Missing = append(out.Missing, api.Taken{Node: node, Reason: p.err.Error()})
		case p.err != nil:
		case p.trace.Generation != out.Generation:
			out.Missing = append(out.Missing, api.Taken{Node: node, Reason: fmt.Sprintf("it has the step only of generation %d", p.trace.Generation)})
		case len(out.Spans)+len(p.trace.Spans) > api.MaxSpans:
			out.Missing = append(out.Missing, api.Taken{Node: node, Reason: fmt.Sprintf("its %d spans are too many: a trace has at most %d", len(p.trace.Spans), api.MaxSpans)})
		default:
			for _, x := range p.trace.Spans {
				if !seen[x.ID] {
					seen[x.ID] = true
					out.Spans = append(out.Spans, x)
				}
			}
		}
	}
	if len(out.Spans) == 0 {
		text := fmt.Sprintf("no node has this step of job %s", j.ID)
		for _, m := range out.Missing {
			text += fmt.Sprintf("; %s: %s", m.Node, m.Reason)
		}
		return out, &refusal{http.StatusNotFound, api.ExitFailed, text}
	}
	out.Sort()
	return out, nil
}
