package bench

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// workers runs ranks within this process.
func workers(t *testing.T, n int) []Process {
	t.Helper()
	out := make([]Process, n)
	for i := range out {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = outW.CloseWithError(Worker(ctx, inR, outW))
		}()
		t.Cleanup(func() { cancel(); _ = inW.Close(); _ = outR.Close(); <-done })
		out[i] = Process{inW, outR}
	}
	return out
}

// TestRun measures everything at small sizes; sums are checked on the way.
func TestRun(t *testing.T) {
	for _, world := range []int{2, 3} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		seen := 0
		result, err := Run(ctx, Plan{Sizes: []int{64 << 10, 3 << 20}, Turns: 2, Kinds: Kinds()}, workers(t, world), func(Row) { seen++ })
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Rows) != 2*len(Kinds()) || seen != len(result.Rows) || result.Reach["rank 1"] != "direct" {
			t.Fatalf("%d rows, %d seen, reach %v", len(result.Rows), seen, result.Reach)
		}
		for _, r := range result.Rows {
			if len(r.Times) != 2 || r.Median() <= 0 || r.Ratio(&r) != 1 || r.World != world {
				t.Errorf("row %+v", r)
			}
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	good := Plan{World: 2, Sizes: []int{256}, Turns: 1, Kinds: []string{Ring}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Plan){
		"one rank": func(p *Plan) { p.World = 1 }, "rank": func(p *Plan) { p.Rank = 2 }, "turns": func(p *Plan) { p.Turns = 0 },
		"size": func(p *Plan) { p.Sizes = []int{100} }, "large": func(p *Plan) { p.Sizes = []int{2 << 30} }, "kind": func(p *Plan) { p.Kinds = []string{"x"} },
	} {
		p := good
		change(&p)
		if p.Check() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestWorkerErrorsReachTheParent(t *testing.T) {
	p := Process{In: discard{}, Out: strings.NewReader(`{"urls":["u"],"tcp":"t"} {"error":"no memory","done":true}`)}
	_, err := Run(t.Context(), Plan{Sizes: []int{256}, Turns: 1, Kinds: []string{Ring}}, []Process{p, {discard{}, strings.NewReader("{}")}}, func(Row) {})
	if err == nil || !strings.Contains(err.Error(), "rank") {
		t.Errorf("got %v", err)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }
