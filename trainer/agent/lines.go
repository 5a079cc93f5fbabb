package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"ressa/coordinator/api"
)

// lines sends what a worker says to the hub: log lines, and of worker 0 the job's
// events. What cannot be sent while the hub is away is kept by the connection up to
// its bound, and then lost: the run's folder has all events.
type lines struct {
	agent *agent
	line  api.LogLine

	mu  sync.Mutex
	seq uint64 // of log lines
	evt uint64 // of events
}

func newLines(a *agent, x api.Assignment) *lines {
	return &lines{agent: a, line: api.LogLine{Job: x.Job, Generation: x.Generation, Node: a.Name, Worker: x.Worker}}
}

func (l *lines) event(e api.Event) {
	raw, err := json.Marshal(e)
	if err != nil {
		return // an infinite number: it is in the run's own log
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evt++
	line := l.line
	line.Seq, line.At, line.Event = l.evt, l.agent.Now(), raw
	l.send(api.EventSubject(line.Job), line)
}

func (l *lines) say(level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	line := l.line
	line.Seq, line.At, line.Level, line.Text = l.seq, l.agent.Now(), level, text
	l.send(api.LogSubject(line.Job), line)
}

// send publishes; failing to, it says so once a line in the node's own log.
func (l *lines) send(subject string, line api.LogLine) {
	conn := l.agent.conn()
	raw, err := json.Marshal(line)
	if err == nil && conn != nil {
		err = conn.Publish(subject, raw)
	}
	if err != nil {
		l.agent.Logger.Debug("line not sent", "error", err)
	}
}

// flush waits until the hub has the last lines, for a moment.
func (l *lines) flush() {
	if conn := l.agent.conn(); conn != nil {
		_ = conn.FlushTimeout(time.Second)
	}
}

// handler returns a slog handler that writes to the node's own log and to the hub.
func (l *lines) handler(own slog.Handler) slog.Handler { return &tee{lines: l, own: own} }

type tee struct {
	lines *lines
	own   slog.Handler
	attrs string
}

// Enabled implements slog.Handler.
func (t *tee) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (t *tee) Handle(ctx context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	b.WriteString(t.attrs)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	t.lines.say(r.Level.String(), b.String())
	if t.own.Enabled(ctx, r.Level) {
		return t.own.Handle(ctx, r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *t
	for _, a := range attrs {
		out.attrs += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	out.own = t.own.WithAttrs(attrs)
	return &out
}

// WithGroup implements slog.Handler.
func (t *tee) WithGroup(name string) slog.Handler {
	out := *t
	out.own = t.own.WithGroup(name)
	return &out
}
