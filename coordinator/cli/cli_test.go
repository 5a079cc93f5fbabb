package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

// recorder is a launcher that runs nothing and remembers what it was asked.
type recorder struct {
	job    api.Job
	o      LocalOptions
	status api.Status
	trace  api.Trace
	err    error
}

func (r *recorder) Repair(_ context.Context, j api.Job, o LocalOptions) (api.Result, error) {
	r.job, r.o = j, o
	res := api.Result{Event: "result", Job: j.Name, State: api.Succeeded}
	o.Emit(api.Event{Event: "result", Result: &res})
	return res, r.err
}

func (r *recorder) Resume(_ context.Context, o LocalOptions) (api.Result, error) {
	r.o = o
	return api.Result{}, r.err
}

func (r *recorder) Validate(context.Context, api.Job) error { return r.err }

func (r *recorder) Status(string) (api.Status, error) { return r.status, r.err }

func (r *recorder) Trace(string, int) (api.Trace, error) { return r.trace, r.err }

// run executes the command line with an environment and standard input.
func run(t *testing.T, l Launcher, env map[string]string, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	app := &App{Launcher: l, Version: "v0", Environment: Environment{Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}}
	root := app.Root(app.Commands()...)
	var out, diagnostics bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&diagnostics)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err = root.ExecuteContext(context.Background())
	return out.String(), diagnostics.String(), err
}

func TestInitIsAJobThatRepairs(t *testing.T) {
	text, _, err := run(t, &recorder{}, nil, "", "init")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	if _, _, err := run(t, r, nil, text, "repair", "-"); err != nil {
		t.Fatal(err)
	}
	if r.job.Name != "demo" || r.o.Dir != filepath.Join("ressa-output", "demo") || r.o.Device != "auto" {
		t.Errorf("job %q in %q on %q", r.job.Name, r.o.Dir, r.o.Device)
	}
}

func TestFlagsBeatVariablesBeatTheFile(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("threads: 3\noutput: from-file\ndevice: cpu\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	env := map[string]string{"RESSA_CONFIG": config, "RESSA_OUTPUT": "from-variable", "RESSA_THREADS": "2"}
	if _, _, err := run(t, r, env, api.DemoJob(), "repair", "-", "--threads", "1"); err != nil {
		t.Fatal(err)
	}
	if r.o.Threads != 1 || r.o.Dir != "from-variable" || r.o.Device != "cpu" {
		t.Errorf("threads %d, folder %q, device %q; want 1 of the flag, from-variable, cpu of the file", r.o.Threads, r.o.Dir, r.o.Device)
	}
}

func TestBadInputExitsWithTwo(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	lease := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(lease, []byte("lease: 20ms\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"lease":         {nil, []string{"coordinator", "--data", missing, "--lease", "0s"}, "--lease: found 0s, want a time above 0"},
		"short lease":   {map[string]string{"RESSA_CONFIG": lease}, []string{"coordinator", "--data", missing}, "--lease: found 20ms, want at least 100ms"},
		"no lease":      {map[string]string{"RESSA_LEASE": "3"}, []string{"coordinator", "--data", missing}, `RESSA_LEASE: --lease: found "3", want a time such as 3s or 1m30s`},
		"no file":       {nil, []string{"repair", missing}, "none.yaml"},
		"no argument":   {nil, []string{"repair"}, "want 1"},
		"two arguments": {nil, []string{"status", "a", "b"}, "want 1"},
		"flag":          {nil, []string{"repair", "-", "--stepz"}, "stepz"},
		"form":          {nil, []string{"repair", "-", "-o", "xml"}, "want table, json or yaml"},
		"yaml events":   {nil, []string{"repair", "-", "-o", "yaml"}, "want table or json"},
		"threads":       {nil, []string{"repair", "-", "--threads", "-1"}, "--threads: found -1, want 0 (all processors) to 1024"},
		"a device":      {nil, []string{"repair", "-", "--device", "gpu"}, `--device: found "gpu", want auto, cpu, cuda or cuda:N`},
		"its device":    {nil, []string{"repair", "-", "--local", "2", "--device", "gpu", "--output", filepath.Join(t.TempDir(), "run")}, `--device: found "gpu", want auto, cpu, cuda or cuda:N`},
		"many threads":  {nil, []string{"repair", "-", "--threads", "100000000"}, "--threads: found 100000000, want 0 (all processors) to 1024"},
		"all the time":  {map[string]string{"RESSA_THREADS": "1025"}, []string{"resume", "x"}, "--threads: found 1025"},
		"no number":     {nil, []string{"repair", "-", "--threads", "99999999999999999999"}, `--threads: found "99999999999999999999", want an integer of at most 64 bits`},
		"no boolean":    {nil, []string{"repair", "-", "--verbose=maybe"}, `--verbose: found "maybe", want true or false`},
		"variable's":    {map[string]string{"RESSA_THREADS": "many"}, []string{"repair", "-"}, `RESSA_THREADS: --threads: found "many", want an integer`},
		"variable":      {map[string]string{"RESSA_THREADS": "many"}, []string{"repair", "-"}, "RESSA_THREADS"},
		"endless":       {map[string]string{"RESSA_CONFIG": "/dev/zero"}, []string{"repair", "-"}, "configuration /dev/zero: found more than 32768 bytes"},
		"endless job":   {nil, []string{"repair", "/dev/zero"}, "/dev/zero: found more than 32768 bytes"},
		"configuration": {map[string]string{"RESSA_CONFIG": missing}, []string{"repair", "-"}, "configuration"},
		"job":           {nil, []string{"validate", missing}, "job file"},
	} {
		_, _, err := run(t, &recorder{}, c.env, api.DemoJob(), c.args...)
		if api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, error %v, want 2 with %q", name, api.ExitCode(err), err, c.want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		api.ExitDone: nil, api.ExitFailed: errors.New("loss is not finite"), api.ExitInvalid: api.Invalid(errors.New("x")), api.ExitCancelled: context.Canceled,
	} {
		_, stderr, got := run(t, &recorder{err: err}, nil, api.DemoJob(), "repair", "-", "--output", "here")
		if code := api.ExitCode(got); code != want {
			t.Errorf("exit %d, want %d", code, want)
		}
		if hint := strings.Contains(stderr, "ressa resume here"); hint != (want == api.ExitCancelled) {
			t.Errorf("exit %d: hint to resume %v", want, hint)
		}
	}
}

func TestStatusForms(t *testing.T) {
	r := &recorder{status: api.Status{Job: "demo", State: api.Interrupted, Phase: "train", Step: 3, Steps: 9, Ranks: []api.Rank{}}}
	out, _, err := run(t, r, nil, "", "status", "dir", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"job", "state", "phase", "step", "steps", "generation", "leader", "ranks"} {
		if _, ok := got[key]; !ok {
			t.Errorf("no %q in %s", key, out)
		}
	}
	for form, want := range map[string]string{"table": "step   3 of 9", "yaml": "state: interrupted"} {
		if out, _, err := run(t, r, nil, "", "status", "dir", "-o", form); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v", form, out, err)
		}
	}
}

func events() []api.Event {
	recovery := 0.9
	score := &api.Score{Score: 80, Low: 79, High: 81, Correct: 8, Questions: 10, Kinds: []api.KindScore{{Kind: "count", Score: 75}}}
	return []api.Event{
		{Event: "phase", Job: "demo", Phase: "prune", Message: "wanda 2:4"},
		{Event: "progress", Of: "dense", Done: 1, Total: 2},
		{Event: "score", Of: "dense", Score: score},
		{Event: "step", Step: &api.Step{Step: 2, Steps: 2, Loss: 0.5, Tokens: 100, Seconds: 0.5}},
		{Event: "note", Message: "a note"},
		{Event: "result", Result: &api.Result{Event: "result", Job: "demo", State: api.Succeeded, Dense: score, Recovery: &recovery, Pattern: "2:4",
			Sparsity: map[string]float64{"vision": 0.5}, AdapterSHA256: "abc", Output: "out"}},
	}
}

func TestPlainView(t *testing.T) {
	var out, diagnostics bytes.Buffer
	v := NewView(Table, &out, &diagnostics, false)
	for _, e := range events() {
		v.Event(e)
	}
	v.Close(nil)
	for _, want := range []string{"▸ prune: wanda 2:4", "dense      80.00 %", "step 2/2  loss 0.5000", "200 tok/s", "a note"} {
		if !strings.Contains(diagnostics.String(), want) {
			t.Errorf("no %q in %q", want, diagnostics.String())
		}
	}
	for _, want := range []string{"79.00 – 81.00", "count 75.0", "0.900 of what pruning to 2:4 lost", "vision    50.00 %", "sha256 abc"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

// A job that was refused leaves its error to be printed and says nothing else;
// one that failed later says how long it took.
func TestViewsOfARefusedJob(t *testing.T) {
	failed := &api.Result{Event: "result", Job: "demo", State: api.Failed}
	for _, live := range []bool{false, true} {
		for _, c := range []struct {
			err    error
			events []api.Event
			want   string
			says   string // on diagnostics, of the plain view
		}{
			{api.Invalid(errors.New("x")), nil, "", ""},
			{errors.New("x"), []api.Event{{Event: "phase", Phase: "train"}}, "demo failed after 0.0 s\n", "▸ prepare\n▸ train\n"},
			{context.Canceled, nil, "demo failed after 0.0 s\n", "▸ prepare\n"},
		} {
			var out, diagnostics bytes.Buffer
			v := NewView(Table, &out, &diagnostics, live)
			for _, e := range append([]api.Event{{Event: "phase", Phase: "prepare"}}, append(c.events, api.Event{Event: "result", Result: failed})...) {
				v.Event(e)
			}
			v.Close(c.err)
			if out.String() != c.want || !live && diagnostics.String() != c.says {
				t.Errorf("live %v, %v: printed %q and %q, want %q and %q", live, c.err, out.String(), diagnostics.String(), c.want, c.says)
			}
		}
	}
}

// A reader of standard input that never ends does not outlast its context.
func TestReadingAJobIsInterrupted(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	app := &App{Launcher: &recorder{}, Environment: Environment{Lookup: func(string) (string, bool) { return "", false }}}
	root := app.Root(app.Commands()...)
	root.SetIn(in)
	root.SetArgs([]string{"repair", "-"})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := root.ExecuteContext(ctx); api.ExitCode(err) != api.ExitCancelled {
		t.Errorf("exit %d: %v", api.ExitCode(err), err)
	}
}

func TestLiveViewKeepsEveryLine(t *testing.T) {
	var out, terminal bytes.Buffer
	v := NewView(Table, &out, &terminal, true)
	for _, e := range events() {
		v.Event(e)
	}
	v.Close(nil)
	for _, want := range []string{"▸ prune: wanda 2:4", "dense      80.00 %", "a note"} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("no %q in %q", want, terminal.String())
		}
	}
	if !strings.Contains(out.String(), "sha256 abc") {
		t.Errorf("no closing table in %q", out.String())
	}
}

func TestJSONViewEndsWithTheResult(t *testing.T) {
	var out bytes.Buffer
	v := NewView(JSON, &out, &bytes.Buffer{}, true)
	for _, e := range events() {
		v.Event(e)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(events()) {
		t.Fatalf("%d lines, want one an event", len(lines))
	}
	var last map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last["event"] != "result" || last["adapter_sha256"] != "abc" || last["recovery"] != 0.9 {
		t.Errorf("last line %v", last)
	}
}

func TestUnknownVerbIsRefused(t *testing.T) {
	_, _, err := run(t, &recorder{}, nil, "", "repare", "x")
	if api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), `unknown command "repare", did you mean "repair"?`) {
		t.Errorf("exit %d, error %v", api.ExitCode(err), err)
	}
}
