package agent

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// What a node recorded can be asked for over the hub; what it cannot answer it says.
func TestANodeAnswersForItsSteps(t *testing.T) {
	f := newFake(t)
	root := telemetry.StepRoot("job", 1, 2)
	f.start("a", filepath.Join(t.TempDir(), "a"), nothing, func(c *Config) {
		c.Trace = func(ask api.TraceRequest) (api.Trace, error) {
			switch ask.Step {
			case 2:
				return api.Trace{Job: ask.Job, Step: 2}, nil
			case 3:
				return api.Trace{TraceID: strings.Repeat("x", api.MaxHubPayload)}, nil
			}
			return api.Trace{}, errors.New("not kept\nany more")
		}
		c.Profile = func(ctx context.Context, ask api.ProfileRequest) (api.NodeProfile, error) {
			if got := trace.SpanContextFromContext(ctx); got.TraceID() != root.Trace {
				t.Errorf("the context that came is %v", got)
			}
			time.Sleep(1200 * time.Millisecond)
			return api.NodeProfile{Node: "a", LastStep: ask.Steps}, nil
		}
	})
	f.start("b", filepath.Join(t.TempDir(), "b"), nothing, func(*Config) {})
	// ask returns the first reply that is one, and how many signs of life came before.
	ask := func(subject string, v any) (m *nats.Msg, busy int) {
		t.Helper()
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		inbox, err := f.conn.SubscribeSync(f.conn.NewInbox())
		if err != nil {
			t.Fatal(err)
		}
		request := nats.NewMsg(subject)
		request.Reply, request.Data = inbox.Subject, raw
		telemetry.Inject(root.Under(t.Context()), request.Header)
		if err := f.conn.PublishMsg(request); err != nil {
			t.Fatal(err)
		}
		for {
			if m, err = inbox.NextMsg(10 * time.Second); err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			if m.Header.Get(api.HeaderBusy) == "" {
				return m, busy
			}
			busy++
		}
	}
	f.eventually("the nodes are on the hub", func() bool { return f.hub.NumClients() >= 3 && f.hub.NumSubscriptions() >= 12 })
	if m, _ := ask(api.TraceSubject("a"), api.TraceRequest{Job: "job", Step: 2}); !strings.Contains(string(m.Data), `"step":2`) || m.Header.Get(api.HeaderError) != "" {
		t.Errorf("%v %s", m.Header, m.Data)
	}
	for want, request := range map[string]any{
		"not kept any more":    api.TraceRequest{Job: "job", Step: 9},
		"the hub takes":        api.TraceRequest{Job: "job", Step: 3},
		"cannot unmarshal":     "x",
		"this node records no": nil,
	} {
		node := "a"
		if request == nil {
			node = "b"
		}
		if m, _ := ask(api.TraceSubject(node), request); len(m.Data) != 0 || !strings.Contains(m.Header.Get(api.HeaderError), want) {
			t.Errorf("%v: %v, want %q", request, m.Header, want)
		}
	}
	if m, busy := ask(api.ProfileSubject("a"), api.ProfileRequest{Job: "job", Steps: 4, Seconds: 5}); busy != 1 || !strings.Contains(string(m.Data), `"last_step":4`) {
		t.Errorf("%d signs of life, %s", busy, m.Data)
	}
	for want, request := range map[string]any{"steps: found 0": api.ProfileRequest{Seconds: 1}, "seconds: found 0": api.ProfileRequest{Steps: 1}, "cannot unmarshal": 7} {
		if m, _ := ask(api.ProfileSubject("a"), request); !strings.Contains(m.Header.Get(api.HeaderError), want) {
			t.Errorf("%v: %v, want %q", request, m.Header, want)
		}
	}
}
