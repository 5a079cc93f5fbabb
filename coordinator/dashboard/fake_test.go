package dashboard_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/dashboard"
	"ressa/shard"
)

// fake is a coordinator that says what a test tells it.
type fake struct {
	t     *testing.T
	url   string
	mu    sync.Mutex
	now   api.Watched // everything
	jobs  map[string]*api.JobRecord
	past  api.History
	lines []api.LogLine // events and log of every job
	trace *api.Trace
	posts []string
	after []string         // where streams of lines went on
	cut   func()           // breaks all connections
	tell  chan api.Watched // later events; nil for none
}

func newFake(t *testing.T) *fake {
	t.Helper()
	page, err := dashboard.New(dashboard.Config{ID: "c1", Version: "test", Jaeger: "http://127.0.0.1:16686/"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, jobs: map[string]*api.JobRecord{}, tell: make(chan api.Watched)}
	f.now = api.Watched{First: true, Cluster: &api.Cluster{Leader: "c1", Members: []api.Member{{ID: "c1", Addr: "127.0.0.1:7400", Version: "test", Leader: true, Alive: true}}}}
	mux := http.NewServeMux()
	mux.Handle("GET /", page)
	mux.HandleFunc("GET /v1/watch", f.watch)
	mux.HandleFunc("GET /v1/jobs/{id}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if j := f.jobs[r.PathValue("id")]; j != nil {
			f.answer(w, j)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		f.answer(w, api.Error{Message: "job " + r.PathValue("id") + ": not found"})
	})
	mux.HandleFunc("GET /v1/jobs/{id}/events", f.stream(func(l api.LogLine) bool { return l.Event != nil }))
	mux.HandleFunc("GET /v1/jobs/{id}/logs", func(w http.ResponseWriter, r *http.Request) {
		text := r.URL.Query().Get("search")
		f.stream(func(l api.LogLine) bool { return l.Event == nil && strings.Contains(l.Text, text) })(w, r)
	})
	mux.HandleFunc("GET /v1/jobs/{id}/trace", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.trace == nil {
			w.WriteHeader(http.StatusNotFound)
			f.answer(w, api.Error{Message: "no node has the step in memory any more"})
			return
		}
		f.answer(w, f.trace)
	})
	mux.HandleFunc("POST /v1/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.posts = append(f.posts, fmt.Sprintf("%s %s %s", r.URL.Path, r.Header.Get(api.HeaderPage), body))
		f.answer(w, struct{}{})
	})
	s := httptest.NewServer(mux)
	f.url, f.cut = s.URL, s.CloseClientConnections
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return f
}

func (f *fake) answer(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) }

func (f *fake) watch(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	e := f.now
	if j := f.jobs[r.URL.Query().Get("job")]; j != nil {
		e.Job, e.History = j, &f.past
	}
	f.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		e.At = time.Now()
		fmt.Fprint(w, "data: ")
		f.answer(w, e)
		fmt.Fprint(w, "\n")
		w.(http.Flusher).Flush()
		select {
		case e = <-f.tell:
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) stream(wanted func(api.LogLine) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		f.mu.Lock()
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		if after > 0 {
			f.after = append(f.after, r.URL.Path)
		}
		for i, l := range f.lines {
			if i >= after && wanted(l) {
				fmt.Fprintf(w, "id: %d\ndata: ", i+1)
				f.answer(w, l)
				fmt.Fprint(w, "\n")
			}
		}
		f.mu.Unlock()
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

func (f *fake) event(worker, generation int, e api.Event) {
	raw, err := json.Marshal(e)
	if err != nil {
		f.t.Fatal(err)
	}
	f.line(api.LogLine{Generation: generation, Worker: worker, Event: raw})
}

func (f *fake) line(l api.LogLine) {
	l.Seq, l.Node, l.At = uint64(len(f.lines)+1), fmt.Sprintf("t%d", l.Worker+1), time.Now().Add(time.Duration(len(f.lines)-400)*time.Second/4)
	f.lines = append(f.lines, l)
}

// node adds a node to the cluster.
func (f *fake) node(name, state, reason string, health ...api.Finding) {
	n := api.NodeRecord{NodeInfo: api.NodeInfo{Name: name, PID: 4711, Version: "test", Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx512", Speed: 2.1e11, Memory: 12e9}}},
		State: state, Reason: reason, Draining: state == api.NodeDraining, Jobs: []string{}, Health: health}
	f.now.Nodes = append(f.now.Nodes, n)
	if state != api.NodeLost {
		if f.now.Heard == nil {
			f.now.Heard = map[string]float64{}
		}
		f.now.Heard[name] = 0.3
	}
}

// job adds a job to the cluster, which runs on nodes that are there.
func (f *fake) job(id, name, state string, nodes ...string) *api.JobRecord {
	j := &api.JobRecord{ID: id, Name: name, Reason: "it is so", Submitted: time.Now().Add(-time.Hour), Started: time.Now().Add(-59 * time.Minute),
		Plan:   shard.Plan{Nodes: nodes},
		Status: api.Status{Job: id, State: state, Phase: "train", Step: 40, Steps: 120, Generation: 1, Leader: "c1", Ranks: []api.Rank{}}}
	for i, n := range nodes {
		role := shard.Language
		if i == 0 {
			role = shard.Vision
		}
		j.Status.Ranks = append(j.Status.Ranks, api.Rank{Node: n, PID: 100 + i, Role: role, Replica: max(0, i-1), Microbatches: 40})
	}
	f.jobs[id] = j
	short := *j
	short.Status.Ranks = []api.Rank{}
	f.now.Jobs = append(f.now.Jobs, short)
	return j
}
