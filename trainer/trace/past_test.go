package trace

import (
	"strings"
	"testing"

	"ressa/coordinator/api"
)

// generation makes steps first to last of a generation of a job.
func generation(t *testing.T, p *Past, job string, n, first, last int) {
	t.Helper()
	r := New(Config{Job: job, Generation: n, Node: "t1", Every: 1, Keep: 8})
	p.Add(r)
	for i := first; i <= last; i++ {
		step(t, r, i, false, nil)
	}
}

func TestPastGenerationsCanBeAsked(t *testing.T) {
	p := &Past{Keep: 3}
	generation(t, p, "a", 1, 1, 4)
	generation(t, p, "a", 2, 3, 6)
	generation(t, p, "b", 1, 1, 2)
	for _, c := range []struct {
		ask              api.TraceRequest
		generation, step int
		fails            string
	}{
		{api.TraceRequest{Job: "a"}, 2, 6, ""},
		{api.TraceRequest{Job: "a", Step: 3}, 2, 3, ""},
		{api.TraceRequest{Job: "a", Step: 2}, 1, 2, ""},
		{api.TraceRequest{Job: "a", Generation: 1}, 1, 4, ""},
		{api.TraceRequest{Job: "a", Generation: 1, Step: 3}, 1, 3, ""},
		{api.TraceRequest{Job: "a", Step: 9}, 0, 0, "steps 3 to 6 of generation 2"},
		{api.TraceRequest{Job: "a", Generation: 3}, 0, 0, "generation 3"},
		{api.TraceRequest{Job: "c"}, 0, 0, `no step of job "c"`},
		{api.TraceRequest{Job: "a", Step: -1}, 0, 0, "step: found -1"},
		{api.TraceRequest{Job: "a", Generation: -1}, 0, 0, "generation: found -1"},
	} {
		x, err := p.Read(c.ask)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%+v: error %v, want %q", c.ask, err, c.fails)
			}
			continue
		}
		if err != nil || x.Generation != c.generation || x.Step != c.step || len(x.Spans) != 2 {
			t.Errorf("%+v: generation %d, step %d, %d spans, error %v", c.ask, x.Generation, x.Step, len(x.Spans), err)
		}
	}
	generation(t, p, "b", 2, 1, 1)
	if _, err := p.Read(api.TraceRequest{Job: "a", Generation: 1}); err == nil {
		t.Error("the fourth last generation is still there")
	}
}

func TestPhasesOfTheNextSteps(t *testing.T) {
	p := &Past{Keep: 3}
	generation(t, p, "a", 1, 1, 4)
	from := p.Now("a")
	if from != (Point{1, 4}) || p.Now("b") != (Point{}) {
		t.Fatalf("now at %v", from)
	}
	generation(t, p, "a", 2, 3, 5) // a recovery goes back
	after := p.After("a", from)
	if len(after) != 3 || after[0].Step != 3 || after[2].Step != 5 {
		t.Fatalf("%d traces after %v", len(after), from)
	}
	if n := p.Over("a", from); n != 3 {
		t.Errorf("%d steps are over", n)
	}
	sums := Sum(after)
	if len(sums) != 2 || sums[0].Name != "step" || sums[1].Name != "vision.forward" || sums[1].Service != "ressa-vision" || sums[1].Count != 3 || sums[1].Seconds <= 0 {
		t.Errorf("%+v", sums)
	}
}
