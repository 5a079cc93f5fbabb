package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// attach connects as a node does, to the hubs at the URLs.
func attach(t *testing.T, urls []string) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.DontRandomize(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// beatsOf counts what a node is told to beat.
func beatsOf(t *testing.T, c *nats.Conn, node string) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	if _, err := c.Subscribe(api.NudgeSubject(node), func(*nats.Msg) { n.Add(1) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// reaches waits until what a member says on its hub arrives at a node.
func reaches(t *testing.T, m *member, node string, got *atomic.Int64) {
	t.Helper()
	before := got.Load()
	eventually(t, m.ID()+" reaches node "+node, func() bool {
		if err := m.Hub().Publish(api.NudgeSubject(node), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		return got.Load() > before
	})
}

// A node whose hub server is lost with its coordinator goes over to another one's, and
// is reached by all coordinators; also by the one that is back, at the same ports.
func TestHubOutlivesAMember(t *testing.T) {
	all := threePatient(t)
	hubs := all[1].HubURLs() // b's comes first
	if len(hubs) != 3 {
		t.Fatalf("hubs %v", hubs)
	}
	c := attach(t, hubs)
	got := beatsOf(t, c, "n")
	for _, m := range all {
		reaches(t, m, "n", got)
	}
	first := c.ConnectedUrl()
	all[1].stop()
	for _, m := range []*member{all[0], all[2]} {
		reaches(t, m, "n", got)
	}
	if c.ConnectedUrl() == first {
		t.Errorf("the node is connected to %s still", first)
	}
	all[1] = open(t, all[1].config)
	if now := all[1].HubURLs()[0]; now != hubs[0] {
		t.Errorf("the hub is back at %s, was at %s", now, hubs[0])
	}
	for _, m := range all {
		reaches(t, m, "n", got)
	}
}

// Coordinators on the NATS of somebody else lose it and get it back: nodes are reached
// again, decisions go on meanwhile, and what was said once is there at most once.
func TestNATSOfOthersComesBack(t *testing.T) {
	start := func(port int) *server.Server {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, MaxPayload: api.MaxHubPayload})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(s.Shutdown)
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("NATS does not start")
		}
		return s
	}
	broker := start(server.RANDOM_PORT)
	var port int
	if _, err := fmt.Sscanf(broker.ClientURL(), "nats://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	config := patient(t, "z", t.TempDir()).config // of the shape that all have
	config.ID, config.Dir, config.NATS = "a", t.TempDir(), broker.ClientURL()
	m := open(t, config)
	eventually(t, "a leads", leads(m))
	c := attach(t, m.HubURLs())
	got := beatsOf(t, c, "n")
	reaches(t, m, "n", got)
	broker.Shutdown()
	broker.WaitForShutdown()
	submit(t, m, "aaaaaaaa")
	if _, err := m.Beat(context.Background(), "n", api.Beat{Session: "s"}); err != nil {
		t.Errorf("a beat without the hub: %v", err)
	}
	start(port)
	reaches(t, m, "n", got)
	// Both are back: what is said now comes once.
	times := make([]atomic.Int64, 100)
	if _, err := c.Subscribe("once", func(x *nats.Msg) { times[x.Data[0]].Add(1) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range times {
		if err := m.Hub().Publish("once", []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all of it arrives", func() bool {
		for i := range times {
			if times[i].Load() == 0 {
				return false
			}
		}
		return true
	})
	for i := range times {
		if n := times[i].Load(); n != 1 {
			t.Errorf("message %d came %d times", i, n)
		}
	}
}
