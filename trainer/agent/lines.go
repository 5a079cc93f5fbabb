package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ressa/coordinator/api"
)

// How often a kind of lines is marked: soon where anything is new or was asked for
// within askedLately, since a coordinator may lack the last ones; else now and then, for
// one that has just come up.
const (
	markSoon    = time.Second
	markRarely  = 5 * time.Second
	askedLately = 10 * time.Second
)

// maxText bounds the text of a log line, so that the line stays below [api.MaxLine].
const maxText = 256 << 10

// lines sends what a worker says to the hub: log lines, and of worker 0 the job's
// events. It keeps them for coordinators that did not hear them.
type lines struct {
	agent *agent
	line  api.LogLine // what all have in common

	mu          sync.Mutex
	events, log voice

	ended atomic.Pointer[time.Time] // nil while the worker may say more
}

// voice is one kind of lines.
type voice struct {
	subject string
	source  api.LineSource
	kept    buffer
	fresh   bool // lines that no mark has told of
	told    bool // that lines are gone
	marked  time.Time
	asked   time.Time
}

func newLines(a *agent, x api.Assignment) *lines {
	l := &lines{agent: a, line: api.LogLine{Job: x.Job, Generation: x.Generation, Node: a.Name, Worker: x.Worker}}
	source := api.LineSource{Job: x.Job, Generation: x.Generation, Node: a.Name, Worker: x.Worker, Kind: api.EventLines}
	l.events = voice{subject: api.EventSubject(x.Job), source: source, marked: a.Now()}
	source.Kind = api.LogLines
	l.log = voice{subject: api.LogSubject(x.Job), source: source, marked: a.Now()}
	a.said.add(l)
	return l
}

func (l *lines) event(e api.Event) {
	raw, err := json.Marshal(e)
	if err != nil {
		return // an infinite number: it is in the run's own log
	}
	l.send(&l.events, api.LogLine{Event: raw})
}

func (l *lines) say(level, text string) {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + " …"
	}
	l.send(&l.log, api.LogLine{Level: level, Text: text})
}

// send keeps a line and has it published, which it does not wait for. One that could
// not be published will be asked for.
func (l *lines) send(v *voice, said api.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.line
	line.Seq, line.At, line.Level, line.Text, line.Event = v.kept.last()+1, l.agent.Now(), said.Level, said.Text, said.Event
	raw, err := json.Marshal(line)
	if err == nil && len(raw) > api.MaxLine {
		err = fmt.Errorf("%d bytes, want at most %d", len(raw), api.MaxLine)
	}
	if err != nil {
		l.agent.Logger.Warn("line not sent", "kind", v.source.Kind, "error", err)
		return
	}
	v.kept.add(raw)
	v.fresh = true
	if v.kept.gone > 0 && !v.told {
		v.told = true
		l.agent.Logger.Warn("the oldest lines are not kept any more: a coordinator that did not hear them will not have them",
			"job", line.Job, "generation", line.Generation, "kind", v.source.Kind, "bytes", maxKeptBytes, "lines", maxKeptLines)
	}
	l.agent.toHub.publish(v.subject, raw)
}

// mark sends the marks that are due.
func (l *lines) mark(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range []*voice{&l.events, &l.log} {
		every := markRarely
		if v.fresh || now.Sub(v.asked) < askedLately {
			every = markSoon
		}
		// A ticker is not exact: a little early is on time.
		if now.Sub(v.marked) > every-markEvery/2 {
			l.tell(v, now)
		}
	}
}

// tell sends a mark. The lock is held.
func (l *lines) tell(v *voice, now time.Time) {
	raw, err := json.Marshal(api.LineMark{LineSource: v.source, First: v.kept.first(), Last: v.kept.last(), Ended: l.ended.Load() != nil})
	if err != nil {
		l.agent.Logger.Warn("lines not marked", "error", err)
		return
	}
	v.fresh, v.marked = false, now
	l.agent.toHub.publish(api.MarkSubject(v.source.Job), raw)
}

// voice returns the lines of a source; nil where that is another.
func (l *lines) voice(s api.LineSource) *voice {
	switch s {
	case l.events.source:
		return &l.events
	case l.log.source:
		return &l.log
	}
	return nil
}

// reply is the answer to a question for lines.
func (l *lines) reply(v *voice, from uint64, now time.Time) api.LineReply {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.asked = now
	first, kept := v.kept.from(from)
	r := api.LineReply{First: first, Last: v.kept.last(), Ended: l.ended.Load() != nil, Lines: make([]json.RawMessage, len(kept))}
	for i, raw := range kept {
		r.Lines[i] = raw
	}
	return r
}

// end says that there are no more lines, and waits for a moment until the hub has them.
func (l *lines) end() {
	now := l.agent.Now()
	l.ended.Store(&now)
	l.mu.Lock()
	l.tell(&l.events, now)
	l.tell(&l.log, now)
	l.mu.Unlock()
	l.agent.toHub.flush(time.Second) // who did not hear them asks
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
