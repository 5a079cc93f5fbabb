package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/cluster"
	"ressa/coordinator/joblog"
	"ressa/coordinator/server"
	"ressa/shard"
)

// coordinator is one member with its API.
type coordinator struct {
	*cluster.Cluster
	t    testing.TB
	url  string
	stop func()
}

func start(t testing.TB, id string, join ...string) *coordinator {
	t.Helper()
	c := cluster.DefaultConfig(time.Second)
	c.ID, c.Dir, c.Addr, c.Join, c.Version, c.Logger = id, filepath.Join(t.TempDir(), id), "127.0.0.1:0", join, "test", slog.New(slog.DiscardHandler)
	return open(t, c)
}

// open starts a coordinator that ends with the test, or when stop is called.
func open(t testing.TB, c cluster.Config) *coordinator {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := cluster.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := joblog.Open(filepath.Join(c.Dir, "jobs"), c.Logger)
	if err == nil {
		err = lines.Listen(m.Hub())
	}
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Config{Cluster: m, Lines: lines, Logger: c.Logger, Version: "test"})
	served := make(chan error, 1)
	go func() { served <- s.Serve(m.Listener()) }()
	stop := sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := lines.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &coordinator{m, t, "http://" + m.Addr(), stop}
}

func (c *coordinator) client(urls ...string) *client.Client {
	c.t.Helper()
	config := client.DefaultConfig(append(urls, c.url)...)
	config.Logger = slog.New(slog.DiscardHandler)
	cl, err := client.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// inspected is what a node says of any job: that it is one of a tiny model.
func inspected() api.Inspection {
	block := shard.Block{Forward: 1e6, Backward: 2e6, Weights: 1 << 20}
	return api.Inspection{Name: "demo", Steps: 3, Strict: true, Microbatches: 2, Wire: "fp32", Profile: shard.Profile{CutBytes: 64, Flows: 1, Towers: []shard.Tower{
		{Role: shard.Vision, Blocks: []shard.Block{block}, HiddenBytes: 64, Flows: 1}, {Role: shard.Language, Blocks: []shard.Block{block}, HiddenBytes: 64, Flows: 1}}}}
}

// answerInspections has a node find every job to be one of a tiny model.
func (c *coordinator) answerInspections(name string) {
	c.t.Helper()
	raw, err := json.Marshal(inspected())
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Hub().Subscribe(api.InspectSubject(name), func(m *nats.Msg) { _ = m.Respond(raw) }); err != nil {
		c.t.Fatal(err)
	}
}

// node registers a node that beats until the test ends and inspects every job as
// one of a tiny model.
func (c *coordinator) node(name string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cl, done := c.client(), make(chan struct{})
	c.answerInspections(name)
	info := &api.NodeInfo{Name: name, Session: name, PID: 1, Version: "test", Threads: 1, Tensors: []string{"nats://127.0.0.1:1"},
		Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx2", Speed: 1e9, Memory: 1 << 30}}, Bandwidth: 1e9, Latency: 1e-4}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = cl.Beat(ctx, name, api.Beat{Session: name, Info: info, Tasks: []api.Task{}})
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	c.t.Cleanup(func() { cancel(); <-done })
	eventually(c.t, name+" is ready", func() bool { n := c.State().Node(name); return n != nil && n.State == api.NodeReady })
}

func TestJobThroughTheAPI(t *testing.T) {
	c := start(t, "a")
	ctx := context.Background()
	cl := c.client("http://127.0.0.1:1") // one that is not there comes first
	request := api.JobRequest{Spec: api.DemoJob(), Token: "once"}
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	first, err := cl.Submit(ctx, request)
	if err != nil || len(first.ID) != 8 || first.Status.State != api.Pending {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := cl.Submit(ctx, request)
	if err != nil || again.ID != first.ID {
		t.Errorf("submitted twice: %s and %s, %v", first.ID, again.ID, err)
	}
	if _, err := cl.Submit(ctx, api.JobRequest{Spec: "name: [", Token: "x"}); api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("a broken job file: %v", err)
	}
	if _, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob(), Nodes: 1000}); api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("more nodes than microbatches: %v", err)
	}
	if _, err := cl.Job(ctx, "zzzzzzzz"); !client.NotFound(err) {
		t.Errorf("a job that is not there: %v", err)
	}
	if j, err := cl.Job(ctx, first.ID[:3]); err != nil || j.ID != first.ID {
		t.Errorf("by prefix: %v", err)
	}
	c.node("n1")
	plan, err := cl.Plan(ctx, api.JobRequest{Spec: api.DemoJob()})
	if err != nil || len(plan.Plan.Nodes) != 1 || len(plan.Memory) != 1 || len(plan.Explanation) == 0 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	eventually(t, "the job is planned", func() bool { return c.State().Job(first.ID).Active() })
	// Lines that the worker sends reach a stream, which ends with the job.
	if _, err := c.Hub().Subscribe(api.LinesSubject("n1"), func(m *nats.Msg) { _ = m.Respond([]byte(`{"unknown":true}`)) }); err != nil {
		t.Fatal(err)
	}
	say := func(subject string, line api.LogLine) {
		t.Helper()
		raw, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Hub().Publish(subject, raw); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		say(api.LogSubject(first.ID), api.LogLine{Job: first.ID, Generation: 1, Node: "n1", Seq: uint64(i + 1), Text: "line"})
		say(api.EventSubject(first.ID), api.LogLine{Job: first.ID, Generation: 1, Node: "n1", Seq: uint64(i + 1), Event: []byte(`{"event":"note"}`)})
	}
	streamed := make(chan int, 1)
	go func() {
		n := 0
		end, err := cl.Logs(ctx, first.ID, true, func(api.LogLine) error { n++; return nil })
		if err != nil || end.Status.State != api.Failed {
			t.Errorf("stream ended with %+v, %v", end.Status, err)
		}
		streamed <- n
	}()
	report := api.Report{Node: "n1", Generation: 1, State: api.Failed, ExitCode: 1, Error: "the disk is full", At: time.Now()}
	if err := cl.Report(ctx, first.ID, report); err != nil {
		t.Fatal(err)
	}
	stale := report
	stale.Generation = 7
	if err := cl.Report(ctx, first.ID, stale); !client.Conflict(err) {
		t.Errorf("a report of another generation: %v", err)
	}
	if n := <-streamed; n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
	why, err := cl.Explain(ctx, first.ID)
	if err != nil || !strings.Contains(strings.Join(why.Lines, "\n"), "the disk is full") {
		t.Errorf("explain: %q, %v", why.Lines, err)
	}
	if _, err := cl.Drain(ctx, "n1", true); err != nil {
		t.Error(err)
	}
	if nodes, err := cl.Nodes(ctx); err != nil || len(nodes) != 1 || nodes[0].State != api.NodeDraining {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	if _, err := cl.Resume(ctx, first.ID); err != nil {
		t.Error(err)
	}
	if j, err := cl.Cancel(ctx, first.ID); err != nil || j.Status.State != api.Cancelled {
		t.Errorf("cancelled: %+v, %v", j.Status, err)
	}
	if d, err := cl.History(ctx, first.ID); err != nil || len(d.Decisions) < 4 || d.Decisions[0].Action != "submitted" {
		t.Errorf("history %+v, %v", d, err)
	}
}

func TestFollowersForward(t *testing.T) {
	a := start(t, "a")
	eventually(t, "a leads", func() bool { return a.client().Ready(context.Background()) == nil })
	b := start(t, "b", a.url)
	ctx := context.Background()
	cl := b.client()
	j, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both know the job", func() bool { return a.State().Job(j.ID) != nil && b.State().Job(j.ID) != nil })
	if m, err := cl.Cluster(ctx); err != nil || len(m.Members) != 2 || m.Leader != "a" {
		t.Errorf("cluster %+v, %v", m, err)
	}
	b.node("n1")
	if a.State().Node("n1") == nil {
		t.Error("the leader does not know the follower's node")
	}
}

// Every route is described, and what the handlers answer is what is described.
func TestDescription(t *testing.T) {
	c := start(t, "a")
	cl := c.client()
	ctx := context.Background()
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	c.node("n1")
	j, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob()})
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(c.url + "/v1/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromURI(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(ctx); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"POST", "/v1/jobs", api.JobRequest{Spec: api.DemoJob()}, 202},
		{"POST", "/v1/jobs", api.JobRequest{Spec: "{"}, 400},
		{"GET", "/v1/jobs", nil, 200},
		{"GET", "/v1/jobs/" + j.ID, nil, 200},
		{"GET", "/v1/jobs/nothing", nil, 404},
		{"GET", "/v1/jobs/" + j.ID + "/history", nil, 200},
		{"GET", "/v1/jobs/" + j.ID + "/explain", nil, 200},
		{"GET", "/v1/jobs/" + j.ID + "/trace?step=x", nil, 400},
		{"GET", "/v1/jobs/" + j.ID + "/profile?steps=0", nil, 400},
		{"POST", "/v1/plan", api.JobRequest{Spec: api.DemoJob()}, 200},
		{"GET", "/v1/nodes", nil, 200},
		{"POST", "/v1/nodes/n9/beat", api.Beat{Session: "s", Tasks: []api.Task{}}, 200},
		{"POST", "/v1/nodes/n1/drain", api.Drain{Drain: true}, 200},
		{"POST", "/v1/nodes/n7/drain", api.Drain{Drain: true}, 404},
		{"GET", "/v1/cluster", nil, 200},
		{"POST", "/v1/cluster/members", api.Member{}, 400},
		{"DELETE", "/v1/cluster/members/a", nil, 409},
		{"POST", "/v1/jobs/" + j.ID + "/cancel", nil, 200},
		{"POST", "/v1/jobs/" + j.ID + "/report", api.Report{Node: "n1", Generation: 9, State: api.Failed}, 409},
		{"PUT", "/v1/cluster/snapshot", "none", 400},
		{"GET", "/healthz", nil, 200},
		{"GET", "/readyz", nil, 200},
	} {
		var body io.Reader
		if x.body != nil {
			raw, err := json.Marshal(x.body)
			if err != nil {
				t.Fatal(err)
			}
			body = bytes.NewReader(raw)
		}
		r, err := http.NewRequestWithContext(ctx, x.method, c.url+x.path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		route, params, err := router.FindRoute(r)
		if err != nil {
			t.Errorf("%s %s is not described: %v", x.method, x.path, err)
			continue
		}
		in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != x.status {
			t.Errorf("%s %s: %d, want %d: %s", x.method, x.path, resp.StatusCode, x.status, raw)
		}
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header}
		out.SetBodyBytes(raw)
		if err := openapi3filter.ValidateResponse(ctx, out); err != nil {
			t.Errorf("%s %s: the answer is not what is described: %v\n%s", x.method, x.path, err, raw)
		}
	}
}
