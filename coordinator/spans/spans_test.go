package spans

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// member is one whose log a test writes.
type member struct {
	fsm   *state.FSM
	leads atomic.Bool
	view  schedule.View
}

func (m *member) Watch() (*state.State, <-chan struct{}) { return m.fsm.Watch() }
func (m *member) Leads() bool                            { return m.leads.Load() }
func (m *member) View() schedule.View                    { return m.view }
func (m *member) Schedule() schedule.Config              { return schedule.DefaultConfig(time.Second) }

// taken is where spans go.
type taken struct {
	mu        sync.Mutex
	spans     []sdk.ReadOnlySpan
	addresses []string
	closed    int
}

func (x *taken) Take(s sdk.ReadOnlySpan) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.spans = append(x.spans, s)
}

func (x *taken) Close(context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed++
	return nil
}

func (x *taken) config(m *member) Config {
	return Config{ID: "c1", Version: "v", Source: m, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Open: func(_ context.Context, address string) (Out, error) {
		x.addresses = append(x.addresses, address)
		return x, nil
	}}
}

// told words the spans: name, generation and the steps that they link to.
func (x *taken) told() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, s := range x.spans {
		text := s.Name()
		for _, l := range s.Links() {
			text += fmt.Sprintf(" %d/%d", l.Attributes[0].Value.AsInt64(), l.Attributes[1].Value.AsInt64())
		}
		out = append(out, text)
	}
	return out
}

// recorded is the log of a job that loses a node, has an exchange broken, waits, and
// grows: what package state keeps of its version 2.
func recorded(t *testing.T) [][]byte {
	t.Helper()
	raw, err := os.ReadFile("../state/testdata/v2.log.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
}

func (m *member) apply(t *testing.T, index int, raw []byte) {
	t.Helper()
	if r, ok := m.fsm.Apply(&raft.Log{Index: uint64(index), Data: raw}).(state.Reply); !ok || r.Err != nil {
		t.Fatalf("%s: %v", raw, r.Err)
	}
}

// Whether a leader looks after every decision or after all of them, it tells the same
// in the job's trace, with links to the steps that were hit.
func TestDecisionsAreSpansOfTheJob(t *testing.T) {
	for every, want := range map[bool]string{
		true: "submitted, inspected, planned, started, node-lost 1/1, planned 1/1, started, went-on, recovery 1/59 2/58, reported 2/58, planned 2/58, node-lost 3/1, unplanned 3/61, planned 3/61, " +
			"started, went-on, recovery 3/61 4/41, planned 4/61, started, went-on, recovery 4/91 5/91",
		// Of earlier generations it is not known any more how far they were.
		false: "submitted, inspected, planned, started, node-lost 1/61, planned 1/61, started, went-on, recovery 1/59 2/58, reported 2/61, planned 2/61, node-lost 3/61, unplanned 3/61, planned 3/61, " +
			"started, went-on, recovery 3/61 4/41, planned 4/61, started, went-on, recovery 4/91 5/91",
	} {
		m, x := &member{fsm: state.NewFSM()}, &taken{}
		tell := &teller{Config: x.config(m), outs: outs{config: x.config(m)}}
		var seen uint64
		for i, raw := range recorded(t) {
			m.apply(t, i+1, raw)
			if every {
				tell.tell(t.Context(), m.fsm.State(), seen)
				seen = m.fsm.State().Index()
			}
		}
		tell.tell(t.Context(), m.fsm.State(), seen)
		if got := strings.Join(x.told(), ", "); got != want {
			t.Errorf("after every one %v:\nfound %s\nwant  %s", every, got, want)
		}
		for _, s := range x.spans {
			if s.SpanContext().TraceID() != telemetry.JobRoot("a").Trace || s.Parent().SpanID() != telemetry.JobRoot("a").Span || s.EndTime().Before(s.StartTime()) {
				t.Errorf("%s is in trace %s under %s, from %v to %v", s.Name(), s.SpanContext().TraceID(), s.Parent().SpanID(), s.StartTime(), s.EndTime())
			}
		}
		if len(x.addresses) != 1 {
			t.Errorf("opened %q", x.addresses)
		}
	}
}

func command(t *testing.T, b state.Body, at time.Time) []byte {
	t.Helper()
	raw, err := state.Encode(state.Command{At: at, Body: b})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A new leader goes on with what is decided from then on, and makes the root of a job
// that it has not seen begin.
func TestANewLeaderGoesOn(t *testing.T) {
	m, x := &member{fsm: state.NewFSM()}, &taken{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); Run(ctx, x.config(m)) }()
	at := time.Now().Add(-time.Minute)
	spec := strings.Replace(api.DemoJob(), "  # endpoint: http://127.0.0.1:4318", "  endpoint: http://127.0.0.1:4999", 1)
	time.Sleep(20 * time.Millisecond) // until Run has looked
	m.apply(t, 1, command(t, &state.Submit{ID: "abcdefgh", Name: "demo", Request: api.JobRequest{Spec: spec}}, at))
	time.Sleep(50 * time.Millisecond)
	if got := x.told(); len(got) != 0 {
		t.Fatalf("who does not lead told %v", got)
	}
	m.leads.Store(true)
	m.apply(t, 2, command(t, &state.Cancel{Job: "abcdefgh", Reason: "asked for"}, at.Add(10*time.Second)))
	for end := time.Now().Add(10 * time.Second); len(x.told()) < 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	cancel()
	<-ended
	if got := fmt.Sprint(x.told()); got != "[cancelled job]" || x.closed != 1 || fmt.Sprint(x.addresses) != "[http://127.0.0.1:4999]" {
		t.Fatalf("told %s to %v, closed %d", got, x.addresses, x.closed)
	}
	root, job := x.spans[1], telemetry.JobRoot("abcdefgh")
	if root.SpanContext().SpanID() != job.Span || root.Parent().IsValid() || !root.StartTime().Equal(at) || root.EndTime().Sub(at) != 10*time.Second {
		t.Errorf("the root is %s from %v to %v", root.SpanContext().SpanID(), root.StartTime(), root.EndTime())
	}
	if x.spans[0].Parent().SpanID() != job.Span || x.spans[0].SpanKind() != trace.SpanKindInternal {
		t.Errorf("%+v", x.spans[0])
	}
}

// Jobs name addresses: no number of them holds more than so many open.
func TestAddressesAreBounded(t *testing.T) {
	m, x := &member{fsm: state.NewFSM()}, &taken{}
	o := outs{config: x.config(m)}
	for i := range 3 * most {
		spec := strings.Replace(api.DemoJob(), "  # endpoint: http://127.0.0.1:4318", fmt.Sprintf("  endpoint: http://127.0.0.1:%d", 5000+i), 1)
		for range 2 {
			if o.of(t.Context(), &state.Job{Request: api.JobRequest{Spec: spec}}) == nil {
				t.Fatal("nowhere to go")
			}
		}
	}
	o.closing.Wait()
	if len(o.open) != most || x.closed != 2*most || len(x.addresses) != 3*most {
		t.Errorf("%d open, %d closed of %d", len(o.open), x.closed, len(x.addresses))
	}
	o.close()
	if x.closed != 3*most {
		t.Errorf("%d closed", x.closed)
	}
}
