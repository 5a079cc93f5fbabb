package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// connect connects to the hub, again when its members have changed.
func (a *agent) connect(ctx context.Context, urls []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	sorted := slices.Sorted(slices.Values(urls))
	if a.hub != nil && (slices.Equal(sorted, a.hubURLs) || !a.idle()) {
		return nil // a worker's session stands on the connection; it reconnects by itself
	}
	conn, err := nats.Connect(strings.Join(urls, ","), nats.Name("node "+a.Name), nats.MaxReconnects(-1),
		nats.ReconnectWait(200*time.Millisecond), nats.Timeout(3*time.Second), nats.DontRandomize())
	if err != nil {
		return err
	}
	for subject, handle := range map[string]nats.MsgHandler{
		api.NudgeSubject(a.Name):   func(*nats.Msg) { a.hurry() },
		api.InspectSubject(a.Name): func(m *nats.Msg) { a.tasks.Go(func() { a.inspect(ctx, m) }) },
		api.FilesSubject(a.Name):   func(m *nats.Msg) { a.tasks.Go(func() { a.files(ctx, m) }) },
		api.TraceSubject(a.Name):   func(m *nats.Msg) { a.tasks.Go(func() { a.trace(m) }) },
		api.ProfileSubject(a.Name): func(m *nats.Msg) { a.tasks.Go(func() { a.profile(ctx, m) }) },
		api.LinesSubject(a.Name): func(m *nats.Msg) {
			if err := a.said.asked(m, a.Now()); err != nil {
				a.Logger.Debug("lines not sent", "error", err)
			}
		},
	} {
		if _, err := conn.Subscribe(subject, handle); err != nil {
			conn.Close()
			return err
		}
	}
	if a.hub != nil {
		a.hub.Close()
	}
	a.hub, a.hubURLs = conn, sorted
	return nil
}

// idle reports whether no worker runs; the lock is held.
func (a *agent) idle() bool { return a.worker == nil || a.worker.over() }

func (a *agent) closeHub() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hub != nil {
		_ = a.hub.FlushTimeout(time.Second) // last lines
		a.hub.Close()
	}
}

func (a *agent) conn() *nats.Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hub
}

// inspectWait bounds a look at a job: the folder of a large model may be hashed.
const inspectWait = 10 * time.Minute

// inspect answers what a job costs, or what is wrong with it.
func (a *agent) inspect(ctx context.Context, m *nats.Msg) {
	a.answer(ctx, m, inspectWait, func(ctx context.Context) (any, error) {
		var ask api.Inspect
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			return api.Inspection{Error: "inspect: " + err.Error(), ExitCode: api.ExitFailed}, nil
		}
		return a.Inspect(ctx, ask.Spec), nil
	})
}

// answer works on a reply and shows that it is alive until it is there. Replies go over
// the connection that there is by then.
func (a *agent) answer(ctx context.Context, m *nats.Msg, wait time.Duration, work func(context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(telemetry.Extract(ctx, m.Header), wait)
	defer cancel()
	type result struct {
		value any
		err   error
	}
	done := make(chan result, 1)
	a.tasks.Go(func() {
		v, err := work(ctx)
		done <- result{v, err}
	})
	busy := time.NewTicker(api.BusyEvery)
	defer busy.Stop()
	for {
		select {
		case <-busy.C:
			reply := nats.NewMsg(m.Reply)
			reply.Header.Set(api.HeaderBusy, "1")
			_ = a.conn().PublishMsg(reply) // the next one, or the reply, tells as much
		case found := <-done:
			a.reply(m, found.value, found.err)
			return
		}
	}
}

// reply answers with a value as JSON, or says why there is none.
func (a *agent) reply(m *nats.Msg, value any, err error) {
	reply, conn := nats.NewMsg(m.Reply), a.conn()
	if err == nil {
		reply.Data, err = json.Marshal(value)
	}
	if largest := conn.MaxPayload(); err == nil && int64(len(reply.Data)) > largest {
		err = fmt.Errorf("the answer has %d bytes, the hub takes %d", len(reply.Data), largest)
	}
	if err != nil {
		reply.Data = nil
		reply.Header.Set(api.HeaderError, line(err.Error()))
	}
	if err := conn.PublishMsg(reply); err != nil {
		a.Logger.Warn("request not answered", "subject", m.Subject, "error", err)
	}
}

// line makes a text one that a header can hold.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }

// files answers with the output of a job.
func (a *agent) files(ctx context.Context, m *nats.Msg) {
	reply := nats.NewMsg(m.Reply)
	var ask api.FileRequest
	err := json.Unmarshal(m.Data, &ask)
	if err == nil {
		var size int64
		reply.Data, size, err = serve(ctx, a.Dir, ask)
		reply.Header.Set(api.HeaderSize, strconv.FormatInt(size, 10))
	}
	if err != nil {
		reply.Header.Set(api.HeaderError, err.Error())
	}
	if err := m.RespondMsg(reply); err != nil {
		a.Logger.Warn("file not sent", "error", err)
	}
}
