package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/local"
	"ressa/coordinator/snapshot"
	"ressa/coordinator/state"
	"ressa/shard"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares what a verb printed with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	goldenIn(t, "testdata", name, got)
}

func goldenIn(t *testing.T, dir, name, got string) {
	t.Helper()
	path := filepath.Join(dir, name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: found\n%s\nwant\n%s", name, got, want)
	}
}

func at(second int) time.Time { return time.Date(2026, 3, 4, 5, 6, second, 0, time.UTC) }

// fake is a coordinator that knows what a test tells it.
type fake struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	jobs   []api.JobRecord
	nodes  []api.NodeRecord
	events []api.LogLine
	logs   []api.LogLine
	files  map[string]string // contents that are served
	listed []api.File        // what is said of them
	calls  []string
	traces []string // what the calls carried: trace IDs, sampled or not
	asked  api.JobRequest
	hang   chan struct{} // not nil: a stream stays open until it is closed
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, files: map[string]string{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

// list adds a file to the output of every job.
func (f *fake) list(path, contents string) {
	sum := sha256.Sum256([]byte(contents))
	f.files[path] = contents
	f.listed = append(f.listed, api.File{Path: path, Size: int64(len(contents)), SHA256: hex.EncodeToString(sum[:])})
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, status, exit int, text string) {
	w.WriteHeader(status)
	answer(w, api.Error{Message: text, ExitCode: exit})
}

func answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.URL.RequestURI())
	from := trace.SpanContextFromContext(telemetry.Extract(context.Background(), r.Header))
	f.traces = append(f.traces, fmt.Sprint(from.TraceID(), from.IsSampled()))
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	switch {
	case r.Method == http.MethodPost && (part[0] == "plan" || r.URL.Path == "/v1/jobs"):
		if err := json.NewDecoder(r.Body).Decode(&f.asked); err != nil {
			f.t.Error(err)
		}
		switch {
		case strings.Contains(f.asked.Spec, "too-large"):
			refuse(w, http.StatusBadRequest, api.ExitInvalid, "the model does not fit: node t1 needs 9.0 GB for language blocks 0–31 and has 4.0 GB free: 5.0 GB are missing")
		case part[0] == "plan":
			answer(w, planned())
		default:
			answer(w, f.jobs[0])
		}
	case r.URL.Path == "/v1/jobs":
		answer(w, api.JobList{Jobs: f.jobs})
	case r.URL.Path == "/v1/nodes":
		answer(w, api.NodeList{Nodes: f.nodes})
	case part[0] == "nodes" && len(part) == 3 && part[2] == "drain":
		f.drain(w, r, part[1])
	case r.URL.Path == "/v1/cluster/snapshot":
		f.snapshot(w, r)
	case part[0] == "cluster":
		f.cluster(w, r, part)
	case part[0] == "jobs":
		f.job(w, r, part[1], part[2:])
	default:
		refuse(w, http.StatusNotFound, api.ExitFailed, "no such path")
	}
}

func (f *fake) drain(w http.ResponseWriter, r *http.Request, name string) {
	var d api.Drain
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		f.t.Error(err)
	}
	for _, n := range f.nodes {
		if n.Name == name {
			if d.Drain {
				n.State = api.NodeDraining
			}
			answer(w, n)
			return
		}
	}
	refuse(w, http.StatusNotFound, api.ExitInvalid, fmt.Sprintf("no node %q", name))
}

// held is the state that the fake coordinator has.
func held(t *testing.T) []byte {
	t.Helper()
	s := state.Empty()
	for i, b := range []state.Body{
		&state.SetMember{Member: api.Member{ID: "c1", Addr: "127.0.0.1:7400", Version: "v1"}},
		&state.Register{Info: api.NodeInfo{Name: "t1", Session: "s"}, Reason: "a new node"},
		&state.Submit{ID: "b7c1d2e3", Name: "demo", Request: api.JobRequest{Spec: "name: demo\n", Token: "a"}},
		&state.Submit{ID: "a1000000", Name: "old", Request: api.JobRequest{Spec: "name: old\n", Token: "b"}},
		&state.Cancel{Job: "a1000000", Reason: "cancelled by a user"},
	} {
		var r state.Reply
		if s, r = s.Simulate(state.Command{At: at(i), Body: b}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// snapshot serves a snapshot, and takes one.
func (f *fake) snapshot(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if err := snapshot.Write(w, snapshot.Meta{Index: 31, Term: 2, At: at(7), Ressa: "v1", Coordinator: "c1"}, held(f.t)); err != nil {
			f.t.Error(err)
		}
		return
	}
	if _, _, err := snapshot.Read(r.Body); err != nil {
		f.t.Error(err)
	}
	answer(w, api.Restored{Index: 40, Jobs: 2, Again: []string{"b7c1d2e3"}})
}

// cluster knows c1, which leads, c2, and c3, which is away, until one is taken out.
func (f *fake) cluster(w http.ResponseWriter, r *http.Request, part []string) {
	c := api.Cluster{Leader: "c1"}
	if r.Method == http.MethodDelete && !slices.Contains([]string{"c1", "c2", "c3"}, part[2]) {
		refuse(w, http.StatusNotFound, api.ExitInvalid, fmt.Sprintf("member %q: not found", part[2]))
		return
	}
	for i, id := range []string{"c1", "c2", "c3"} {
		if r.Method == http.MethodDelete && part[2] == id {
			continue
		}
		c.Members = append(c.Members, api.Member{ID: id, Addr: fmt.Sprintf("127.0.0.1:740%d", i), Version: "v1", Leader: i == 0, Alive: i < 2})
	}
	answer(w, c)
}

func (f *fake) job(w http.ResponseWriter, r *http.Request, id string, rest []string) {
	var found []api.JobRecord
	for _, j := range f.jobs {
		if strings.HasPrefix(j.ID, id) {
			found = append(found, j)
		}
	}
	if len(found) != 1 {
		status := http.StatusNotFound
		if len(found) > 1 {
			status = http.StatusConflict
		}
		refuse(w, status, api.ExitInvalid, fmt.Sprintf("%d jobs begin with %q", len(found), id))
		return
	}
	j := found[0]
	switch strings.Join(rest, "/") {
	case "":
		answer(w, j)
	case "cancel":
		j.Status.State = api.Cancelling
		answer(w, j)
	case "resume":
		answer(w, j)
	case "history":
		answer(w, api.History{Decisions: []api.Decision{
			{Index: 7, At: at(1), Job: j.ID, Action: "submitted", Reason: "by POST /v1/jobs"},
			{Index: 9, At: at(2), Job: j.ID, Action: "planned", Reason: "runs on 2 nodes: the vision tower on t1, the language tower on t2"},
			{Index: 31, At: at(9), Job: j.ID, Node: "t1", Action: "node-lost", Reason: "not heard for 3.0 s"},
		}, Changes: changes()})
	case "explain":
		answer(w, api.Explanation{Lines: []string{"failed: worker 1 on node t2: step 7: loss NaN", "worker 0 on node t1: exchange with worker 1 is broken"}, Changes: changes()})
	case "trace":
		answer(w, traced(j.ID))
	case "profile":
		answer(w, f.profile(j.ID))
	case "events":
		f.stream(w, r, j, f.events)
	case "logs":
		f.stream(w, r, j, f.logs)
	case "output":
		answer(w, api.Files{Files: f.listed})
	default:
		text, ok := f.files[strings.TrimPrefix(strings.Join(rest, "/"), "output/")]
		if !ok {
			refuse(w, http.StatusNotFound, api.ExitFailed, "no such file")
			return
		}
		fmt.Fprint(w, text)
	}
}

func changes() []api.Change {
	return []api.Change{
		{Generation: 2, Cause: "not heard for 3.0 s", Node: "t1", CausedAt: at(9), Planned: at(10), WentOn: at(11), Origin: api.Origin{From: api.FromMemory, Step: 57, StepsLost: 1, Pause: 4.125}},
		{Generation: 3, Cause: "the exchange of node t1 with t2 broke though all nodes are alive", Node: "t1", CausedAt: at(12), Planned: at(13)},
		{Generation: 4, Cause: "not heard for 3.0 s", Node: "t2", CausedAt: at(20), Planned: at(21), WentOn: at(23), Origin: api.Origin{From: api.FromCheckpoint, Step: 40, Holder: "t1", StepsLost: 20}},
	}
}

// stream sends lines and the end, or stays open.
func (f *fake) stream(w http.ResponseWriter, r *http.Request, j api.JobRecord, lines []api.LogLine) {
	send := func(id int, kind string, v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			f.t.Error(err)
		}
		if kind != "" {
			fmt.Fprintf(w, "event: %s\n", kind)
		}
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", id, raw)
	}
	for i, l := range lines {
		send(i+1, "", l)
	}
	if f.hang != nil {
		w.(http.Flusher).Flush()
		hang := f.hang
		f.mu.Unlock()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		f.mu.Lock()
	}
	send(len(lines)+1, api.EndOfStream, j)
}

func planned() api.PlanReply {
	return api.PlanReply{
		Plan: shard.Plan{Nodes: []string{"t1", "t2", "t3"}, Microbatches: 4, InFlight: []int{2, 1, 1}, Stages: []shard.Stage{
			{Tower: shard.Vision, Lo: 0, Hi: 2, Workers: []int{0}, Owners: []int{0, 0, 0, 0}},
			{Tower: shard.Language, Lo: 0, Hi: 4, Workers: []int{1, 2}, Owners: []int{1, 1, 2, 2}},
		}},
		Explanation: []string{"the vision tower on t1, the language tower on t2 and t3: a step of 4 microbatches takes 12.5 ms by the cost model"},
		StepSeconds: 0.0125,
		Memory: []api.WorkerMemory{
			{Node: "t1", Needs: 120e6, Free: 4e9, Roles: "vision stage 0 replica 0", Layers: "vision blocks 0–1"},
			{Node: "t2", Needs: 350e6, Free: 4e9, Roles: "language stage 0 replica 0", Layers: "language blocks 0–3"},
			{Node: "t3", Needs: 350e6, Free: 3e9, Roles: "language stage 0 replica 1", Layers: "language blocks 0–3"},
		},
	}
}

// known fills a fake with what most tests look at.
func known(t *testing.T) *fake {
	f := newFake(t)
	p := planned().Plan
	ranks := ranksOf(p)
	for i := range ranks {
		ranks[i].PID, ranks[i].Microbatches, ranks[i].BeatAge = 100+i, 12, 0.25
	}
	f.jobs = []api.JobRecord{
		{ID: "b7c1d2e3", Name: "demo", Plan: p, Submitted: at(5), Started: at(6), Reason: "runs on 3 nodes",
			Status: api.Status{Job: "b7c1d2e3", State: api.Running, Phase: "train", Step: 3, Steps: 9, Generation: 1, Leader: "c2", Ranks: ranks}},
		{ID: "b7000000", Name: "big", Submitted: at(4), Ended: at(5), ExitCode: api.ExitInvalid, Reason: "it does not fit: 5.0 GB are missing",
			Status: api.Status{Job: "b7000000", State: api.Failed, Error: "it does not fit: 5.0 GB are missing", Ranks: []api.Rank{}, Leader: "c2"}},
		{ID: "a1000000", Name: "old", Submitted: at(3), Ended: at(4), ExitCode: api.ExitCancelled, Reason: "cancelled by POST /v1/jobs/a1000000/cancel",
			Status: api.Status{Job: "a1000000", State: api.Cancelled, Ranks: []api.Rank{}, Leader: "c2"}},
		{ID: "cc000000", Name: "fine", Submitted: at(2), Ended: at(3), Reason: "succeeded",
			Status: api.Status{Job: "cc000000", State: api.Succeeded, Phase: "export", Step: 9, Steps: 9, Generation: 1, Ranks: []api.Rank{}, Leader: "c2"}},
	}
	f.nodes = []api.NodeRecord{
		{NodeInfo: api.NodeInfo{Name: "t1", PID: 11, Threads: 2, Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx512", Speed: 81.25e9, Memory: 4e9, Note: "cuda: no driver"}}},
			State: api.NodeReady, Jobs: []string{"b7c1d2e3"}, BeatAge: 0.24, Reach: map[string]string{"t2": "direct", "t3": "hub"}},
		{NodeInfo: api.NodeInfo{Name: "t2", PID: 12, Threads: 2, Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx512", Speed: 79e9, Memory: 4e9}}},
			State: api.NodeDraining, Jobs: []string{"b7c1d2e3"}, BeatAge: 0.9, Reach: map[string]string{"t1": "direct", "t3": "direct"}},
		{NodeInfo: api.NodeInfo{Name: "t3", PID: 13, Threads: 2, Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx512", Speed: 78e9, Memory: 3e9}}},
			State: api.NodeLost, Reason: "not heard for 3.0 s", Jobs: []string{}, BeatAge: 7},
		{NodeInfo: api.NodeInfo{Name: "t4", PID: 14, Threads: 2, Devices: []api.Device{{Name: "cuda:0", Kind: "cuda-sm80", Speed: 9e12, Memory: 40e9}}},
			State: api.NodeUnfit, Reason: "GPU 0 (GPU-a1): XID 79: GPU has fallen off the bus", Jobs: []string{}, BeatAge: 0.5, Health: []api.Finding{
				{Device: "cuda:0", UUID: "GPU-a1", Severity: api.Fatal, Reason: "GPU 0 (GPU-a1): XID 79: GPU has fallen off the bus"},
				{Device: "cuda:0", UUID: "GPU-a1", Severity: api.Fatal, Reason: "GPU 0 (GPU-a1): GPU is lost: the driver does not reach it any more"},
				{Device: "", UUID: "GPU-b2", Severity: api.Fatal, Reason: "GPU 1 (GPU-b2): XID 48: double-bit ECC error"},
				{Device: "", UUID: "GPU-c3", Severity: api.Warn, Reason: "GPU 2 (GPU-c3): 91 °C, it slows down from 90 °C on"}}},
	}
	line := func(node string, worker int, seq uint64, second int, text string) api.LogLine {
		return api.LogLine{Job: "b7c1d2e3", Generation: 1, Node: node, Worker: worker, Seq: seq, At: at(second), Level: "INFO", Text: text}
	}
	f.logs = []api.LogLine{line("t1", 0, 1, 1, "device kind=cpu-avx512"), line("trainer-2", 1, 1, 1, "device kind=cpu-avx512"), line("t1", 0, 2, 3, "step 1")}
	for i, e := range events() {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		f.events = append(f.events, api.LogLine{Job: "b7c1d2e3", Generation: 1, Node: "t1", Seq: uint64(i + 1), At: at(i), Event: raw})
	}
	return f
}

// started is a cluster of this machine that is a fake.
type started struct {
	f      *fake
	dead   error
	config local.Config
	closed bool
}

func (s *started) URLs() []string { return []string{s.f.url} }
func (s *started) Ended() error   { return s.dead }
func (s *started) Close() error   { s.closed = true; return nil }

// runOn executes the command line with clusters that cluster stands for.
func runOn(t *testing.T, ctx context.Context, cluster *started, env map[string]string, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	app := &App{Launcher: &recorder{}, Version: "v0", Environment: Environment{Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}}
	app.Start = func(_ context.Context, c local.Config) (Cluster, error) {
		cluster.config = c
		return cluster, nil
	}
	root := app.Root(app.Commands()...)
	var out, diagnostics bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&diagnostics)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	return out.String(), diagnostics.String(), err
}
