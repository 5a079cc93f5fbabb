package server_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"ressa/coordinator/api"
	"ressa/coordinator/cluster"
	"ressa/coordinator/server"
	"ressa/coordinator/state"
)

// deposed believes that it leads, and nobody confirms it: as a leader that was cut off
// or stood still, before it hears of another.
type deposed struct{ *cluster.Cluster }

func (deposed) Confirm(context.Context) error { return cluster.ErrNotLeader }

// A leader that no majority confirms answers nothing that another may know better.
func TestOldLeadersAnswerNothing(t *testing.T) {
	c := start(t, "a")
	ctx := context.Background()
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	c.node("n1")
	j, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob(), Nodes: 8})
	if err != nil {
		t.Fatal(err)
	}
	old := server.New(server.Config{Cluster: deposed{c.Cluster}, Logger: slog.New(slog.DiscardHandler), Version: "test"}).Handler()
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		old.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("{}")))
		return w
	}
	for _, route := range []string{"GET /v1/jobs", "GET /v1/jobs/" + j.ID, "GET /v1/jobs/" + j.ID + "/explain", "GET /v1/nodes",
		"POST /v1/jobs/" + j.ID + "/cancel", "POST /v1/jobs/" + j.ID + "/resume"} {
		method, path, _ := strings.Cut(route, " ")
		w := ask(method, path)
		var said api.Error
		if err := json.Unmarshal(w.Body.Bytes(), &said); w.Code != http.StatusServiceUnavailable || err != nil || said.ExitCode != api.ExitUnreachable {
			t.Errorf("%s: %d %s", route, w.Code, w.Body)
		}
	}
	if got := c.State().Job(j.ID); got.State == api.Cancelled {
		t.Error("the old leader cancelled the job")
	}
	if w := ask("GET", "/v1/jobs/"+j.ID+"/history"); w.Code != http.StatusOK {
		t.Errorf("history, which anybody tells: %d %s", w.Code, w.Body)
	}
}

// early leads, and has not gone through its log before it is confirmed.
type early struct {
	*cluster.Cluster
	confirmed atomic.Bool
}

func (e *early) Confirm(ctx context.Context) error {
	e.confirmed.Store(true)
	return e.Cluster.Confirm(ctx)
}

func (e *early) State() *state.State {
	if !e.confirmed.Load() {
		return state.Empty()
	}
	return e.Cluster.State()
}

// A leader that has not read its log yet does not say that a job is not there, to
// whoever asks and whoever passes the question on.
func TestEarlyLeadersDoNotDenyAJob(t *testing.T) {
	c := start(t, "a")
	ctx := context.Background()
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	c.node("n1")
	j, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob(), Nodes: 8})
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{"", "b"} {
		e := &early{Cluster: c.Cluster}
		h := server.New(server.Config{Cluster: e, Logger: slog.New(slog.DiscardHandler), Version: "test"}).Handler()
		for id, want := range map[string]int{j.ID: http.StatusOK, "nothere": http.StatusNotFound} {
			e.confirmed.Store(false)
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/jobs/"+id+"/history", nil)
			if by != "" {
				r.Header.Set("Ressa-Forwarded-By", by)
			}
			h.ServeHTTP(w, r)
			if w.Code != want || !e.confirmed.Load() {
				t.Errorf("job %s, passed on by %q: %d %s", id, by, w.Code, w.Body)
			}
		}
	}
}
