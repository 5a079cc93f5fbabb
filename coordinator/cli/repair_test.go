package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// succeeding makes the first job of a fake one that succeeds, with an output.
func succeeding(t *testing.T) *fake {
	f := known(t)
	j := &f.jobs[0]
	result := *events()[len(events())-1].Result
	result.Output = "/somewhere/else"
	j.Status.State, j.Ended, j.Result = api.Succeeded, at(30), &result
	f.list("output/config.json", "{}")
	f.list("output/adapter/adapter_config.json", "{\"r\":16}")
	f.list("result.json", "{}\n")
	return f
}

func TestRepairFollowsAndDownloads(t *testing.T) {
	f := succeeding(t)
	dir := filepath.Join(t.TempDir(), "here")
	out, stderr, err := f.ask("repair", "-", "--nodes", "3", "--vision-replicas", "1", "--language-replicas", "2", "--output", dir, "-o", "json")
	if err != nil {
		t.Fatal(err, stderr)
	}
	if f.asked.Nodes != 3 || f.asked.VisionReplicas != 1 || f.asked.LanguageReplicas != 2 || f.asked.Spec != api.DemoJob() {
		t.Errorf("asked for %+v", f.asked)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last api.Result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Event != "result" || last.State != api.Succeeded || last.Output != filepath.Join(dir, "output") || strings.Count(out, `"event":"result"`) != 1 {
		t.Errorf("printed %s", out)
	}
	for path, want := range map[string]string{"output/config.json": "{}", "output/adapter/adapter_config.json": "{\"r\":16}", "result.json": "{}\n", "job.yaml": ""} {
		raw, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || want != "" && string(raw) != want {
			t.Errorf("%s: %q, %v", path, raw, err)
		}
	}
	for _, note := range []string{"node t2 is draining", "node t3 is lost: not heard for 3.0 s", "generation 1 on t1, t2, t3: runs on 3 nodes"} {
		if !strings.Contains(out, note) {
			t.Errorf("no %q in %s", note, out)
		}
	}
	// The folder holds a run now.
	if _, _, err := f.ask("repair", "-", "--output", dir); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "holds a run already") {
		t.Errorf("again: %v", err)
	}
}

func TestRepairShowsTheClosingTable(t *testing.T) {
	f := succeeding(t)
	out, stderr, err := f.ask("repair", "-", "--output", filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.900 of what pruning to 2:4 lost", "sha256 abc"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	for _, want := range []string{"▸ prune: wanda 2:4", "step 2/2", "node t3 is lost"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
}

func TestADamagedFileIsNotKept(t *testing.T) {
	f := succeeding(t)
	f.files["output/config.json"] = "[]"
	dir := filepath.Join(t.TempDir(), "here")
	_, _, err := f.ask("repair", "-", "--output", dir)
	if api.ExitCode(err) != api.ExitFailed || !strings.Contains(err.Error(), "job b7c1d2e3 succeeded, but download output/config.json") || !strings.Contains(err.Error(), "fetch it with: ressa watch b7c1d2e3") {
		t.Errorf("exit %d: %v", api.ExitCode(err), err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left %s: %v", dir, err)
	}
	// The command that it names fetches it, also past what a killed one left.
	f.files["output/config.json"] = "{}"
	if err := os.MkdirAll(filepath.Join(dir, partialPrefix+"1", "output"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.ask("watch", "b7c", "--output", dir); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("found %v, %v, want job.yaml, output and result.json", entries, err)
	}
}

func TestRepairEndsWithTheJobsCode(t *testing.T) {
	for state, c := range map[string]struct{ code, want int }{
		api.Failed: {1, 1}, api.Cancelled: {3, 3},
	} {
		f := known(t)
		j := &f.jobs[0]
		j.Status.State, j.Status.Error, j.ExitCode, j.Ended = state, "step 7: loss NaN", c.code, at(8)
		dir := filepath.Join(t.TempDir(), "here")
		out, _, err := f.ask("repair", "-", "--output", dir)
		if api.ExitCode(err) != c.want || !strings.Contains(err.Error(), "step 7: loss NaN") || !strings.Contains(out, "demo "+state) {
			t.Errorf("%s: exit %d, %v, printed %q", state, api.ExitCode(err), err, out)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: left its empty folder: %v", state, err)
		}
	}
}

func TestDetach(t *testing.T) {
	f := known(t)
	out, stderr, err := f.ask("repair", "-", "--detach")
	if err != nil || out != "b7c1d2e3\n" || !strings.Contains(stderr, "ressa watch b7c1d2e3 --coordinator "+f.url) {
		t.Errorf("printed %q and %q, %v", out, stderr, err)
	}
	out, _, err = f.ask("repair", "-", "--detach", "-o", "json")
	var s api.Status
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || s.Job != "b7c1d2e3" {
		t.Errorf("printed %q, %v", out, err)
	}
	out, _, err = f.ask("resume", "a1", "--detach")
	if err != nil || out != "a1000000\n" || !slices.Contains(f.calls, "POST /v1/jobs/a1/resume") {
		t.Errorf("printed %q, %v, calls %v", out, err, f.calls)
	}
}

// Ctrl-C leaves the job running and says how to come back.
func TestInterruptDetaches(t *testing.T) {
	f := known(t)
	f.hang = make(chan struct{})
	defer close(f.hang)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	_, _, err := runOn(t, ctx, nil, map[string]string{"RESSA_COORDINATOR": f.url}, api.DemoJob(), "repair", "-", "--output", filepath.Join(t.TempDir(), "x"))
	if api.ExitCode(err) != api.ExitCancelled || !strings.Contains(err.Error(), "job b7c1d2e3 goes on; come back with: ressa watch b7c1d2e3 --coordinator "+f.url+" --output ") {
		t.Errorf("exit %d: %v", api.ExitCode(err), err)
	}
	for _, c := range f.calls {
		if strings.Contains(c, "cancel") {
			t.Errorf("called %s", c)
		}
	}
}

func TestRepairOnAClusterOfThisMachine(t *testing.T) {
	f := succeeding(t)
	cluster := &started{f: f}
	dir := filepath.Join(t.TempDir(), "below", "here")
	out, stderr, err := runOn(t, t.Context(), cluster, map[string]string{"RESSA_COORDINATOR": "http://127.0.0.1:1"}, api.DemoJob(),
		"repair", "-", "--local", "4", "--coordinators", "3", "--threads", "2", "--output", dir)
	if err != nil {
		t.Fatal(err, stderr)
	}
	if c := cluster.config; c.Nodes != 4 || c.Coordinators != 3 || c.Threads != 2 || c.Dir != filepath.Dir(dir) || f.asked.Nodes != 4 || !cluster.closed {
		t.Errorf("started %+v, asked for %d nodes, closed %v", c, f.asked.Nodes, cluster.closed)
	}
	if !strings.Contains(out, "sha256 abc") {
		t.Errorf("printed %s", out)
	}
}

func TestInterruptEndsAClusterOfThisMachine(t *testing.T) {
	f := known(t)
	f.hang = make(chan struct{})
	defer close(f.hang)
	cluster := &started{f: f}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	_, _, err := runOn(t, ctx, cluster, nil, api.DemoJob(), "repair", "-", "--local", "1", "--output", filepath.Join(t.TempDir(), "x"))
	if api.ExitCode(err) != api.ExitCancelled || !strings.Contains(err.Error(), "are gone") || !cluster.closed {
		t.Errorf("exit %d: %v, closed %v", api.ExitCode(err), err, cluster.closed)
	}
}

// What a dead process of the cluster wrote is part of the error.
func TestADeadProcessShows(t *testing.T) {
	f := known(t)
	f.jobs[0].Status.State, f.jobs[0].ExitCode = api.Failed, 1
	cluster := &started{f: f, dead: errors.New("t2 ended with signal: killed")}
	_, _, err := runOn(t, t.Context(), cluster, nil, api.DemoJob(), "repair", "-", "--local", "2", "--output", filepath.Join(t.TempDir(), "x"))
	if api.ExitCode(err) != api.ExitFailed || !strings.Contains(err.Error(), "t2 ended with signal: killed") {
		t.Errorf("exit %d: %v", api.ExitCode(err), err)
	}
}

func TestAnOutputFolderIsClaimed(t *testing.T) {
	parent := t.TempDir()
	write := func(dir, name string) string {
		t.Helper()
		dir = filepath.Join(parent, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	other, run := write("other", "notes.txt"), write("run", "result.json")
	mixed := write("mixed", "result.json")
	write("mixed", "notes.txt")
	for _, c := range []struct {
		dir     string
		replace bool
		want    string
	}{
		{other, false, "holds notes.txt and no run"}, {other, true, "holds notes.txt and no run"},
		{run, false, "holds a run already"}, {mixed, true, "holds notes.txt"}, {filepath.Join(other, "notes.txt"), true, "notes.txt"},
		{run, true, ""}, {run, false, ""},
	} {
		_, err := claim(c.dir, c.replace)
		if c.want == "" && err != nil || c.want != "" && (api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, replace %v: %v, want %q", c.dir, c.replace, err, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(mixed, "result.json")); err != nil {
		t.Errorf("discarded from a folder that was refused: %v", err)
	}
}
