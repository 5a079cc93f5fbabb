package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/joblog"
	"ressa/coordinator/server"
)

// watched reads a stream of the cluster until the test ends.
func watched(t *testing.T, url string) <-chan api.Watched {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s: %d %v", url, resp.StatusCode, resp.Header)
	}
	out := make(chan api.Watched, 1000)
	go func() {
		defer close(out)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			raw, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var e api.Watched
			if err := json.Unmarshal([]byte(raw), &e); err != nil {
				t.Error(err)
				return
			}
			out <- e
		}
	}()
	return out
}

// next returns the first event that holds, and how long it took.
func next(t *testing.T, events <-chan api.Watched, what string, holds func(api.Watched) bool) (api.Watched, time.Duration) {
	t.Helper()
	began, late := time.Now(), time.After(20*time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before %s", what)
			}
			if holds(e) {
				return e, time.Since(began)
			}
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// settled waits until nothing has been decided for a while.
func settled(t *testing.T, c *coordinator) {
	t.Helper()
	index, since := uint64(0), time.Now()
	eventually(t, "nothing is decided any more", func() bool {
		if now := c.State().Index(); now != index {
			index, since = now, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}

// Who watches gets everything, then only what changes, at once; through a follower as
// from the leader; a job in full where it asks for one.
func TestWatchersHearWhatChanges(t *testing.T) {
	a := start(t, "a")
	cl := a.client()
	eventually(t, "a leads", func() bool { return cl.Ready(t.Context()) == nil })
	b := start(t, "b", a.url)
	eventually(t, "b follows", func() bool { _, self, ok := b.Leader(); return ok && !self })
	a.node("n1")
	j, err := cl.Submit(t.Context(), api.JobRequest{Spec: api.DemoJob(), Nodes: 8})
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{a.url, b.url} {
		settled(t, a)
		all, one := watched(t, url+"/v1/watch"), watched(t, url+"/v1/watch?job="+j.ID[:4])
		first, _ := next(t, all, "everything", func(e api.Watched) bool { return true })
		if !first.First || first.Cluster == nil || len(first.Jobs) == 0 || len(first.Nodes) != 1 || len(first.Decisions) == 0 || first.Job != nil || first.Heard["n1"] > 5 {
			t.Errorf("first event %+v", first)
		}
		if first.Jobs[0].Request.Spec != "" {
			t.Error("a list of jobs brings their files")
		}
		whole, _ := next(t, one, "the job", func(e api.Watched) bool { return e.Job != nil })
		if whole.Job.ID != j.ID || whole.History == nil || len(whole.History.Decisions) == 0 {
			t.Errorf("the job is %+v", whole)
		}
		next(t, all, "a beat", func(e api.Watched) bool {
			if len(e.Jobs)+len(e.Nodes)+len(e.Decisions) > 0 {
				t.Errorf("told again what has not changed: %+v", e)
			}
			return len(e.Heard) == 1
		})
		if _, err := cl.Drain(t.Context(), "n1", true); err != nil {
			t.Fatal(err)
		}
		drained, took := next(t, all, "the drained node", func(e api.Watched) bool { return len(e.Nodes) > 0 })
		if n := drained.Nodes[0]; n.State != api.NodeDraining || len(drained.Decisions) == 0 || took > 700*time.Millisecond {
			t.Errorf("node %+v after %v, decided %+v", n, took, drained.Decisions)
		}
		if _, err := cl.Drain(t.Context(), "n1", false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cl.Cancel(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(a.url + "/v1/watch?job=zzzz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a job that is not there: %d", resp.StatusCode)
	}
}

// When the leader goes, streams end, whoever passes them on, and the next leader's can
// be had from the same coordinator.
func TestWatchersGoOnWithTheNextLeader(t *testing.T) {
	a := start(t, "a")
	cl := a.client()
	eventually(t, "a leads", func() bool { return cl.Ready(t.Context()) == nil })
	b, c := start(t, "b", a.url), start(t, "c", a.url)
	for _, m := range []*coordinator{b, c} {
		eventually(t, "it follows", func() bool { who, _, ok := m.Leader(); return ok && who.ID == "a" && len(m.Members()) == 3 })
	}
	events := watched(t, b.url+"/v1/watch")
	next(t, events, "everything", func(e api.Watched) bool { return e.First })
	a.stop()
	late := time.After(20 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-events:
		case <-late:
			t.Fatal("the stream of the leader that is gone has not ended")
		}
	}
	eventually(t, "another leads", func() bool { who, _, ok := b.Leader(); return ok && who.ID != "a" })
	eventually(t, "there is a stream again", func() bool {
		resp, err := http.Get(b.url + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	e, _ := next(t, watched(t, b.url+"/v1/watch"), "everything", func(e api.Watched) bool { return e.First })
	if e.Cluster == nil || e.Cluster.Leader == "a" {
		t.Errorf("the next leader says %+v", e.Cluster)
	}
}

// A watcher that reads nothing delays nobody and is given up, so that nothing is kept
// for it.
func TestSlowWatchersCostNobody(t *testing.T) {
	c := start(t, "a")
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(t.Context()) == nil })
	c.node("n1")
	for i := range 200 { // more than the buffers of a connection hold
		if _, err := cl.Submit(t.Context(), api.JobRequest{Spec: api.DemoJob(), Nodes: 8, Token: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := joblog.Open(filepath.Join(t.TempDir(), "jobs"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	impatient := server.New(server.Config{Cluster: c.Cluster, Lines: lines, Logger: slog.New(slog.DiscardHandler), Version: "test", Patience: 300 * time.Millisecond})
	ended := make(chan time.Time, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		impatient.Handler().ServeHTTP(w, r)
		ended <- time.Now()
	}), ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
		_ = conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
		return ctx
	}}
	go func() { _ = hs.Serve(listener) }()
	defer hs.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := fmt.Fprintf(conn, "GET /v1/watch HTTP/1.1\r\nHost: %s\r\n\r\n", listener.Addr()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	quick := watched(t, c.url+"/v1/watch")
	next(t, quick, "everything", func(e api.Watched) bool { return len(e.Jobs) == 200 })
	if _, err := cl.Drain(t.Context(), "n1", true); err != nil {
		t.Fatal(err)
	}
	if _, took := next(t, quick, "the drained node", func(e api.Watched) bool { return len(e.Nodes) > 0 }); took > 700*time.Millisecond {
		t.Errorf("beside a slow reader it took %v to hear of a node", took)
	}
	select {
	case at := <-ended:
		t.Logf("given up after %v", at.Sub(began))
	case <-time.After(10 * time.Second):
		t.Error("the reader that reads nothing is still served")
	}
}

// Of a log the last lines can be had, those with a text, and those after one.
func TestLogsAreSearched(t *testing.T) {
	c := start(t, "a")
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(t.Context()) == nil })
	j, err := cl.Submit(t.Context(), api.JobRequest{Spec: api.DemoJob()})
	if err != nil {
		t.Fatal(err)
	}
	const n = 700
	for i := 1; i <= n; i++ {
		raw, err := json.Marshal(api.LogLine{Job: j.ID, Generation: 1, Node: "n1", Seq: uint64(i), Level: "INFO", Text: fmt.Sprintf("Line <%d>", i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Hub().Publish(api.LogSubject(j.ID), raw); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(query string) (ids, texts []string) {
		t.Helper()
		resp, err := http.Get(c.url + "/v1/jobs/" + j.ID + "/logs?" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			if id, ok := strings.CutPrefix(s.Text(), "id: "); ok {
				ids = append(ids, id)
			}
			var l api.LogLine
			if raw, ok := strings.CutPrefix(s.Text(), "data: "); ok && json.Unmarshal([]byte(raw), &l) == nil && l.Text != "" {
				texts = append(texts, l.Text)
			}
		}
		return ids, texts
	}
	eventually(t, "all lines are here", func() bool { ids, _ := ask(""); return len(ids) == n })
	for query, want := range map[string][]string{
		"tail=2":                   {"699", "700"},
		"tail=2&search=nothing":    nil,
		"search=line+%3C512%3E":    {"512"},
		"search=n1+INFO+LINE+%3C7": {"7", "70", "71", "72", "73", "74", "75", "76", "77", "78", "79", "700"},
		"after=698":                {"699", "700"},
		"after=698&search=%3C700":  {"700"},
		"after=513&search=%3C51":   {"514", "515", "516", "517", "518", "519"},
	} {
		if ids, texts := ask(query); !slices.Equal(ids, want) || len(texts) != len(want) {
			t.Errorf("?%s: lines %v, want %v", query, ids, want)
		}
	}
	for _, bad := range []string{"after=0", "after=x", "tail=-1", "tail=x"} {
		resp, err := http.Get(c.url + "/v1/jobs/" + j.ID + "/logs?" + bad)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("?%s: %d", bad, resp.StatusCode)
		}
	}
}

// What a browser sends for another site's page changes nothing; programs and our own
// page are let through, also by a member that passes on to the leader.
func TestOtherSitesChangeNothing(t *testing.T) {
	a := start(t, "a")
	cl := a.client()
	eventually(t, "a leads", func() bool { return cl.Ready(t.Context()) == nil })
	b := start(t, "b", a.url)
	eventually(t, "b follows", func() bool { _, self, ok := b.Leader(); return ok && !self })
	a.node("n1")
	for _, to := range []*coordinator{a, b} {
		host := strings.TrimPrefix(to.url, "http://")
		for _, x := range []struct {
			name    string
			host    string
			headers []string
			want    int
		}{
			{"a program", host, nil, 200},
			{"our page", host, []string{"Origin", to.url, "Sec-Fetch-Site", "same-origin", api.HeaderPage, "1"}, 200},
			{"our page in an old browser", host, []string{"Origin", to.url, api.HeaderPage, "1"}, 200},
			{"our page without its header", host, []string{"Origin", to.url, "Sec-Fetch-Site", "same-origin"}, 403},
			{"another site's form", host, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
			{"another site's script", host, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", api.HeaderPage, "1"}, 403},
			{"another port of this machine", host, []string{"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site", api.HeaderPage, "1"}, 403},
			{"a page without an origin", host, []string{"Origin", "null", api.HeaderPage, "1"}, 403},
			{"a name that leads to loopback", "evil.example", []string{"Origin", "http://evil.example", api.HeaderPage, "1"}, 403},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to.url+"/v1/nodes/n1/drain", strings.NewReader(`{"drain":true}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = x.host
			for i := 0; i+1 < len(x.headers); i += 2 {
				r.Header.Set(x.headers[i], x.headers[i+1])
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != x.want {
				t.Errorf("%s to %s: %d, want %d", x.name, to.ID(), resp.StatusCode, x.want)
			}
			if n := a.State().Node("n1"); n.Draining != (x.want == 200) {
				t.Errorf("%s to %s: draining is %v", x.name, to.ID(), n.Draining)
			}
			if _, err := cl.Drain(t.Context(), "n1", false); err != nil {
				t.Fatal(err)
			}
		}
	}
}
