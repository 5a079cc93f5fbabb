package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// valve passes what connections to a hub bring, until it is shut: then nobody reads
// them, as from a hub that hangs.
type valve struct {
	url  string
	shut atomic.Bool
	open chan struct{} // closed to let everything pass again
}

func newValve(t *testing.T, hub string) *valve {
	t.Helper()
	to, err := url.Parse(hub)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{url: "nats://" + l.Addr().String(), open: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("tcp", to.Host)
			if err != nil {
				_ = from.Close()
				continue
			}
			all.Go(func() {
				_, _ = io.Copy(from, conn)
				_ = from.Close()
			})
			all.Go(func() {
				buf := make([]byte, 32<<10)
				for {
					n, err := from.Read(buf)
					if v.shut.Load() {
						<-v.open
					}
					if err == nil {
						_, err = conn.Write(buf[:n])
					}
					if err != nil {
						_ = conn.Close()
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return v
}

// A hub that hangs does not hold up who computes, and what was said meanwhile can be
// asked for when it is back.
func TestAHubThatHangsHoldsNobodyUp(t *testing.T) {
	f := newFake(t)
	v := newValve(t, f.hub.ClientURL())
	f.through = v.url
	const steps = 300
	took := make(chan time.Duration, 1)
	goOn := make(chan bool)
	work := func(ctx context.Context, p Part) (api.Result, error) {
		began := time.Now()
		for s := range steps {
			if s == 10 {
				v.shut.Store(true)
			}
			p.Emit(api.Event{Event: "step", Step: &api.Step{Step: s + 1}})
			p.Log.Info(strings.Repeat("x", maxText/2)) // more than sockets buffer
		}
		took <- time.Since(began)
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return api.Result{}, nil
	}
	stop := f.node("a", t.TempDir(), work)
	f.assign("job1", 1, false, "a")
	select {
	case d := <-took:
		t.Logf("%d steps and log lines of %d KiB took %v", steps, maxText>>11, d)
	case <-time.After(20 * time.Second): // the connection gives up after a minute
		t.Error("a hub that hangs stopped the worker")
	}
	close(v.open)
	goOn <- true
	f.eventually("the worker has ended", func() bool { return len(f.reports) == 1 })
	source := api.LineSource{Job: "job1", Generation: 1, Node: "a", Worker: 0, Kind: api.EventLines}
	var got []json.RawMessage
	for len(got) < steps {
		raw, err := json.Marshal(api.LineRequest{LineSource: source, From: uint64(len(got) + 1)})
		if err != nil {
			t.Fatal(err)
		}
		m := ask(t, f.conn, raw)
		var r api.LineReply
		if err := json.Unmarshal(m.Data, &r); err != nil || r.First != uint64(len(got)+1) || len(r.Lines) == 0 {
			t.Fatalf("asked for line %d: %.200s %v", len(got)+1, m.Data, err)
		}
		got = append(got, r.Lines...)
	}
	for i, raw := range got {
		if want := fmt.Sprintf(`"step":%d`, i+1); !strings.Contains(string(raw), want) {
			t.Fatalf("line %d is %s, want %s in it", i+1, raw, want)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
}

// ask repeats a question until the node is back on the hub.
func ask(t *testing.T, conn *nats.Conn, raw []byte) *nats.Msg {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		m, err := conn.Request(api.LinesSubject("a"), raw, 5*time.Second)
		if err == nil {
			return m
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
