package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/shard"
)

// fake is a coordinator that assigns what a test says.
type fake struct {
	t     *testing.T
	http  *httptest.Server
	hub   *server.Server
	conn  *nats.Conn
	fails int // reports that are refused first
	// through is the URL by which nodes reach the hub; empty is the hub's own.
	through string
	// orphan is the nodes' OrphanTimeout; 0 is the default.
	orphan time.Duration

	mu       sync.Mutex
	nodes    map[string]api.NodeInfo
	beats    map[string]api.Beat
	assigned map[string][]api.Assignment
	reports  []api.Report
	refuse   int // status that registrations get
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, nodes: map[string]api.NodeInfo{}, beats: map[string]api.Beat{}, assigned: map[string][]api.Assignment{}}
	var err error
	if f.hub, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxPayload: api.MaxHubPayload}); err != nil {
		t.Fatal(err)
	}
	f.hub.Start()
	if !f.hub.ReadyForConnections(10 * time.Second) {
		t.Fatal("the hub does not start")
	}
	if f.conn, err = nats.Connect(f.hub.ClientURL()); err != nil {
		t.Fatal(err)
	}
	f.http = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() { f.http.Close(); f.conn.Close(); f.hub.Shutdown(); f.hub.WaitForShutdown() })
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	part := strings.Split(r.URL.Path, "/")
	if part[2] == "jobs" {
		var report api.Report
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			f.t.Error(err)
		}
		if f.fails > 0 {
			f.fails--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		f.reports = append(f.reports, report)
		_, _ = w.Write([]byte("{}"))
		return
	}
	name := part[3]
	var b api.Beat
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		f.t.Error(err)
	}
	if b.Info != nil {
		if f.refuse != 0 {
			w.WriteHeader(f.refuse)
			_ = json.NewEncoder(w).Encode(api.Error{Message: "another version", ExitCode: api.ExitInvalid})
			return
		}
		f.nodes[name] = *b.Info
	}
	_, known := f.nodes[name]
	f.beats[name] = b
	hub := f.through
	if hub == "" {
		hub = f.hub.ClientURL()
	}
	_ = json.NewEncoder(w).Encode(api.BeatReply{Leader: "c1", LeaseSeconds: 0.4, Register: !known, Hub: []string{hub},
		Assignments: append([]api.Assignment{}, f.assigned[name]...)})
}

// assign gives nodes the parts of a generation of a job, or takes them away.
func (f *fake) assign(job string, generation int, cancel bool, nodes ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.assigned)
	workers := make([]int, len(nodes))
	var peers []api.Peer
	for w, n := range nodes {
		workers[w] = w
		peers = append(peers, api.Peer{Node: n, Tensors: f.nodes[n].Tensors})
	}
	plan := shard.Plan{Nodes: nodes, Microbatches: 4, Stages: []shard.Stage{{Tower: shard.Language, Workers: workers, Owners: shard.Spread(4, workers)}}}
	for w, n := range nodes {
		f.assigned[n] = []api.Assignment{{Job: job, Generation: generation, Worker: w, Spec: "x", Plan: plan, Peers: peers, Device: "cpu", Cancel: cancel}}
	}
}

func (f *fake) reported() []api.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reports)
}

// node starts a node and returns what ends it.
func (f *fake) node(name, dir string, work func(context.Context, Part) (api.Result, error)) (stop func() error) {
	f.t.Helper()
	return f.start(name, dir, work, func(*Config) {})
}

// start starts a node whose configuration is changed.
func (f *fake) start(name, dir string, work func(context.Context, Part) (api.Result, error), change func(*Config)) (stop func() error) {
	f.t.Helper()
	c := DefaultConfig()
	c.Name, c.Dir, c.Coordinators, c.Version, c.Listen, c.Logger = name, dir, []string{f.http.URL}, "test", "127.0.0.1", slog.New(slog.DiscardHandler)
	c.Devices = []api.Device{{Name: "cpu", Kind: "cpu-generic", Speed: 1}}
	c.Work = work
	if f.orphan > 0 {
		c.OrphanTimeout = f.orphan
	}
	c.Inspect = func(_ context.Context, spec string) api.Inspection { return api.Inspection{Name: "seen " + spec} }
	change(&c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	f.t.Cleanup(func() { _ = stop() })
	f.eventually(name+" is registered", func() bool {
		select {
		case err = <-done:
			done <- err
			return true
		default:
		}
		_, ok := f.nodes[name]
		return ok
	})
	return stop
}

func (f *fake) eventually(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		ok := holds()
		f.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// Two nodes exchange in the group of a generation, progress shows in beats, lines
// reach the hub, and reports are repeated until they are taken in.
func TestTwoNodesWork(t *testing.T) {
	f := newFake(t)
	lines := make(chan api.LogLine, 100)
	for _, subject := range []string{api.LogSubject("*"), api.EventSubject("*")} {
		if _, err := f.conn.Subscribe(subject, func(m *nats.Msg) {
			var l api.LogLine
			if err := json.Unmarshal(m.Data, &l); err != nil {
				t.Error(err)
			}
			lines <- l
		}); err != nil {
			t.Fatal(err)
		}
	}
	work := func(ctx context.Context, p Part) (api.Result, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		all, err := p.Session.AllGather(ctx, nil, "hello", []byte{byte(p.Worker)})
		if err != nil || len(all) != 2 || all[1][0] != 1 {
			return api.Result{}, errors.Join(err, errors.New("gathered wrongly"))
		}
		p.Progress("train", 7, []int{3})
		p.Emit(api.Event{Event: "note", Message: "hello"})
		f.eventually("progress is in a beat", func() bool {
			tasks := f.beats[p.Plan.Nodes[p.Worker]].Tasks
			return len(tasks) == 1 && tasks[0].Step == 7 && tasks[0].State == api.Running && f.beats["a"].Reach["b"] == "direct"
		})
		return api.Result{State: api.Succeeded, AdapterSHA256: "sum"}, p.Session.Barrier(ctx)
	}
	f.fails = 2
	f.node("a", t.TempDir(), work)
	f.node("b", t.TempDir(), work)
	f.assign("job1", 1, false, "a", "b")
	if err := f.conn.Publish(api.NudgeSubject("a"), nil); err != nil {
		t.Fatal(err)
	}
	f.eventually("both report", func() bool { return len(f.reports) == 2 })
	for _, r := range f.reported() {
		if r.State != api.Succeeded || (r.Worker == 0) != (r.Result != nil) || r.Result != nil && r.Result.AdapterSHA256 != "sum" {
			t.Errorf("report %+v", r)
		}
	}
	var event, line bool
	for end := time.After(10 * time.Second); !event || !line; {
		select {
		case l := <-lines:
			event, line = event || l.Event != nil, line || strings.Contains(l.Text, "worker starts")
			if l.Job != "job1" || l.Generation != 1 || l.Seq == 0 {
				t.Errorf("line %+v", l)
			}
		case <-end:
			t.Fatal("no line, or no event, reached the hub")
		}
	}
}

// A failure is told with its cause by who had it, and as a broken exchange by its
// peer; the next generation begins on the same processes.
func TestFailureCancelAndNextGeneration(t *testing.T) {
	f := newFake(t)
	work := func(ctx context.Context, p Part) (api.Result, error) {
		if p.Generation == 1 && p.Worker == 1 {
			return api.Result{}, errors.New("the disk is full")
		}
		<-ctx.Done()
		return api.Result{}, ctx.Err()
	}
	stop := f.node("a", t.TempDir(), work)
	f.node("b", t.TempDir(), work)
	f.assign("job1", 1, false, "a", "b")
	f.eventually("both report", func() bool { return len(f.reports) == 2 })
	for _, r := range f.reported() {
		own := r.Worker == 1
		if r.State != api.Failed || own != (len(r.Broken) == 0) || !strings.Contains(r.Error, "the disk is full") || !own && r.Broken[0] != 1 {
			t.Errorf("report %+v", r)
		}
	}
	f.assign("job1", 2, false, "a")
	f.eventually("generation 2 runs", func() bool {
		ts := f.beats["a"].Tasks
		return len(ts) == 1 && ts[0].Generation == 2 && ts[0].State == api.Running
	})
	f.assign("job1", 2, true, "a")
	f.eventually("it is cancelled", func() bool { return len(f.reports) == 3 && f.reports[2].State == api.Cancelled })
	f.assign("job2", 1, false, "a")
	f.eventually("another job runs", func() bool { ts := f.beats["a"].Tasks; return len(ts) == 1 && ts[0].Job == "job2" })
	if err := stop(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	if f.mu.Lock(); !f.beats["a"].Leaving {
		t.Error("the node left without goodbye")
	}
	f.mu.Unlock()
}

func TestInspectionAndFiles(t *testing.T) {
	f := newFake(t)
	dir := t.TempDir()
	job := filepath.Join(dir, "jobs", "job1")
	for name, text := range map[string]string{"output/config.json": "{}", "result.json": "yes", "checkpoints/x": "no", ".lock": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(job, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(job, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(job, "link")); err != nil {
		t.Fatal(err)
	}
	f.node("a", dir, nothing)
	ask := func(subject string, v any) *nats.Msg {
		t.Helper()
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.conn.Request(subject, raw, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := ask(api.InspectSubject("a"), api.Inspect{Spec: "it"}); !strings.Contains(string(m.Data), "seen it") {
		t.Errorf("inspection %s", m.Data)
	}
	var files api.Files
	if err := json.Unmarshal(ask(api.FilesSubject("a"), api.FileRequest{Job: "job1"}).Data, &files); err != nil {
		t.Fatal(err)
	}
	if len(files.Files) != 2 || files.Files[0].Path != "output/config.json" || files.Files[1].Size != 3 {
		t.Errorf("files %+v", files)
	}
	if m := ask(api.FilesSubject("a"), api.FileRequest{Job: "job1", Path: "result.json", Offset: 1, Limit: 10}); string(m.Data) != "es" || m.Header.Get(api.HeaderSize) != "3" {
		t.Errorf("piece %q of %s", m.Data, m.Header.Get(api.HeaderSize))
	}
	for _, bad := range []api.FileRequest{{Job: "job1", Path: "../../x", Limit: 1}, {Job: "job1", Path: "link", Limit: 1}, {Job: "../job1"}, {Job: "job1", Path: "output", Limit: 1},
		{Job: "job1", Path: "result.json", Limit: api.MaxPiece + 1}, {Job: "other"}} {
		if m := ask(api.FilesSubject("a"), bad); m.Header.Get(api.HeaderError) == "" || len(m.Data) > 0 {
			t.Errorf("%+v was answered with %q", bad, m.Data)
		}
	}
}

func nothing(context.Context, Part) (api.Result, error) { return api.Result{}, nil }

func TestRefusedNode(t *testing.T) {
	f := newFake(t)
	f.refuse = http.StatusConflict
	stop := f.node("a", t.TempDir(), nothing)
	if err := stop(); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "another version") {
		t.Errorf("refused with %v", err)
	}
}
