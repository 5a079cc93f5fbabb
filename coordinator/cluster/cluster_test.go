package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/cluster"
	"ressa/coordinator/state"
)

// member is one coordinator with as much of the API as joining needs.
type member struct {
	*cluster.Cluster
	t      *testing.T
	config cluster.Config
	server *http.Server
}

func start(t *testing.T, id, dir string, join ...string) *member {
	t.Helper()
	c := cluster.DefaultConfig(time.Second)
	c.ID, c.Dir, c.Addr, c.Join, c.Version, c.Logger = id, filepath.Join(dir, id), "127.0.0.1:0", join, "test", slog.New(slog.DiscardHandler)
	return open(t, c)
}

func open(t *testing.T, c cluster.Config) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	x, err := cluster.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Cluster: x, t: t, config: c}
	m.server = &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var who api.Member
		err := json.NewDecoder(r.Body).Decode(&who)
		if err == nil {
			join := x.Join
			if r.URL.Query().Get("empty") == "1" {
				join = x.JoinEmpty
			}
			err = join(r.Context(), who)
		}
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(api.Error{Message: err.Error(), ExitCode: api.ExitUnreachable})
			return
		}
		_ = json.NewEncoder(w).Encode(api.Cluster{})
	})}
	srv := m.server
	go func() { _ = srv.Serve(x.Listener()) }()
	t.Cleanup(m.stop)
	return m
}

func (m *member) stop() {
	if m.server == nil {
		return
	}
	_ = m.server.Close()
	m.server = nil
	if err := m.Close(); err != nil {
		m.t.Errorf("close %s: %v", m.config.ID, err)
	}
}

func (m *member) url() string { return "http://" + m.Addr() }

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func leads(m *member) func() bool {
	return func() bool { _, self, ok := m.Leader(); return ok && self && len(m.State().Members()) > 0 }
}

// three starts three members, the first leading.
func three(t *testing.T) []*member {
	t.Helper()
	dir := t.TempDir()
	a := start(t, "a", dir)
	eventually(t, "a leads", leads(a))
	b := start(t, "b", dir, a.url())
	c := start(t, "c", dir, a.url())
	all := []*member{a, b, c}
	for _, m := range all {
		eventually(t, m.ID()+" knows three members", func() bool { return len(m.State().Members()) == 3 })
	}
	return all
}

func submit(t *testing.T, m *member, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := m.Propose(ctx, &state.Submit{ID: id, Name: "job", Request: api.JobRequest{Spec: "name: job"}}); err != nil {
		t.Fatal(err)
	}
}

func TestOneMemberComesBack(t *testing.T) {
	m := start(t, "a", t.TempDir())
	eventually(t, "a leads", leads(m))
	submit(t, m, "aaaaaaaa")
	addr, hub := m.Addr(), m.HubURLs()[0]
	if _, err := cluster.Open(context.Background(), m.config); !errors.Is(err, cluster.ErrBusy) || api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("a second process with the folder: %v", err)
	}
	m.stop()
	m = open(t, m.config)
	eventually(t, "a leads again", leads(m))
	if m.State().Job("aaaaaaaa") == nil {
		t.Error("the job is gone")
	}
	if m.Addr() != addr || m.HubURLs()[0] != hub {
		t.Errorf("came back at %s, hub %s; was at %s, %s", m.Addr(), m.HubURLs()[0], addr, hub)
	}
}

func TestPortInUse(t *testing.T) {
	m := start(t, "a", t.TempDir())
	c := m.config
	c.ID, c.Dir, c.Addr = "b", t.TempDir(), m.Addr()
	if _, err := cluster.Open(context.Background(), c); api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("a port that is taken: %v", err)
	}
}

// Who is not there gets no vote: the only coordinator goes on.
func TestMembersThatAreNotThere(t *testing.T) {
	m := start(t, "a", t.TempDir())
	eventually(t, "a leads", leads(m))
	other := httptest.NewServer(http.NotFoundHandler()) // speaks, and not Raft
	defer other.Close()
	for _, addr := range []string{"", ":", "nowhere", "127.0.0.1", ":7400", "127.0.0.1:1", other.Listener.Addr().String()} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := m.Join(ctx, api.Member{ID: "b", Addr: addr, Version: "test"}); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("a member at %q: %v", addr, err)
		}
		cancel()
		submit(t, m, fmt.Sprintf("%08x", len(m.State().Jobs())+10))
	}
	if n := len(m.Members()); n != 1 {
		t.Errorf("%d members, want 1", n)
	}
}

// A coordinator does not take the place of one that answers, but of one that is away
// and has moved.
func TestTakenIDs(t *testing.T) {
	all := three(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, id := range []string{"a", "c"} {
		err := all[0].Join(ctx, api.Member{ID: id, Addr: "127.0.0.1:1", Version: "test"})
		if !errors.Is(err, state.ErrInvalid) || !strings.Contains(err.Error(), "another --id") {
			t.Errorf("a second %s: %v", id, err)
		}
	}
	all[2].stop()
	moved := all[2].config
	moved.Dir = filepath.Join(t.TempDir(), "c")
	moved.Join = []string{all[0].url()}
	c := open(t, moved)
	eventually(t, "c is known where it is now", func() bool {
		for _, m := range all[0].State().Members() {
			if m.ID == "c" && m.Addr == c.Addr() {
				return len(c.State().Members()) == 3
			}
		}
		return false
	})
}

func TestLeaderIsLost(t *testing.T) {
	all := three(t)
	submit(t, all[0], "aaaaaaaa")
	if _, err := all[1].Propose(context.Background(), &state.Submit{ID: "bbbbbbbb", Name: "job", Request: api.JobRequest{Spec: "x"}}); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a follower proposes: %v", err)
	}
	all[0].stop()
	var leader *member
	eventually(t, "another leads", func() bool {
		for _, m := range all[1:] {
			if leads(m)() {
				leader = m
			}
		}
		return leader != nil
	})
	eventually(t, "the new leader decides", func() bool { _, err := leader.Beat(context.Background(), "n", api.Beat{}); return err == nil })
	submit(t, leader, "cccccccc")
	for _, m := range all[1:] {
		eventually(t, m.ID()+" has both jobs", func() bool { return m.State().Job("aaaaaaaa") != nil && m.State().Job("cccccccc") != nil })
	}
	// The lost one comes back and catches up, and another is taken out.
	all[0] = open(t, all[0].config)
	eventually(t, "the lost one has both jobs", func() bool { return all[0].State().Job("cccccccc") != nil })
	if err := leader.Leave(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two members", func() bool { return len(leader.Members()) == 2 })
}

// Who leads by its own word alone may not: it answers only what a majority confirms.
func TestAMajorityConfirmsTheLeader(t *testing.T) {
	all := three(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	eventually(t, "the leader is confirmed", func() bool { return all[0].Confirm(ctx) == nil })
	for _, m := range all[1:] {
		if err := m.Confirm(ctx); !errors.Is(err, cluster.ErrNotLeader) {
			t.Errorf("a follower is confirmed: %v", err)
		}
	}
	all[1].stop()
	if err := all[0].Confirm(ctx); err != nil {
		t.Errorf("with two of three: %v", err)
	}
	all[2].stop()
	if err := all[0].Confirm(ctx); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("alone of three: %v", err)
	}
}

func TestHubReachesAcrossMembers(t *testing.T) {
	all := three(t)
	got := make(chan string, 1)
	if _, err := all[2].Hub().Subscribe("x", func(m *nats.Msg) { got <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a message from a arrives at c", func() bool {
		if err := all[0].Hub().Publish("x", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		select {
		case s := <-got:
			return s == "hello"
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
}

func TestNodeBeatsAndIsLost(t *testing.T) {
	m := start(t, "a", t.TempDir())
	eventually(t, "a decides", func() bool { _, err := m.Beat(context.Background(), "n", api.Beat{}); return err == nil })
	ctx := context.Background()
	b := api.Beat{Session: "s"}
	if r, err := m.Beat(ctx, "n", b); err != nil || !r.Register {
		t.Fatalf("an unknown node: %+v, %v", r, err)
	}
	info := api.NodeInfo{Name: "n", Session: "s", PID: 7, Version: "other", Threads: 1, Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx2", Speed: 1e9, Memory: 1 << 30}}}
	b.Info = &info
	if _, err := m.Beat(ctx, "n", b); err == nil {
		t.Fatal("a node of another version was registered")
	}
	info.Version = "test"
	r, err := m.Beat(ctx, "n", b)
	if err != nil || r.Register || len(r.Hub) != 1 || r.LeaseSeconds != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	index := m.State().Index()
	b.Info = nil
	for range 20 {
		if _, err := m.Beat(ctx, "n", b); err != nil {
			t.Fatal(err)
		}
	}
	if m.State().Index() != index {
		t.Error("beats are in the log")
	}
	eventually(t, "the node is lost", func() bool { return m.State().Node("n").State == api.NodeLost })
	eventually(t, "it beats again and is back", func() bool {
		if _, err := m.Beat(ctx, "n", b); err != nil {
			t.Fatal(err)
		}
		return m.State().Node("n").State == api.NodeReady
	})
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*cluster.Config){
		"id":   func(c *cluster.Config) { c.ID = "a b" },
		"addr": func(c *cluster.Config) { c.Addr = "7400" },
		"all":  func(c *cluster.Config) { c.Addr = "0.0.0.0:7400" },
		"nats": func(c *cluster.Config) { c.NATS = "http://x" },
	} {
		c := cluster.DefaultConfig(time.Second)
		c.ID, c.Dir, c.Addr = "a", t.TempDir(), "127.0.0.1:0"
		change(&c)
		if _, err := cluster.Open(context.Background(), c); api.ExitCode(err) != api.ExitInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := cluster.DefaultConfig(time.Second)
	c.ID, c.Dir, c.Addr, c.Join, c.JoinWait = "a", t.TempDir(), "127.0.0.1:0", []string{"http://127.0.0.1:1"}, 100*time.Millisecond
	if _, err := cluster.Open(context.Background(), c); err == nil {
		t.Error("joined nobody")
	}
}
