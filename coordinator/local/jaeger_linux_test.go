package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
	"ressa/coordinator/jaeger"
)

// startJaeger builds Jaeger, unless an earlier test has, starts it on free ports and
// returns where it takes spans and where it is asked for them.
func startJaeger(t *testing.T) (overGRPC, overHTTP, query string) {
	t.Helper()
	const dir = "../../deploy/jaeger"
	cmd := exec.Command(filepath.Join(dir, "build"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		t.Skipf("Jaeger's Go module cannot be downloaded: %s", out)
	}
	if err != nil {
		t.Fatalf("build Jaeger: %v\n%s", err, out)
	}
	at := freeAddresses(t, 3)
	path := filepath.Join(t.TempDir(), "jaeger.log")
	log, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has it
	run := exec.Command(filepath.Join(dir, "start"))
	run.Env = append(os.Environ(), "OTLP_GRPC="+at[0], "OTLP_HTTP="+at[1], "QUERY="+at[2])
	run.Stdout, run.Stderr, run.SysProcAttr = log, log, &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait() // was killed
		if raw, err := os.ReadFile(path); t.Failed() && err == nil {
			t.Logf("Jaeger:\n%s", raw)
		}
	})
	query = "http://" + at[2]
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(query + "/api/services")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "grpc://" + at[0], "http://" + at[1], query
			}
		}
		if time.Now().After(end) {
			t.Fatalf("Jaeger does not answer: %v", err)
		}
	}
}

// freeAddresses returns addresses on loopback that nobody listens on.
func freeAddresses(t *testing.T, n int) (out []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all stay open until all are known
		out = append(out, l.Addr().String())
	}
	return out
}

// await reads a trace until everything in it is there that a test waits for: spans are
// delivered beside the work.
func await(t *testing.T, read func(context.Context) ([]api.Span, error), complete func([]api.Span) error) []api.Span {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		spans, err := read(ctx)
		if err == nil {
			if err = complete(spans); err == nil {
				return spans
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not complete in 30 s: %v", err)
		}
	}
}

// spanNames are those of one step.
var spanNames = strings.Fields("step vision.forward activations.send activations.recv teacher.forward language.forward loss language.backward vision.backward allreduce optimizer checkpoint")

// missing returns an error that names what no span is called.
func missing(spans []api.Span, names ...string) error {
	var out []string
	for _, n := range names {
		if !slices.ContainsFunc(spans, func(s api.Span) bool { return s.Name == n }) {
			out = append(out, n)
		}
	}
	if len(out) > 0 {
		return fmt.Errorf("%d spans, none is called %s", len(spans), strings.Join(out, ", "))
	}
	return nil
}

// One step of a job whose towers are on two nodes is one trace in a real Jaeger, over
// gRPC and over HTTP: all spans with their parents, both towers, services named per role, sends and
// receives linked, on clocks that agree. What was decided about the job is another one.
func TestAStepInJaeger(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes")
	}
	overGRPC, overHTTP, query := startJaeger(t)
	bin, dir := program(t), t.TempDir()
	for _, endpoint := range []string{overGRPC, overHTTP} {
		text := api.DemoJob()
		for from, to := range map[string]string{
			"  steps: 400": "  steps: 3", "  warmup: 20 ": "  warmup: 1 ", "  questions: 10000": "  questions: 500", "  checkpoint_every: 100": "  checkpoint_every: 2",
			"  # endpoint: http://127.0.0.1:4318": "  endpoint: " + endpoint,
		} {
			if !strings.Contains(text, from) {
				t.Fatalf("the demo's job has no %q", from)
			}
			text = strings.Replace(text, from, to, 1)
		}
		if err := os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r := repair(t, bin, dir, "--local", "2", "--vision-replicas", "1", "--language-replicas", "1")
		j, err := jaeger.New(query)
		if err != nil {
			t.Fatal(err)
		}
		job := checkJob(t, await(t, func(ctx context.Context) ([]api.Span, error) { return j.Spans(ctx, r.TraceID) }, func(s []api.Span) error {
			return missing(s, "job", "submitted", "inspect", "inspected", "planned", "started", "checkpoint", "succeeded", "prepare", "train", "export", "repair")
		}))
		checkStep(t, await(t, func(ctx context.Context) ([]api.Span, error) {
			x, err := j.Step(ctx, job, 1, 2)
			return x.Spans, err
		}, func(s []api.Span) error { return missing(s, spanNames...) }))
		out, err := exec.Command(bin, "trace", job, "--generation", "1", "--step", "2", "--jaeger", query, "--coordinator", "").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "step 2 of job "+job) || !strings.Contains(string(out), "critical path (*): ") {
			t.Errorf("ressa trace: %v\n%s", err, out)
		}
		t.Logf("%s", out)
	}
}

// checkJob checks the trace of a job, and returns the job's ID.
func checkJob(t *testing.T, spans []api.Span) string {
	t.Helper()
	services := map[string]bool{}
	root := slices.IndexFunc(spans, func(s api.Span) bool { return s.Name == "job" })
	for i, s := range spans {
		services[s.Service] = true
		if i != root && s.Parent != spans[root].ID {
			t.Errorf("%s of %s is under %q, the root is %s", s.Name, s.Service, s.Parent, spans[root].ID)
		}
	}
	for _, s := range []string{"ressa-coordinator", "ressa-trainer", "ressa-cli"} {
		if !services[s] {
			t.Errorf("the job's trace has no span of %s", s)
		}
	}
	return spans[root].Attributes["ressa.job"]
}

// checkStep checks the trace of a step.
func checkStep(t *testing.T, spans []api.Span) {
	t.Helper()
	known, root := map[string]api.Span{}, spans[0]
	for _, s := range spans {
		known[s.ID] = s
		if s.Name == "step" {
			root = s
		}
	}
	services := map[string]string{"vision.forward": "ressa-vision", "vision.backward": "ressa-vision", "language.forward": "ressa-language", "language.backward": "ressa-language",
		"loss": "ressa-language", "step": "ressa-trainer", "microbatch": "ressa-trainer", "optimizer": "ressa-trainer"}
	count, nodes, towers := map[string]int{}, map[string]string{}, map[string]bool{}
	for _, s := range spans {
		count[s.Name+" of "+s.Service]++
		if want := services[s.Name]; want != "" && s.Service != want {
			t.Errorf("%s is of %s, want %s", s.Name, s.Service, want)
		}
		nodes[s.Service] = s.Node
		towers[s.Attributes["ressa.tower"]] = true
		switch p, ok := known[s.Parent]; {
		case s.ID == root.ID && s.Parent != "" || s.ID != root.ID && !ok:
			t.Errorf("%s of %s is under %q, which the trace does not have", s.Name, s.Node, s.Parent)
		case ok && (s.Attributes["ressa.microbatch"] != "") == (p.Name == "step") && s.Name != "microbatch":
			t.Errorf("%s of microbatch %q is under %s", s.Name, s.Attributes["ressa.microbatch"], p.Name)
		case ok && p.Node != s.Node && p.ID != root.ID:
			t.Errorf("%s of %s is under %s of %s", s.Name, s.Node, p.Name, p.Node)
		}
		if s.Error != "" {
			t.Errorf("%s of %s failed: %s", s.Name, s.Node, s.Error)
		}
		onTime(t, s, root)
		if s.Name == "activations.recv" {
			followed(t, s, known)
		}
	}
	// Of the 8 microbatches each has its way through both towers, and back.
	for _, name := range []string{"vision.forward of ressa-vision", "vision.backward of ressa-vision", "teacher.forward of ressa-vision", "language.forward of ressa-language", "language.backward of ressa-language",
		"loss of ressa-language", "activations.send of ressa-vision", "activations.recv of ressa-vision", "activations.send of ressa-language", "activations.recv of ressa-language"} {
		if count[name] != 8 {
			t.Errorf("%d spans %s, want one a microbatch", count[name], name)
		}
	}
	for _, name := range []string{"allreduce of ressa-vision", "allreduce of ressa-language"} {
		if count[name] != 1 {
			t.Errorf("%d spans %s", count[name], name)
		}
	}
	if count["step of ressa-trainer"] != 1 || count["optimizer of ressa-trainer"] != 2 || count["microbatch of ressa-trainer"] != 16 || nodes["ressa-vision"] == nodes["ressa-language"] || !towers["vision"] || !towers["language"] {
		t.Errorf("spans %v on %v, towers %v", count, nodes, towers)
	}
}

// Workers begin a step and end it within so much of each other, on one clock.
const apart = 500 * time.Millisecond

// onTime checks that a span is inside of its step: but for its checkpoint, which comes
// behind it, and exactly on the node that the step's span is of.
func onTime(t *testing.T, s, root api.Span) {
	t.Helper()
	tolerance := 2 * time.Microsecond // Jaeger's times are whole microseconds
	if s.Node != root.Node {
		tolerance = apart
	}
	if s.Start.Before(root.Start.Add(-tolerance)) || s.Name != "checkpoint" && s.End.After(root.End.Add(tolerance)) {
		t.Errorf("%s of %s is from %v to %v of a step of %v", s.Name, s.Node, s.Start.Sub(root.Start), s.End.Sub(root.Start), root.End.Sub(root.Start))
	}
}

// followed checks that what was received links to what was sent on another node, before.
func followed(t *testing.T, s api.Span, known map[string]api.Span) {
	t.Helper()
	for _, id := range s.Links {
		from, ok := known[id]
		if ok && from.Name == "activations.send" && from.Node != s.Node && from.Attributes["ressa.microbatch"] == s.Attributes["ressa.microbatch"] && from.Attributes["ressa.bytes"] == s.Attributes["ressa.bytes"] {
			if from.Start.After(s.End) {
				t.Errorf("%s of %s received at %v what was sent at %v", s.Name, s.Node, s.End, from.Start)
			}
			return
		}
	}
	t.Errorf("%s of %s, microbatch %s, links to %v", s.Name, s.Node, s.Attributes["ressa.microbatch"], s.Links)
}
