package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/api/telemetry"
)

// recorded is what a node says of a step: one span under its root.
func recorded(node, job string, generation, step int) api.Trace {
	root := telemetry.StepRoot(job, generation, step)
	at := time.Unix(1700000000, 0).UTC()
	id := map[string]string{"n1": "00000000000000a1", "n2": "00000000000000a2"}[node]
	return api.Trace{Job: job, Generation: generation, Step: step, TraceID: root.Trace.String(), Spans: []api.Span{
		{ID: id, Parent: root.Span.String(), Name: "vision.forward", Service: "ressa-vision", Node: node, Start: at, End: at.Add(time.Second)}}}
}

// answers has a node answer requests on a subject; nil says nothing.
func (c *coordinator) answers(subject string, with func(raw []byte) any) (stop func()) {
	c.t.Helper()
	s, err := c.Hub().Subscribe(subject, func(m *nats.Msg) {
		reply := nats.NewMsg(m.Reply)
		switch v := with(m.Data).(type) {
		case nil:
			return
		case string:
			reply.Data = []byte(v)
		case error:
			reply.Header.Set(api.HeaderError, v.Error())
		default:
			raw, err := json.Marshal(v)
			if err != nil {
				c.t.Error(err)
			}
			reply.Data = raw
		}
		_ = m.RespondMsg(reply)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return func() { _ = s.Unsubscribe() }
}

// keeps has a node answer with steps of a generation up to a newest one.
func (c *coordinator) keeps(node string, newest int) (stop func()) {
	return c.answers(api.TraceSubject(node), func(raw []byte) any {
		var ask api.TraceRequest
		if err := json.Unmarshal(raw, &ask); err != nil {
			c.t.Error(err)
		}
		if ask.Step == 0 {
			ask.Step = newest
		}
		return recorded(node, ask.Job, 1, ask.Step)
	})
}

// planned starts a coordinator with a job on two nodes.
func planned(t *testing.T) (*coordinator, *client.Client, string) {
	c := start(t, "a")
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(t.Context()) == nil })
	c.node("n1")
	c.node("n2")
	j, err := cl.Submit(t.Context(), api.JobRequest{Spec: api.DemoJob(), Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job is planned", func() bool { return c.State().Job(j.ID).Active() })
	return c, cl, j.ID
}

func TestATraceIsOfAllNodes(t *testing.T) {
	c, cl, job := planned(t)
	c.keeps("n1", 6)
	stop := c.keeps("n2", 5) // one step behind
	x, err := cl.Trace(t.Context(), job[:4], 0, 0)
	if err != nil || x.Step != 5 || x.Generation != 1 || len(x.Spans) != 2 || len(x.Missing) != 0 || x.TraceID != telemetry.StepRoot(job, 1, 5).Trace.String() {
		t.Fatalf("%+v, %v", x, err)
	}
	if x, err = cl.Trace(t.Context(), job, 1, 3); err != nil || x.Step != 3 || len(x.Spans) != 2 {
		t.Errorf("%+v, %v", x, err)
	}
	stop()
	if x, err = cl.Trace(t.Context(), job, 0, 4); err != nil || len(x.Spans) != 1 || len(x.Missing) != 1 || x.Missing[0].Node != "n2" || !strings.Contains(x.Missing[0].Reason, "not on the hub") {
		t.Errorf("%+v, %v", x, err)
	}
	c.answers(api.TraceSubject("n2"), func([]byte) any { return nil })
	if x, err = cl.Trace(t.Context(), job, 0, 4); err != nil || len(x.Spans) != 1 || len(x.Missing) != 1 || !strings.Contains(x.Missing[0].Reason, "no answer for") {
		t.Errorf("%+v, %v", x, err)
	}
	for _, bad := range [][2]int{{-1, 0}, {0, -1}} {
		if _, err := cl.Trace(t.Context(), job, bad[0], bad[1]); api.ExitCode(err) != api.ExitInvalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// What a node says of another job or step, or that is no trace, is left out with the
// reason.
func TestATraceTakesNoNonsense(t *testing.T) {
	c, cl, job := planned(t)
	c.keeps("n1", 6)
	other := recorded("n2", job, 1, 6)
	for name, x := range map[string]struct {
		reply any
		want  string
	}{
		"no JSON":          {"{", "its answer"},
		"another job":      {recorded("n2", "zzzzzzzz", 1, 6), "of job"},
		"another step":     {recorded("n2", job, 1, 7), "step 7"},
		"another trace":    {api.Trace{Job: job, Generation: 1, Step: 6, TraceID: "x"}, `trace "x"`},
		"no ID":            {withSpan(other, api.Span{Parent: other.Spans[0].Parent}), "span of ID"},
		"a long ID":        {withSpan(other, api.Span{ID: strings.Repeat("a", 32)}), "span of ID"},
		"ends before":      {withSpan(other, api.Span{ID: "00000000000000b1", Start: time.Unix(2, 0), End: time.Unix(1, 0)}), "ends before"},
		"an error":         {&api.InputError{Err: http.ErrAbortHandler}, "abort"},
		"nothing it knows": {"null", "of job"},
	} {
		stop := c.answers(api.TraceSubject("n2"), func([]byte) any { return x.reply })
		got, err := cl.Trace(t.Context(), job, 1, 6)
		if err != nil || len(got.Spans) != 1 || len(got.Missing) != 1 || !strings.Contains(got.Missing[0].Reason, x.want) {
			t.Errorf("%s: %+v, %v, want %q", name, got, err, x.want)
		}
		stop()
	}
}

func withSpan(t api.Trace, s api.Span) api.Trace {
	t.Spans = append(t.Spans[:len(t.Spans):len(t.Spans)], s)
	return t
}

func TestAProfileIsOfAllNodes(t *testing.T) {
	c, cl, job := planned(t)
	if _, err := cl.Profile(t.Context(), job, 2, 3); !client.Conflict(err) {
		t.Errorf("a job that does not run yet: %v", err)
	}
	tasks := func(node string, w int) api.Beat {
		return api.Beat{Session: node, Tasks: []api.Task{{Job: job, Generation: 1, Worker: w, State: api.Running, Phase: "train"}}}
	}
	eventually(t, "the job runs", func() bool {
		for w, node := range c.State().Job(job).Plan.Nodes {
			if _, err := cl.Beat(t.Context(), node, tasks(node, w)); err != nil {
				t.Error(err)
			}
		}
		return c.State().Job(job).State == api.Running
	})
	if _, err := cl.Profile(t.Context(), job, 2, 3); err == nil || !strings.Contains(err.Error(), "n1: it is not on the hub; n2: it is not on the hub") {
		t.Errorf("nobody answers: %v", err)
	}
	for _, node := range []string{"n1", "n2"} {
		c.answers(api.ProfileSubject(node), func(raw []byte) any {
			var ask api.ProfileRequest
			if err := json.Unmarshal(raw, &ask); err != nil || ask != (api.ProfileRequest{Job: job, Steps: 2, Seconds: 3}) {
				t.Errorf("asked for %+v, %v", ask, err)
			}
			return api.NodeProfile{Node: "who", FirstStep: 3, LastStep: 4, CPU: []byte{1, 2}}
		})
	}
	p, err := cl.Profile(t.Context(), job, 2, 3)
	if err != nil || len(p.Nodes) != 2 || p.Nodes[0].Node != "n1" || p.Nodes[1].Node != "n2" || p.Nodes[1].LastStep != 4 || len(p.Nodes[0].CPU) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := cl.Profile(t.Context(), job, 0, 3); api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("no steps: %v", err)
	}
}
