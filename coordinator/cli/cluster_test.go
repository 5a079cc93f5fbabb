package cli

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

// ask runs a verb against a fake, and returns what was printed.
func (f *fake) ask(args ...string) (stdout, stderr string, err error) {
	f.t.Helper()
	return run(f.t, &recorder{}, map[string]string{"RESSA_COORDINATOR": f.url}, api.DemoJob(), args...)
}

func TestVerbsPrintTheirAnswers(t *testing.T) {
	f := known(t)
	for name, args := range map[string][]string{
		"plan":      {"plan", "-"},
		"status":    {"status"},
		"job":       {"status", "b7c"},
		"failed":    {"status", "b70"},
		"nodes":     {"nodes"},
		"drain":     {"node", "drain", "t1"},
		"drain-off": {"node", "drain", "t1", "--off"},
		"cancel":    {"cancel", "b7c"},
		"explain":   {"explain", "b7c"},
		"history":   {"history", "b7c"},
		"wait":      {"wait", "cc"},
		"trace":     {"trace", "b7c", "--step", "12"},
		"members":   {"operator", "raft", "list"},
		"remove":    {"operator", "raft", "remove", "c3"},
	} {
		for _, form := range []string{"table", "json", "yaml"} {
			out, stderr, err := f.ask(append(args, "-o", form)...)
			if name == "trace" && strings.Contains(stderr, "the spans of node t3 are missing: it is not on the hub") {
				stderr = ""
			}
			if err != nil || stderr != "" {
				t.Errorf("%s: error %v, diagnostics %q", name, err, stderr)
				continue
			}
			golden(t, name+"."+form, out)
			if form == "json" && !json.Valid([]byte(out)) {
				t.Errorf("%s: no JSON: %s", name, out)
			}
		}
	}
}

func TestStatusHasTheKeysThatScriptsRead(t *testing.T) {
	f := known(t)
	out, _, err := f.ask("status", "b7c", "-o", "json")
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
	rank := got["ranks"].([]any)[0].(map[string]any)
	for _, key := range []string{"node", "pid", "role", "stage", "replica", "microbatches", "beat_age"} {
		if _, ok := rank[key]; !ok {
			t.Errorf("no %q in %v", key, rank)
		}
	}
}

func TestLogs(t *testing.T) {
	f := known(t)
	for _, c := range []struct{ form, call string }{{"table", "/logs"}, {"json", "/logs?follow=1"}} {
		args := []string{"logs", "b7c", "-o", c.form}
		if strings.Contains(c.call, "follow") {
			args = append(args, "-f")
		}
		out, _, err := f.ask(args...)
		if err != nil {
			t.Error(err)
		}
		golden(t, "logs."+c.form, out)
		if !slices.Contains(f.calls, "GET /v1/jobs/b7c1d2e3"+c.call) {
			t.Errorf("calls %v, want one for %s", f.calls, c.call)
		}
	}
}

// The code of a verb that waits is the job's; of one that asks it tells whether
// the answer is there.
func TestExitCodesOfTheCluster(t *testing.T) {
	f := known(t)
	gone := map[string]string{"RESSA_COORDINATOR": "http://127.0.0.1:1"}
	tooLarge := strings.Replace(api.DemoJob(), "name: demo ", "name: too-large ", 1)
	for name, c := range map[string]struct {
		stdin string
		args  []string
		code  int
		want  string
	}{
		"waits for one that succeeded":  {"", []string{"wait", "cc"}, 0, ""},
		"waits for one that failed":     {"", []string{"wait", "b70"}, 2, "job b7000000 failed: it does not fit: 5.0 GB are missing"},
		"waits for one that was ended":  {"", []string{"wait", "a1"}, 3, "job a1000000 cancelled"},
		"watches one that was ended":    {"", []string{"watch", "a1"}, 3, "job a1000000 cancelled"},
		"no such job":                   {"", []string{"status", "ff"}, 2, `0 jobs begin with "ff"`},
		"ambiguous":                     {"", []string{"explain", "b7"}, 2, `2 jobs begin with "b7"`},
		"no such coordinator":           {"", []string{"operator", "raft", "remove", "c9"}, 2, `no coordinator "c9", want one of [c1 c2 c3]`},
		"no such node":                  {"", []string{"node", "drain", "t9"}, 2, `no node "t9"`},
		"a plan that does not fit":      {tooLarge, []string{"plan", "-"}, 2, "5.0 GB are missing"},
		"a job file that is wrong":      {"name: 3 x\n", []string{"plan", "-"}, 2, "invalid job file"},
		"both here and there":           {"", []string{"repair", "-", "--local", "2", "--coordinator", f.url}, 2, "--coordinator, --local: found both"},
		"detached from a local cluster": {"", []string{"repair", "-", "--local", "2", "--detach"}, 2, "--detach: want --coordinator"},
		"coordinators of a cluster":     {"", []string{"repair", "-", "--coordinators", "3"}, 2, "--coordinators: found 3, want none without --local"},
		"negative":                      {"", []string{"repair", "-", "--nodes", "-1"}, 2, "--nodes: found -1, want 0 or more"},
		"no URL":                        {"", []string{"nodes", "--coordinator", "localhost:7400"}, 2, `coordinator "localhost:7400": want http://HOST:PORT`},
		"yaml events":                   {"", []string{"watch", "b7c", "-o", "yaml"}, 2, "want table or json"},
		"yaml lines":                    {"", []string{"logs", "b7c", "-o", "yaml"}, 2, "want table or json"},
	} {
		_, _, err := run(t, &recorder{}, map[string]string{"RESSA_COORDINATOR": f.url}, c.stdin, c.args...)
		if code := api.ExitCode(err); code != c.code || c.want != "" && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d with %v, want %d with %q", name, code, err, c.code, c.want)
		}
	}
	for _, verb := range []string{"nodes", "status"} {
		if _, _, err := run(t, &recorder{}, nil, "", verb); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "--coordinator") {
			t.Errorf("%s without a coordinator: %v", verb, err)
		}
	}
	if testing.Short() {
		return // takes as long as the patience of a call
	}
	if _, _, err := run(t, &recorder{}, gone, "", "nodes"); api.ExitCode(err) != api.ExitUnreachable || !strings.HasPrefix(err.Error(), "no coordinator reachable at http://127.0.0.1:1") || strings.Contains(err.Error(), "\n") {
		t.Errorf("exit %d: %v", api.ExitCode(err), err)
	}
}

func TestShellsCompleteNames(t *testing.T) {
	f := known(t)
	for line, want := range map[string]string{
		"cancel":     "b7c1d2e3\tdemo, running",
		"resume":     "b7000000\tbig, failed\na1000000\told, cancelled",
		"node drain": "t1\tready\nt2\tdraining\nt3\tlost\nt4\tunfit",
		"status":     "b7c1d2e3\tdemo, running\nb7000000\tbig, failed\na1000000\told, cancelled\ncc000000\tfine, succeeded",
		"status -o":  "table\njson\nyaml",
	} {
		out, _, err := f.ask(append([]string{"__complete"}, append(strings.Fields(line), "")...)...)
		if err != nil || !strings.HasPrefix(out, want+"\n:") {
			t.Errorf("%s: %q, %v, want %q", line, out, err, want)
		}
	}
}

func TestLiveViewShowsNodes(t *testing.T) {
	f := known(t)
	f.jobs[0].Status.Generation = 2
	last := changes()[0]
	lines := treeLines(f.jobs[0], f.nodes, &last)
	want := []string{"  generation 2 on 3 nodes: not heard for 3.0 s", "  │ went on after step 57, from memory; cost 4.1 s without steps and 1 step made again",
		"  ├ ○ t2  language replica 0", "  ├ ✗ t3  language replica 1      12 microbatches  lost: not heard for 3.0 s", "  └ ● t1  vision"}
	for i, w := range want {
		if !strings.Contains(lines[i], w) {
			t.Errorf("line %d is %q, want %q", i, lines[i], w)
		}
	}
	var out, terminal strings.Builder
	v := newLiveView(&out, &terminal)
	v.Nodes(lines)
	for _, e := range events() {
		v.Event(e)
		v.Nodes(lines)
	}
	v.Close(nil)
	for i, w := range want { // as wide as what is no terminal is taken to be
		want[i] = string([]rune(w)[:min(24, len([]rune(w)))])
	}
	for _, w := range append(want, "▸ prune: wanda 2:4", "a note") {
		if !strings.Contains(terminal.String(), w) {
			t.Errorf("no %q in %q", w, terminal.String())
		}
	}
	if !strings.Contains(out.String(), "sha256 abc") {
		t.Errorf("no closing table in %q", out.String())
	}
}

func TestLossesAreDrawn(t *testing.T) {
	for want, values := range map[string][]float64{"▁": {1}, "▁▁": {2, 2}, "█▅▁": {3, 2, 1}, "▁▁!!": {-1, 5, math.Inf(1), math.Inf(1)}, "▁▁!": {1, 2, math.NaN()}} {
		if got := spark(values); got != want {
			t.Errorf("%v is drawn as %s, want %s", values, got, want)
		}
	}
}
