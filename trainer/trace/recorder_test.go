package trace

import (
	"context"
	"errors"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

func recorder(worker int) *Recorder {
	return New(Config{Job: "job", Generation: 3, Node: "t1", Worker: worker, Every: 4, Keep: 3})
}

// step records a step with one span, and returns what it left.
func step(t *testing.T, r *Recorder, n int, slow bool, err error) api.Trace {
	t.Helper()
	ctx, s := r.Begin(t.Context(), n)
	_, span := Begin(ctx, "vision", "vision.forward", telemetry.Microbatch.Int(1))
	span.End(nil)
	s.End(slow, err)
	r.Settle()
	x, ok := r.Read(n)
	if !ok {
		t.Fatalf("step %d is not there", n)
	}
	return x
}

func TestWorkersShareATrace(t *testing.T) {
	chief, other := step(t, recorder(0), 5, false, nil), step(t, recorder(1), 5, false, nil)
	root := telemetry.StepRoot("job", 3, 5)
	if chief.TraceID != root.Trace.String() || other.TraceID != chief.TraceID || chief.Step != 5 || chief.Generation != 3 {
		t.Errorf("%+v, %+v", chief, other)
	}
	if len(chief.Spans) != 2 || chief.Spans[0].Name != "step" || chief.Spans[0].ID != root.Span.String() || chief.Spans[0].Parent != "" {
		t.Errorf("the chief has %+v", chief.Spans)
	}
	for _, s := range []api.Span{chief.Spans[1], other.Spans[0]} {
		if s.Name != "vision.forward" || s.Parent != root.Span.String() || s.Service != "ressa-vision" || s.Node != "t1" || s.Attributes["ressa.microbatch"] != "1" || s.End.Before(s.Start) {
			t.Errorf("%+v", s)
		}
	}
	if len(other.Spans) != 1 {
		t.Errorf("the other has %+v", other.Spans)
	}
}

func TestWhatIsExported(t *testing.T) {
	r := recorder(0)
	for n := 1; n <= 9; n++ {
		if x := step(t, r, n, false, nil); x.Sampled != (n%4 == 0) {
			t.Errorf("step %d: %v", n, x.Sampled)
		}
	}
	if x := step(t, r, 10, true, nil); !x.Sampled {
		t.Error("a slow step stays here")
	}
	x := step(t, r, 11, false, errors.New("broken"))
	if !x.Sampled || x.Spans[0].Error != "broken" {
		t.Errorf("a step that failed: %+v", x)
	}
	if _, ok := r.Read(8); ok {
		t.Error("the fourth last step is still there")
	}
	if x, ok := r.Read(0); !ok || x.Step != 11 {
		t.Errorf("the newest is %+v", x)
	}
}

// What comes between two steps belongs to the first.
func TestACheckpointIsOfItsStep(t *testing.T) {
	r := recorder(0)
	ctx, s := r.Begin(t.Context(), 1)
	s.End(false, nil)
	_, span := Begin(ctx, "", "checkpoint")
	span.End(nil)
	_, late := Begin(ctx, "", "late")
	_, next := r.Begin(t.Context(), 2)
	late.End(nil)
	next.End(false, nil)
	if x, _ := r.Read(1); len(x.Spans) != 2 || x.Spans[1].Name != "checkpoint" {
		t.Errorf("%+v", x.Spans)
	}
}

func TestSpansFollowMessages(t *testing.T) {
	from, to := recorder(1), recorder(2)
	sctx, a := from.Begin(t.Context(), 1)
	sctx, send := Begin(sctx, "vision", "activations.send")
	carrier := Carrier(sctx)
	send.End(nil)
	a.End(false, nil)
	rctx, b := to.Begin(t.Context(), 1)
	rctx, recv := Begin(rctx, "language", "activations.recv")
	In(rctx).Follow(carrier)
	recv.Follow(map[string]string{"traceparent": "nonsense"})
	recv.End(nil)
	b.End(false, nil)
	x, _ := from.Read(1)
	y, _ := to.Read(1)
	if x, ok := from.Read(1); !ok || len(x.Spans) != 1 || len(carrier) == 0 {
		t.Fatalf("%+v, %v", x, carrier)
	}
	if len(y.Spans) != 1 || len(y.Spans[0].Links) != 1 || y.Spans[0].Links[0] != x.Spans[0].ID {
		t.Errorf("%+v does not follow %+v", y.Spans, x.Spans)
	}
}

func TestNothingIsRecordedOutside(t *testing.T) {
	var r *Recorder
	ctx, s := r.Begin(context.Background(), 1)
	same, span := Begin(ctx, "vision", "x")
	span.Set()
	span.Follow(nil)
	span.End(errors.New("x"))
	s.End(true, nil)
	r.Settle()
	r.Phase("train", "").End(nil)
	if same != ctx || Carrier(ctx) != nil || Slow(ctx) || In(ctx) != nil || r.JobTrace() != "" {
		t.Error("something is")
	}
	if _, ok := r.Read(1); ok {
		t.Error("a step is there")
	}
}

func TestPace(t *testing.T) {
	var p pace
	for range known {
		if p.slow(time.Hour) {
			t.Error("slow before anything is known")
		}
		p.add(time.Second)
	}
	if p.slow(2*time.Second) || !p.slow(2*time.Second+1) {
		t.Error("twice the median is not the limit")
	}
	for range recent {
		p.add(3 * time.Second)
	}
	if p.slow(5 * time.Second) {
		t.Error("old steps still count")
	}
}

func BenchmarkSpan(b *testing.B) {
	r := recorder(0)
	ctx, s := r.Begin(context.Background(), 1)
	defer s.End(false, nil)
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 { // as many as a step has
			r.mu.Lock()
			r.steps[0].spans = r.steps[0].spans[:0]
			r.mu.Unlock()
		}
		_, span := Begin(ctx, "vision", "vision.forward", telemetry.Tower.String("vision"), telemetry.Microbatch.Int(i))
		span.End(nil)
	}
}
