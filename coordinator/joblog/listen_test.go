package joblog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// serve starts a hub.
func serve(t *testing.T, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, MaxPayload: api.MaxHubPayload})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the hub does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func dial(t *testing.T, at string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(at, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// node is one that says lines of job abc and answers for those that it has.
type node struct {
	t      *testing.T
	conn   *nats.Conn
	source api.LineSource
	gone   int // of the first lines

	mu    sync.Mutex
	said  int
	asked int
}

func newNode(t *testing.T, conn *nats.Conn, name string, worker int) *node {
	t.Helper()
	n := &node{t: t, conn: conn, source: api.LineSource{Job: "abc", Generation: 1, Node: name, Worker: worker, Kind: Events}}
	if _, err := conn.Subscribe(api.LinesSubject(name), n.answer); err != nil {
		t.Fatal(err)
	}
	n.flush()
	return n
}

func (n *node) flush() {
	n.t.Helper()
	if err := n.conn.FlushTimeout(5 * time.Second); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) line(seq int) []byte {
	raw, err := json.Marshal(api.LogLine{Job: "abc", Generation: 1, Node: n.source.Node, Worker: n.source.Worker, Seq: uint64(seq), Event: []byte(`{}`)})
	if err != nil {
		n.t.Error(err)
	}
	return raw
}

// say says lines, of which only some are sent.
func (n *node) say(lines int, sent func(seq int) bool) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for range lines {
		if n.said++; sent(n.said) {
			if err := n.conn.Publish(api.EventSubject("abc"), n.line(n.said)); err != nil {
				n.t.Error(err)
			}
		}
	}
}

func (n *node) mark(ended bool) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	raw, err := json.Marshal(api.LineMark{LineSource: n.source, First: uint64(n.gone + 1), Last: uint64(n.said), Ended: ended})
	if err == nil {
		err = n.conn.Publish(api.MarkSubject("abc"), raw)
	}
	if err != nil {
		n.t.Error(err)
	}
}

// answer has at most ten lines a reply.
func (n *node) answer(m *nats.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	ask, err := api.ParseLineRequest(m.Data)
	if err != nil {
		n.t.Error(err)
	}
	r := api.LineReply{Unknown: ask.LineSource != n.source}
	if !r.Unknown {
		r.First, r.Last = max(ask.From, uint64(n.gone+1)), uint64(n.said)
		for seq := r.First; seq <= r.Last && seq < r.First+10; seq++ {
			r.Lines = append(r.Lines, n.line(int(seq)))
		}
	}
	raw, err := json.Marshal(r)
	if err == nil {
		err = m.Respond(raw)
	}
	if err != nil {
		n.t.Error(err)
	}
}

func listen(t *testing.T, dir string, conn *nats.Conn, log *bytes.Buffer) *Store {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	s, err := Open(dir, logger)
	if err == nil {
		err = s.Listen(conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := conn.FlushTimeout(5 * time.Second); err != nil { // the hub has the subscriptions
		t.Fatal(err)
	}
	return s
}

// has waits until a store has so many lines of every worker, each once and in its order.
func has(t *testing.T, s *Store, want map[int][2]int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		lines, changed, err := s.Read("abc", Events, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got := map[int][2]int{}
		for _, raw := range lines {
			var l api.LogLine
			if err := json.Unmarshal(raw, &l); err != nil {
				t.Fatal(err)
			}
			span := got[l.Worker]
			if span[0] == 0 {
				span[0] = int(l.Seq)
			} else if int(l.Seq) != span[1]+1 {
				t.Fatalf("worker %d: line %d after line %d", l.Worker, l.Seq, span[1])
			}
			span[1] = int(l.Seq)
			got[l.Worker] = span
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Until(end)):
			t.Fatalf("lines %v, want %v", got, want)
		}
	}
}

func all(int) bool  { return true }
func none(int) bool { return false }

// Two workers of whose lines every third, and the last ones, are not heard.
func TestLinesThatWereNotHeardAreAskedFor(t *testing.T) {
	conn := dial(t, serve(t, server.RANDOM_PORT).ClientURL())
	s := listen(t, t.TempDir(), conn, nil)
	a, b := newNode(t, dial(t, conn.ConnectedUrl()), "a", 0), newNode(t, dial(t, conn.ConnectedUrl()), "b", 1)
	for range 10 {
		a.say(10, func(seq int) bool { return seq%3 > 0 })
		b.say(10, func(seq int) bool { return seq%3 > 1 })
	}
	a.say(5, none)
	a.mark(false)
	has(t, s, map[int][2]int{0: {1, 105}, 1: {1, 100}})
	// The last lines of a job that is over: of b nothing is known, so it is asked.
	b.say(3, none)
	since := time.Now()
	last := []api.LineSource{a.source, b.source}
	if s.Complete("abc", Events, last, since) {
		t.Error("complete without asking")
	}
	has(t, s, map[int][2]int{0: {1, 105}, 1: {1, 103}})
	for end := time.Now().Add(5 * time.Second); !s.Complete("abc", Events, last, since); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not complete")
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, n := range []*node{a, b} {
		n.mu.Lock()
		if n.asked > n.said {
			t.Errorf("%d questions for %d lines", n.asked, n.said)
		}
		n.mu.Unlock()
	}
}

// A coordinator whose folder is new, and one whose crash has cut the last line, catch up
// by marks alone. What the node has lost is said.
func TestAStoreCatchesUp(t *testing.T) {
	conn, dir := dial(t, serve(t, server.RANDOM_PORT).ClientURL()), t.TempDir()
	s := listen(t, dir, conn, nil)
	n := newNode(t, dial(t, conn.ConnectedUrl()), "a", 0)
	n.say(50, all)
	has(t, s, map[int][2]int{0: {1, 50}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "abc", "events.jsonl")
	raw, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, raw[:len(raw)-7], 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.say(30, all)
	n.flush()
	s = listen(t, dir, conn, nil)
	n.mark(true)
	has(t, s, map[int][2]int{0: {1, 80}})
	// Another has heard nothing, and the node has only the end of it.
	n.gone = 20
	var log bytes.Buffer
	other := listen(t, t.TempDir(), conn, &log)
	n.mark(true)
	has(t, other, map[int][2]int{0: {21, 80}})
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "lines of a job are gone") || !strings.Contains(log.String(), "from=1 to=20") {
		t.Errorf("log: %s", log.String())
	}
}

// The hub is killed in the middle; what was said meanwhile comes when it is back.
func TestLinesOutliveTheHub(t *testing.T) {
	hub := serve(t, server.RANDOM_PORT)
	at, err := url.Parse(hub.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, hub.ClientURL())
	s := listen(t, t.TempDir(), conn, nil)
	n := newNode(t, dial(t, hub.ClientURL()), "a", 0)
	n.say(20, all)
	has(t, s, map[int][2]int{0: {1, 20}})
	hub.Shutdown()
	hub.WaitForShutdown()
	connected := func(want bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); n.conn.IsConnected() != want || conn.IsConnected() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within 10 s: connected to the hub: %v", want)
			}
		}
	}
	connected(false)
	n.say(20, none)
	serve(t, port)
	connected(true)
	n.flush()
	if err := conn.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	n.mark(false)
	n.say(5, all)
	has(t, s, map[int][2]int{0: {1, 45}})
}

// Marks and lines that nobody can have said change nothing.
func TestMarksThatLie(t *testing.T) {
	conn := dial(t, serve(t, server.RANDOM_PORT).ClientURL())
	s := listen(t, t.TempDir(), conn, nil)
	n := newNode(t, dial(t, conn.ConnectedUrl()), "a", 0)
	n.say(3, all)
	n.flush()
	for subject, text := range map[string]string{
		api.MarkSubject("abc"):  `{"job":"abc","generation":1,"node":"a","worker":0,"kind":"events","first":1,"last":18446744073709551615}`,
		api.MarkSubject("abd"):  `{"job":"abc","generation":1,"node":"a","worker":0,"kind":"events","first":1,"last":7}`,
		api.MarkSubject("x"):    `{"job":"x","generation":1,"node":"a.*","worker":0,"kind":"events","first":1,"last":7}`,
		api.EventSubject("abc"): `{"job":"abc","generation":1,"node":"b","worker":0,"seq":4,"event":{}}`,
		api.LogSubject("abc"):   `{"job":"abc","generation":1,"node":"a","worker":-1,"seq":1,"text":"x"}`,
	} {
		if err := n.conn.Publish(subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	n.flush()
	time.Sleep(500 * time.Millisecond) // the first mark has been asked about
	n.say(3, all)
	has(t, s, map[int][2]int{0: {1, 6}})
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[key{"x", Events}]; f != nil {
		t.Error("a node that is a pattern was taken in")
	}
	if src := s.files[key{"abc", Events}].sources[worker{1, 0}]; src.missing() || src.Node != "a" {
		t.Errorf("lines up to %d of node %s are waited for", src.want, src.Node)
	}
}

// Lines that the disk does not take are asked for again.
func TestLinesThatTheDiskDoesNotTake(t *testing.T) {
	conn, dir := dial(t, serve(t, server.RANDOM_PORT).ClientURL()), t.TempDir()
	s := listen(t, dir, conn, nil)
	n := newNode(t, dial(t, conn.ConnectedUrl()), "a", 0)
	block := filepath.Join(dir, "abc") // a file where the job's folder would be
	if err := os.WriteFile(block, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.files[key{"abc", Events}] = &file{path: filepath.Join(block, "events.jsonl"), sources: map[worker]*source{}, changed: make(chan struct{})}
	s.mu.Unlock()
	n.say(5, all)
	n.flush()
	time.Sleep(100 * time.Millisecond)
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	has(t, s, map[int][2]int{0: {1, 5}})
}
