package waterfall

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// made is a span from one millisecond to another.
func made(id, parent, name, node string, from, to int, more ...func(*api.Span)) api.Span {
	at := func(ms int) time.Time { return time.Unix(1700000000, 0).Add(time.Duration(ms) * time.Millisecond) }
	s := api.Span{ID: id, Parent: parent, Name: name, Node: node, Service: "ressa-trainer", Start: at(from), End: at(to), Attributes: map[string]string{}}
	for _, m := range more {
		m(&s)
	}
	return s
}

func after(id string) func(*api.Span) { return func(s *api.Span) { s.Links = append(s.Links, id) } }

func tower(name string) func(*api.Span) {
	return func(s *api.Span) { s.Attributes["ressa.tower"] = name }
}

// towers is a step of two nodes: t1 has the vision tower, t2 the language tower. t2 is
// slow at microbatch 1, which t1 then waits for.
func towers() api.Trace {
	return api.Trace{Job: "j", Step: 1, Spans: []api.Span{
		made("root", "", "step", "t1", 0, 110),
		made("m1", "root", "microbatch", "t1", 0, 90),
		made("vf", "m1", "vision.forward", "t1", 0, 20),
		made("as", "m1", "activations.send", "t1", 20, 24),
		made("gr", "m1", "activations.recv", "t1", 24, 72, after("gs")),
		made("vb", "m1", "vision.backward", "t1", 72, 90),
		made("m2", "root", "microbatch", "t2", 0, 72),
		made("ar", "m2", "activations.recv", "t2", 1, 25, after("as")),
		made("lf", "m2", "language.forward", "t2", 25, 50),
		made("lb", "m2", "language.backward", "t2", 50, 70),
		made("gs", "m2", "activations.send", "t2", 70, 72),
		made("r1", "root", "allreduce", "t1", 90, 100, tower("vision")),
		made("r2", "root", "allreduce", "t2", 72, 74, tower("language")),
		made("o1", "root", "optimizer", "t1", 101, 110),
		made("o2", "root", "optimizer", "t2", 101, 104),
		made("cp", "root", "checkpoint", "t1", 112, 140),
	}}
}

// The path goes over to the other node and back where one waits for the other.
func TestTheCriticalPathCrossesNodes(t *testing.T) {
	want := []string{"vf", "as", "ar", "lf", "lb", "gs", "gr", "vb", "r1", "o1"}
	c := Of(towers())
	if !reflect.DeepEqual(c.Path, want) {
		t.Errorf("found %v, want %v", c.Path, want)
	}
	if c.Step == nil || c.Step.ID != "root" || c.End.Sub(c.Begin) != 140*time.Millisecond {
		t.Errorf("%+v", c)
	}
}

// What is received was there before it was asked for: nobody waited for who sent it.
func TestAMessageThatWaitsDecidesNothing(t *testing.T) {
	x := api.Trace{Spans: []api.Span{
		made("root", "", "step", "t2", 0, 100),
		made("as", "root", "activations.send", "t1", 0, 5),
		made("busy", "root", "language.forward", "t2", 0, 40),
		made("ar", "root", "activations.recv", "t2", 40, 41, after("as")),
		made("lf", "root", "language.forward", "t2", 41, 100),
	}}
	if got := Of(x).Path; !reflect.DeepEqual(got, []string{"busy", "ar", "lf"}) {
		t.Errorf("found %v", got)
	}
}

// A reduction waits for the worker that comes last.
func TestAReductionWaitsForTheLast(t *testing.T) {
	x := api.Trace{Spans: []api.Span{
		made("root", "", "step", "t1", 0, 100),
		made("a", "root", "vision.backward", "t1", 0, 30),
		made("b", "root", "vision.backward", "t2", 0, 80),
		made("ra", "root", "allreduce", "t1", 30, 95, tower("vision")),
		made("rb", "root", "allreduce", "t2", 80, 94, tower("vision")),
		made("o", "root", "optimizer", "t1", 95, 100),
	}}
	if got := Of(x).Path; !reflect.DeepEqual(got, []string{"b", "rb", "ra", "o"}) {
		t.Errorf("found %v", got)
	}
}

func TestRowsAreNestedByNode(t *testing.T) {
	x := towers()
	for i := range x.Spans {
		if s := &x.Spans[i]; s.Node == "t2" {
			s.Node = "t10"
		}
	}
	c := Of(x)
	if len(c.Groups) != 2 || c.Groups[0].Node != "t1" || c.Groups[1].Node != "t10" {
		t.Fatalf("%+v", c.Groups)
	}
	var got string
	for _, r := range c.Groups[1].Rows {
		got += fmt.Sprintf("%s:%d ", r.ID, r.Depth)
	}
	if want := "m2:0 ar:1 lf:1 lb:1 gs:1 r2:0 o2:0 "; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
}

// Whatever a trace says, it is laid out, with each span once.
func TestAnyTraceIsLaidOut(t *testing.T) {
	if c := Of(api.Trace{}); len(c.Groups) != 0 || len(c.Path) != 0 {
		t.Errorf("%+v", c)
	}
	x := api.Trace{Spans: []api.Span{
		made("a", "b", "x", "t1", 0, 1, after("b")),
		made("b", "a", "x", "t1", 0, 1, after("a")),
		made("c", "c", "x", "t1", 0, 1, after("c")),
		made("d", "nobody", "x", "t2", 0, 0, after("e")),
		made("e", "nobody", "x", "t1", 0, 0, after("d")),
	}}
	n := 0
	for _, g := range Of(x).Groups {
		n += len(g.Rows)
	}
	if n != len(x.Spans) {
		t.Errorf("%d rows of %d spans", n, len(x.Spans))
	}
}
