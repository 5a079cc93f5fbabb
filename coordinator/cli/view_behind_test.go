package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/coordinator/api/backlog"
)

// Nobody reads while the job runs: it goes on. What is read then is every event that
// is not about a step, the steps that there was room for, how many there was none for,
// and the result last.
func TestAJobGoesOnWhereNobodyReads(t *testing.T) {
	out, to := io.Pipe()
	complaints, diagnostics := io.Pipe()
	defer complaints.Close()
	log := backlog.NewWriter(diagnostics)
	logger := slog.New(slog.NewTextHandler(log, nil))
	v := newBehindView(NewView(JSON, to, diagnostics, false), log)
	const steps = mostEvents + 5000
	for s := range steps {
		v.Event(api.Event{Event: "step", Step: &api.Step{Step: s + 1, Steps: steps}})
		if s%1000 == 0 {
			v.Event(api.Event{Event: "validation", Of: "validation", Score: &api.Score{Score: float64(s)}})
			logger.Warn("a disk is slow")
		}
	}
	v.Event(api.Event{Event: "result", Result: &api.Result{Event: "result", State: api.Succeeded, Steps: steps}})
	closed := make(chan error, 1)
	go func() {
		v.Close(nil)
		closed <- to.Close()
	}()
	seen := map[string]int{}
	dropped := 0
	var last string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e struct {
			Event   string
			Message string
			Step    *api.Step
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		seen[e.Event]++
		last = e.Event
		if n, rest, found := strings.Cut(e.Message, " "); found && strings.HasPrefix(rest, "events of steps are left out") {
			var k int
			if err := json.Unmarshal([]byte(n), &k); err != nil {
				t.Fatal(err)
			}
			dropped += k
		}
		if e.Event == "step" && e.Step.Step == steps {
			seen["last step"]++
		}
	}
	if err := errors.Join(lines.Err(), <-closed); err != nil {
		t.Fatal(err)
	}
	if seen["step"]+dropped != steps || dropped == 0 || seen["last step"] != 1 {
		t.Errorf("%d steps shown (the last one %d times), %d counted as left out; want %d", seen["step"], seen["last step"], dropped, steps)
	}
	if want := (steps + 999) / 1000; seen["validation"] != want || last != "result" || seen["result"] != 1 {
		t.Errorf("%d validations, want %d; %d results, last %q", seen["validation"], want, seen["result"], last)
	}
}
