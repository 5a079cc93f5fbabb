package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

func TestBufferKeepsTheLast(t *testing.T) {
	var b buffer
	if first, lines := b.from(1); first != 1 || len(lines) > 0 || b.last() != 0 {
		t.Errorf("an empty buffer has %d lines from %d", len(lines), first)
	}
	for i := range maxKeptLines + 10 {
		b.add(fmt.Append(nil, i+1))
	}
	if b.first() != 11 || b.last() != maxKeptLines+10 || len(b.lines) != maxKeptLines {
		t.Errorf("lines %d to %d, %d in all", b.first(), b.last(), len(b.lines))
	}
	if first, lines := b.from(3); first != 11 || string(lines[0]) != "11" {
		t.Errorf("from 3: line %d, %s", first, lines[0])
	}
	if first, lines := b.from(b.last()); first != b.last() || len(lines) != 1 || string(lines[0]) != fmt.Sprint(first) {
		t.Errorf("the last one: %d lines from %d", len(lines), first)
	}
	if first, lines := b.from(b.last() + 5); first != b.last()+5 || len(lines) > 0 {
		t.Errorf("none: %d lines from %d", len(lines), first)
	}
	b = buffer{}
	for range 100 {
		b.add(make([]byte, api.MaxPiece/3))
	}
	b.add(make([]byte, api.MaxLine))
	size := 0
	for _, line := range b.lines {
		size += len(line)
	}
	if size != b.bytes || size > maxKeptBytes || size < maxKeptBytes/2 || b.last() != 101 {
		t.Errorf("%d bytes, counted as %d, up to line %d", size, b.bytes, b.last())
	}
	if _, lines := b.from(1); len(lines) != 3 {
		t.Errorf("%d lines in a reply, want 3", len(lines))
	}
	if _, lines := b.from(101); len(lines) != 1 {
		t.Errorf("%d lines in a reply, want the large one", len(lines))
	}
}

// restart starts the hub again where it was.
func (f *fake) restart() {
	f.t.Helper()
	at, err := url.Parse(f.hub.ClientURL())
	if err != nil {
		f.t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		f.t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, MaxPayload: api.MaxHubPayload})
	if err != nil {
		f.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		f.t.Fatal("the hub is not back")
	}
	f.t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
}

// What a worker says while the hub is away can be asked for when it is back, also after
// the worker has ended, until two others have.
func TestLinesCanBeAskedFor(t *testing.T) {
	f := newFake(t)
	const before, away, after = 20, 30, 10
	said, goOn := make(chan bool), make(chan bool)
	work := func(ctx context.Context, p Part) (api.Result, error) {
		step := 0
		for _, n := range []int{before, away, after} {
			for range n {
				step++
				p.Emit(api.Event{Event: "step", Step: &api.Step{Step: step}})
			}
			if p.Job != "job1" {
				continue
			}
			said <- true
			select {
			case <-goOn:
			case <-ctx.Done():
				return api.Result{}, ctx.Err()
			}
		}
		return api.Result{}, nil
	}
	stop := f.node("a", t.TempDir(), work)
	conn, err := nats.Connect(f.hub.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	marks := make(chan api.LineMark, 1000)
	if _, err := conn.Subscribe(api.MarkSubject("job1"), func(m *nats.Msg) {
		mark, err := api.ParseLineMark(m.Data)
		if err != nil {
			t.Error(err)
		}
		if mark.Kind == api.EventLines {
			marks <- mark
		}
	}); err != nil {
		t.Fatal(err)
	}
	marked := func(last uint64, ended bool) api.LineMark {
		t.Helper()
		for end := time.After(20 * time.Second); ; {
			select {
			case m := <-marks:
				if m.Last == last && m.Ended == ended {
					return m
				}
			case <-end:
				t.Fatalf("no mark up to %d, ended %v", last, ended)
			}
		}
	}
	ask := func(raw string) (r api.LineReply, refused string) {
		t.Helper()
		m, err := conn.Request(api.LinesSubject("a"), []byte(raw), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if refused = m.Header.Get(api.HeaderError); refused == "" {
			err = json.Unmarshal(m.Data, &r)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r, refused
	}
	from := func(source api.LineSource, from uint64) api.LineReply {
		t.Helper()
		raw, err := json.Marshal(api.LineRequest{LineSource: source, From: from})
		if err != nil {
			t.Fatal(err)
		}
		r, refused := ask(string(raw))
		if refused != "" {
			t.Fatal(refused)
		}
		return r
	}
	whole := func(r api.LineReply, first, last int) {
		t.Helper()
		if r.Unknown || r.First != uint64(first) || r.Last != uint64(last) || len(r.Lines) != last-first+1 {
			t.Fatalf("%d lines from %d of %d, want %d to %d", len(r.Lines), r.First, r.Last, first, last)
		}
		for i, raw := range r.Lines {
			var l api.LogLine
			var e api.Event
			if err := json.Unmarshal(raw, &l); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(l.Event, &e); err != nil || l.Seq != uint64(first+i) || e.Step.Step != first+i || l.Node != "a" || l.Job != "job1" {
				t.Fatalf("line %d is %s: %v", first+i, raw, err)
			}
		}
	}
	f.assign("job1", 1, false, "a")
	<-said
	source := marked(before, false).LineSource
	whole(from(source, 5), 5, before)
	f.hub.Shutdown()
	f.hub.WaitForShutdown()
	goOn <- true
	<-said
	f.restart()
	marked(before+away, false)
	whole(from(source, before+1), before+1, before+away)
	goOn <- true
	<-said
	goOn <- true
	marked(before+away+after, true)
	for i, job := range []string{"job2", "job3"} {
		whole(from(source, 1), 1, before+away+after)
		f.assign(job, 1, false, "a")
		f.eventually(job+" has ended", func() bool { return len(f.reports) == i+2 })
		if r := from(source, before+away+after+1); len(r.Lines) > 0 || !r.Ended && !r.Unknown {
			t.Errorf("%+v after the last line", r)
		}
	}
	f.assign("job4", 1, false, "a")
	f.eventually("job4 has ended", func() bool { return len(f.reports) == 4 })
	if r := from(source, 1); !r.Unknown {
		t.Errorf("%d lines of a worker after which three have ended", len(r.Lines))
	}
	other := source
	other.Worker = 1
	if r := from(other, 1); !r.Unknown {
		t.Errorf("%d lines of a worker that is not here", len(r.Lines))
	}
	for _, bad := range []string{``, `{}`, strings.Repeat("[", 5000), `{"job":"../x","generation":1,"node":"a","worker":0,"kind":"log","from":1}`} {
		if _, refused := ask(bad); !strings.Contains(refused, "request for lines") {
			t.Errorf("%.20q: %q", bad, refused)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
}

// Lines that no message holds do not leave a hole in the numbers.
func TestLargeLines(t *testing.T) {
	a := &agent{Config: DefaultConfig(), said: newSaid()}
	a.Name, a.Logger = "a", slog.New(slog.DiscardHandler)
	a.toHub = newPublisher(a)
	defer a.toHub.close()
	l := newLines(a, api.Assignment{Job: "job1", Generation: 1})
	l.event(api.Event{Event: "note", Message: strings.Repeat("x", api.MaxLine)})
	l.event(api.Event{Event: "note", Message: "short"})
	if l.events.kept.last() != 1 || !strings.Contains(string(l.events.kept.lines[0]), "short") {
		t.Errorf("%d events", l.events.kept.last())
	}
	l.say("INFO", strings.Repeat("\x01", api.MaxLine))
	if l.log.kept.last() != 1 || len(l.log.kept.lines[0]) > api.MaxLine {
		t.Errorf("%d lines", l.log.kept.last())
	}
}

// Lines are not kept for ever.
func TestWhatWasSaidIsForgotten(t *testing.T) {
	a := &agent{Config: DefaultConfig(), said: newSaid()}
	a.Name, a.Logger = "a", slog.New(slog.DiscardHandler)
	a.toHub = newPublisher(a)
	defer a.toHub.close()
	l := newLines(a, api.Assignment{Job: "job1", Generation: 1})
	l.end()
	if n := len(a.said.current(l.ended.Load().Add(keptFor))); n != 1 {
		t.Errorf("%d workers kept", n)
	}
	if n := len(a.said.current(l.ended.Load().Add(keptFor + time.Second))); n != 0 {
		t.Errorf("%d workers kept for too long", n)
	}
}
