package cli

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// traced is a step of two nodes, with a third one missing.
func traced(job string) api.Trace {
	root := telemetry.StepRoot(job, 1, 12)
	t := api.Trace{Job: job, Generation: 1, Step: 12, TraceID: root.Trace.String(), Sampled: true, Missing: []api.Taken{{Node: "t3", Reason: "it is not on the hub"}}}
	put := func(id, parent, name, service, node string, from, to int, attributes map[string]string, links ...string) {
		t.Spans = append(t.Spans, api.Span{ID: id, Parent: parent, Name: name, Service: service, Node: node,
			Start: at(0).Add(time.Duration(from) * time.Millisecond), End: at(0).Add(time.Duration(to) * time.Millisecond), Attributes: attributes, Links: links})
	}
	mb := func(n, bytes string) map[string]string {
		m := map[string]string{"ressa.microbatch": n}
		if bytes != "" {
			m["ressa.bytes"] = bytes
		}
		return m
	}
	put(root.Span.String(), "", "step", "ressa-trainer", "t1", 0, 110, nil)
	put("a1", root.Span.String(), "microbatch", "ressa-trainer", "t1", 0, 90, mb("0", ""))
	put("a2", "a1", "vision.forward", "ressa-vision", "t1", 0, 20, mb("0", ""))
	put("a3", "a1", "activations.send", "ressa-vision", "t1", 20, 24, mb("0", "81920"))
	put("a4", "a1", "activations.recv", "ressa-vision", "t1", 24, 72, mb("0", "81920"), "b4")
	put("a5", "a1", "vision.backward", "ressa-vision", "t1", 72, 90, mb("0", ""))
	put("b0", root.Span.String(), "microbatch", "ressa-trainer", "t2", 0, 72, mb("0", ""))
	put("b1", "b0", "activations.recv", "ressa-language", "t2", 1, 25, mb("0", "81920"), "a3")
	put("b2", "b0", "language.forward", "ressa-language", "t2", 25, 50, mb("0", ""))
	put("b3", "b0", "language.backward", "ressa-language", "t2", 50, 70, mb("0", ""))
	put("b4", "b0", "activations.send", "ressa-language", "t2", 70, 72, mb("0", "81920"))
	put("a6", root.Span.String(), "optimizer", "ressa-trainer", "t1", 92, 110, nil)
	return t
}

func (f *fake) profile(job string) api.Profile {
	return api.Profile{Job: job, Missing: []api.Taken{{Node: "t2", Reason: "no answer for 5s"}}, Nodes: []api.NodeProfile{
		{Node: "t1", Seconds: 1.5, FirstStep: 3, LastStep: 4, CPU: []byte("cpu"), Heap: []byte("heap"), Goroutines: []byte("goroutines"),
			Phases: []api.PhaseTime{{Name: "step", Service: "ressa-trainer", Count: 2, Seconds: 1.25}}}}}
}

// drawn is the waterfall of a run in a folder, on a terminal of a width.
func drawn(t *testing.T, l *recorder, columns string, args ...string) (string, error) {
	t.Helper()
	out, _, err := run(t, l, map[string]string{"COLUMNS": columns}, "", append([]string{"trace"}, args...)...)
	return out, err
}

func TestBarsFillTheTerminal(t *testing.T) {
	l := &recorder{trace: traced("b7c1d2e3")}
	for _, c := range []struct {
		columns string
		want    int
	}{{"80", 80}, {"160", 160}, {"40", leastWidth}, {"x", plainWidth}, {"", plainWidth}} {
		out, err := drawn(t, l, c.columns, "run")
		if err != nil {
			t.Fatal(err)
		}
		bars := 0
		for _, line := range strings.Split(out, "\n") {
			if strings.HasSuffix(line, "|") {
				bars++
				if n := len([]rune(line)); n != c.want {
					t.Errorf("%s columns: a line has %d, want %d: %q", c.columns, n, c.want, line)
				}
			}
		}
		if bars != len(l.trace.Spans) {
			t.Errorf("%d bars for %d spans", bars, len(l.trace.Spans))
		}
	}
}

// What comes from elsewhere cannot steer a terminal.
func TestATraceIsPrintable(t *testing.T) {
	x := traced("b7c1d2e3")
	x.Spans[3].Name, x.Spans[4].Error = "\x1b[2Jactivations.send", "broken\npipe\x1b[31m"
	out, err := drawn(t, &recorder{trace: x}, "100", "run")
	if err != nil || strings.ContainsAny(out, "\x1b\r") || !strings.Contains(out, "failed: broken pipe") {
		t.Errorf("error %v, found %q", err, out)
	}
}

func TestTraceRefuses(t *testing.T) {
	l := &recorder{trace: traced("b7c1d2e3")}
	for want, args := range map[string][]string{
		"--step: found -1":             {"run", "--step", "-1"},
		"--generation: found -2":       {"run", "--generation", "-2"},
		"a run in a folder has none":   {"./run", "--generation", "2"},
		`--jaeger: found "ftp://x"`:    {"b7c1d2e3", "--jaeger", "ftp://x", "--step", "1", "--generation", "1"},
		"--step, --generation: want":   {"b7c1d2e3", "--jaeger", "http://127.0.0.1:1"},
		"found 0 arguments, want 1":    {},
		"--step: found \"a\", want an": {"run", "--step", "a"},
	} {
		if _, err := drawn(t, l, "", args...); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", args, err, want)
		}
	}
	l.err = errors.New("no steps there")
	if _, err := drawn(t, l, "", "run"); api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("a folder without steps: %v", err)
	}
}

// The trace's ID follows from job, generation and step: a collector is asked for it.
func TestTraceFromACollector(t *testing.T) {
	f := known(t)
	id := telemetry.StepRoot("b7c1d2e3", 1, 3).Trace.String()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/traces/"+id {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"data":[{"traceID":"`+id+`","spans":[{"spanID":"a1","operationName":"step","startTime":1700000000000000,"duration":1500,"processID":"p1"}],
			"processes":{"p1":{"serviceName":"ressa-trainer","tags":[{"key":"service.instance.id","value":"t1"}]}}}]}`)
	}))
	defer s.Close()
	for _, args := range [][]string{{"trace", "b7c", "--jaeger", s.URL, "-o", "json"}, {"trace", "b7c1d2e3", "--jaeger", s.URL, "--step", "3", "--generation", "1", "--coordinator", "", "-o", "json"}} {
		out, _, err := f.ask(args...)
		var x api.Trace
		if err == nil {
			err = json.Unmarshal([]byte(out), &x)
		}
		if err != nil || x.TraceID != id || len(x.Spans) != 1 || x.Spans[0].Node != "t1" {
			t.Errorf("%v: %+v, %v", args, x, err)
		}
	}
	if _, _, err := f.ask("trace", "b7c", "--jaeger", s.URL, "--step", "4"); err == nil || !strings.Contains(err.Error(), "no such trace") {
		t.Errorf("a step that was not sampled: %v", err)
	}
}

func TestAProfileIsAnArchive(t *testing.T) {
	f := known(t)
	to := filepath.Join(t.TempDir(), "p.tar.gz")
	out, stderr, err := f.ask("profile", "b7c", "--steps", "2", "--limit", "1500ms", "--output", to)
	if err != nil || out != to+"\n" || !strings.Contains(stderr, "node t2 gave no profile: no answer for 5s") || !strings.Contains(stderr, "node t1: steps 3 to 4 in 1.5 s") {
		t.Fatalf("%q, %q, %v", out, stderr, err)
	}
	if last := f.calls[len(f.calls)-1]; last != "GET /v1/jobs/b7c/profile?seconds=2&steps=2" {
		t.Errorf("asked %q", last)
	}
	raw, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	z, err := gzip.NewReader(raw)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = string(text)
	}
	root := "profile-b7c1d2e3/"
	if found[root+"t1/cpu.pprof"] != "cpu" || found[root+"t1/heap.pprof"] != "heap" || found[root+"t1/goroutines.pprof"] != "goroutines" ||
		!strings.Contains(found[root+"t1/phases.json"], `"seconds": 1.25`) || !strings.Contains(found[root+"profile.json"], "no answer for 5s") || len(found) != 5 {
		t.Errorf("found %v", found)
	}
}

func TestAProfileThatFailsLeavesNothing(t *testing.T) {
	f := known(t)
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"no steps":       {"profile", "b7c", "--steps", "0"},
		"no time":        {"profile", "b7c", "--limit", "0s"},
		"too long":       {"profile", "b7c", "--limit", "1h"},
		"no such folder": {"profile", "b7c", "--output", filepath.Join(dir, "a", "b")},
		"no such job":    {"profile", "zz"},
	} {
		if !slices.Contains(args, "--output") {
			args = append(args, "--output", filepath.Join(dir, "p"))
		}
		if _, _, err := f.ask(args...); api.ExitCode(err) != api.ExitInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := f.profile("b7c1d2e3")
	bad.Nodes[0].Node = "../../etc"
	if err := writeProfile(filepath.Join(dir, "p"), bad); err == nil {
		t.Error("a node whose name leads out of the archive")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// Once a job is known, what a followed repair asks is of the job's trace.
func TestRequestsCarryTheirTrace(t *testing.T) {
	f := known(t)
	f.list("result.json", "{}")
	if _, _, err := f.ask("repair", "-", "--output", filepath.Join(t.TempDir(), "run")); err == nil {
		t.Fatal("the fake's job runs for ever")
	}
	root := telemetry.JobRoot("b7c1d2e3").Trace.String()
	if !strings.HasSuffix(f.traces[0], " false") || strings.HasPrefix(f.traces[0], root) || strings.HasPrefix(f.traces[0], "0000") {
		t.Errorf("%s carries %s", f.calls[0], f.traces[0])
	}
	if len(f.calls) < 2 {
		t.Fatalf("calls %v", f.calls)
	}
	for i, c := range f.calls[1:] {
		if f.traces[i+1] != root+" true" {
			t.Errorf("%s carries %s, want %s", c, f.traces[i+1], root)
		}
	}
}
