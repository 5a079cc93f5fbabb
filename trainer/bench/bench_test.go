package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/cpu/dense"
)

func device(t *testing.T) kernels.Device {
	t.Helper()
	d, err := cpu.Open(cpu.Options{Threads: 2})
	if err != nil {
		t.Skip(err)
	}
	return d
}

// task writes a small task of the demo's.
func task(t *testing.T, pattern string) string {
	t.Helper()
	d := device(t)
	defer d.Close()
	x, err := DefaultTask("demo")
	if err != nil {
		t.Fatal(err)
	}
	x.Pattern, x.Microbatches, x.Samples = pattern, 3, 2
	dir := t.TempDir()
	if err := Prepare(t.Context(), d, dir, x); err != nil {
		t.Fatal(err)
	}
	return dir
}

// solve makes steps and returns what was said of each.
func solve(t *testing.T, dir, form string, steps int) (first ready, said []made) {
	t.Helper()
	s := Solver{Dir: dir, Form: form, Open: func(int64, int) (kernels.Device, int, error) {
		if form == OpenBLAS {
			d, err := dense.Open(dense.Options{Threads: 1})
			return d, 2, err
		}
		d, err := cpu.Open(cpu.Options{Threads: 2})
		return d, 2, err
	}}
	var out bytes.Buffer
	if err := Solve(t.Context(), s, strings.NewReader(strings.Repeat("step\n", steps)), &out); err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(&out)
	if err := answers.Decode(&first); err != nil {
		t.Fatal(err)
	}
	for range steps {
		var m made
		if err := answers.Decode(&m); err != nil {
			t.Fatal(err)
		}
		said = append(said, m)
	}
	return first, said
}

// The losses of several steps agree, so that gradients and updates do too.
func TestFormsDoTheSameWork(t *testing.T) {
	if d, err := dense.Open(dense.Options{}); err != nil {
		t.Skip(err)
	} else if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"2:4", "unstructured:0.7"} {
		dir := task(t, pattern)
		_, ours := solve(t, dir, Ours, 4)
		_, theirs := solve(t, dir, OpenBLAS, 4)
		for i := range ours {
			if d := math.Abs(ours[i].Loss-theirs[i].Loss) / ours[i].Loss; !(d < 1e-3) {
				t.Errorf("%s, step %d: losses %v and %v", pattern, i, ours[i].Loss, theirs[i].Loss)
			}
		}
		if !(ours[3].Loss < ours[0].Loss) {
			t.Errorf("%s: the loss went from %v to %v on one batch", pattern, ours[0].Loss, ours[3].Loss)
		}
	}
}

func TestMemoryIsMeasured(t *testing.T) {
	if resident() == 0 {
		t.Skip("this system does not tell")
	}
	first, said := solve(t, task(t, "2:4"), Ours, 1)
	if first.Baseline < 1<<20 || first.Loaded < 1<<20 || said[0].Peak < 1<<20 || said[0].Activations < 1<<16 {
		t.Errorf("%+v, %+v: want sizes of a process", first, said)
	}
}

func TestImpossibleTasksAreRefused(t *testing.T) {
	good, err := DefaultTask("smolvlm")
	if err != nil {
		t.Fatal(err)
	}
	good.Pattern = "2:4"
	if err := good.Check(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	for name, change := range map[string]func(*Task){
		"pattern": func(x *Task) { x.Pattern = "half" }, "samples": func(x *Task) { x.Samples = 0 }, "microbatches": func(x *Task) { x.Microbatches = -1 },
		"dtype": func(x *Task) { x.DType = "fp8" }, "pixels": func(x *Task) { x.Pixels = 100 }, "text": func(x *Task) { x.Text = 0 }, "answers": func(x *Task) { x.Answers = x.Text },
	} {
		x := good
		if change(&x); x.Check() == nil {
			t.Errorf("%s: accepted %+v", name, x)
		}
	}
	if _, err := DefaultTask("gpt"); err == nil {
		t.Error("an unknown model was accepted")
	}
}

// fake is an entrant that answers with these losses.
func fake(form, loss string) Entrant {
	return Entrant{Form: form, Command: []string{"sh", "-c", `echo '{"kind":"` + form + `","baseline_bytes":100,"loaded_bytes":200}'
while read line; do echo '{"seconds":2,"loss":` + loss + `,"peak_bytes":300}'; done`}}
}

func TestContestComparesWithTheFirst(t *testing.T) {
	steps := 0
	r, err := Contest(t.Context(), []Entrant{fake("a", "2"), fake("b", "3")}, 3, func(string, int, float64) { steps++ })
	if err != nil {
		t.Fatal(err)
	}
	if len(r) != 2 || steps != 2*4 || r[1].Seconds.Median != 2 || r[1].Ratio.Median != 1 || r[1].Peak != 300 || r[1].PeakRatio != 1 || r[1].AboveRatio != 1 || r[1].Difference != 0.5 || r[0].Difference != 0 {
		t.Errorf("%d steps, results %+v", steps, r)
	}
}

func TestContestEndsWithAFormThatFails(t *testing.T) {
	none := func(string, int, float64) {}
	broken := Entrant{Form: "broken", Command: []string{"sh", "-c", "echo no such module >&2; exit 3"}}
	if _, err := Contest(t.Context(), []Entrant{fake("a", "2"), broken}, 1, none); err == nil || !strings.Contains(err.Error(), "no such module") || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a form that ended gave %v", err)
	}
	odd := Entrant{Form: "odd", Command: []string{"sh", "-c", "echo hello"}}
	if _, err := Contest(t.Context(), []Entrant{odd}, 1, none); err == nil || !strings.Contains(err.Error(), "hello") {
		t.Errorf("a form that says something else gave %v", err)
	}
	if _, err := Contest(t.Context(), []Entrant{{Form: "none", Command: []string{"/nothing/here"}}}, 1, none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a form that is not there gave %v", err)
	}
	// Lines that nobody waits for keep nobody from ending, nor does who does not listen.
	chatty := Entrant{Form: "chatty", Command: []string{"sh", "-c", "while true; do echo '{}'; done"}}
	if _, err := Contest(t.Context(), []Entrant{chatty, broken}, 1, none); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a form that does not stop talking beside one that ended gave %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Contest(ctx, []Entrant{fake("a", "2")}, 1, none); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled contest gave %v", err)
	}
}
