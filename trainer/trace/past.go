package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// Past are the recorders of the last generations that a node had a part in: it can be
// asked for the steps of a job that has ended. It is safe for concurrent use.
type Past struct {
	// Keep is how many generations are kept.
	Keep int

	mu   sync.Mutex
	list []*Recorder // the newest last
}

// Add keeps a recorder, and forgets the oldest.
func (p *Past) Add(r *Recorder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, r)
	if n := len(p.list) - max(1, p.Keep); n > 0 {
		p.list = slices.Delete(p.list, 0, n)
	}
}

// of returns the recorders of a job, the newest first.
func (p *Past) of(job string) []*Recorder {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*Recorder
	for _, r := range slices.Backward(p.list) {
		if r.config.Job == job {
			out = append(out, r)
		}
	}
	return out
}

// Read returns what was recorded of a step. Without one it is the newest that is over.
func (p *Past) Read(ask api.TraceRequest) (api.Trace, error) {
	if err := ask.Check(); err != nil {
		return api.Trace{}, err
	}
	known := p.of(ask.Job)
	if len(known) == 0 {
		return api.Trace{}, fmt.Errorf("no step of job %q is kept here", ask.Job)
	}
	for _, r := range known {
		if ask.Generation != 0 && r.config.Generation != ask.Generation {
			continue
		}
		if t, ok := r.Read(ask.Step); ok {
			return t, nil
		}
	}
	what := "no step that is over"
	if ask.Step != 0 {
		what = fmt.Sprintf("step %d", ask.Step)
	}
	if ask.Generation != 0 {
		what += fmt.Sprintf(" of generation %d", ask.Generation)
	}
	return api.Trace{}, fmt.Errorf("%s is not kept here (any more): %s", what, known[0].kept())
}

// kept words which steps are in memory.
func (r *Recorder) kept() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.steps) == 0 {
		return fmt.Sprintf("generation %d has made none", r.config.Generation)
	}
	return fmt.Sprintf("steps %d to %d of generation %d are", r.steps[0].Number, r.steps[len(r.steps)-1].Number, r.config.Generation)
}

// Point is how far a job's newest generation is.
type Point struct{ Generation, Step int }

// After returns the traces of the job's steps that are over and came after a point, in
// their order, as far as they are kept.
func (p *Past) After(job string, from Point) []api.Trace {
	var out []api.Trace
	p.after(job, from, func(r *Recorder, step int) {
		if t, ok := r.Read(step); ok {
			out = append(out, t)
		}
	})
	return out
}

// Over returns how many steps After has.
func (p *Past) Over(job string, from Point) int {
	n := 0
	p.after(job, from, func(*Recorder, int) { n++ })
	return n
}

// after calls f for each step that After has.
func (p *Past) after(job string, from Point, f func(r *Recorder, step int)) {
	for _, r := range slices.Backward(p.of(job)) { // the oldest generation first
		for _, step := range r.over() {
			if g := r.config.Generation; g > from.Generation || g == from.Generation && step > from.Step {
				f(r, step)
			}
		}
	}
}

// Now returns the newest step of a job that has begun; zero where there is none.
func (p *Past) Now(job string) Point {
	known := p.of(job)
	if len(known) == 0 {
		return Point{}
	}
	r := known[0]
	r.mu.Lock()
	defer r.mu.Unlock()
	point := Point{Generation: r.config.Generation}
	if n := len(r.steps); n > 0 {
		point.Step = r.steps[n-1].Number
	}
	return point
}

// over returns the steps that are kept and over.
func (r *Recorder) over() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []int
	for _, s := range r.steps {
		if s.over {
			out = append(out, s.Number)
		}
	}
	return out
}

// Sum sums the spans of traces by name and service.
func Sum(traces []api.Trace) []api.PhaseTime {
	type key struct{ name, service string }
	sums := map[key]*api.PhaseTime{}
	for _, t := range traces {
		for _, s := range t.Spans {
			k := key{s.Name, s.Service}
			x := sums[k]
			if x == nil {
				x = &api.PhaseTime{Name: s.Name, Service: s.Service}
				sums[k] = x
			}
			x.Count++
			x.Seconds += s.End.Sub(s.Start).Seconds()
			if n, err := strconv.ParseInt(s.Attributes[string(telemetry.Bytes)], 10, 64); err == nil {
				x.Bytes += n
			}
		}
	}
	out := []api.PhaseTime{}
	for _, x := range sums {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b api.PhaseTime) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service))
	})
	return out
}

// All returns every step that is kept and over, the oldest first.
func (r *Recorder) All() []api.Trace {
	if r == nil {
		return nil
	}
	var out []api.Trace
	for _, step := range r.over() {
		if t, ok := r.Read(step); ok {
			out = append(out, t)
		}
	}
	return out
}
