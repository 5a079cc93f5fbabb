package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/joblog"
	"ressa/coordinator/state"
)

const (
	// breath is how long a stream is silent at most.
	breath = 10 * time.Second
	// lateLines is how long a stream waits for lines that come after a job's end, and
	// lastLines how long where the job has ended within freshEnd: its nodes may be
	// about to come back to the hub.
	lateLines = 500 * time.Millisecond
	lastLines = 5 * time.Second
	freshEnd  = time.Minute
	// portion is how many lines are read at a time.
	portion = 256
)

// stream serves a job's lines as server-sent events: first those that there are,
// then new ones until the job is over and its workers' last lines are here or do not
// come, and last the job as it ended. Identifiers are numbers of lines of this
// coordinator. Without ?follow=1 the lines of a log
// end with those that there are. ?after=N is Last-Event-ID for who cannot send that,
// ?tail=N begins with the last lines, and ?search=TEXT leaves out lines without it.
func (s *Server) stream(kind joblog.Kind) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		j, err := s.find(r)
		if err != nil {
			return nil, err
		}
		next, err := s.firstLine(r, j.ID, kind)
		if err != nil {
			return nil, err
		}
		follow := kind == joblog.Events || r.URL.Query().Get("follow") == "1"
		st := &streaming{server: s, out: openStream(w), job: j.ID, kind: kind, next: next, search: strings.ToLower(r.URL.Query().Get("search"))}
		st.run(r, follow)
		return nil, nil
	}
}

type streaming struct {
	server *Server
	out    *eventStream
	job    string
	kind   joblog.Kind
	next   int    // line
	search string // in lower case; empty for all
}

// run sends lines until the job is over, the client is gone or the server stops.
func (st *streaming) run(r *http.Request, follow bool) {
	var since time.Time       // the job is over
	var over <-chan time.Time // lines that come then are too late
	for {
		now, changed := st.server.Cluster.Watch()
		complete := !since.IsZero() && st.complete(now.Job(st.job), since) // before lines are read
		lines, more, err := st.server.Lines.Read(st.job, st.kind, st.next, portion)
		if err != nil || st.send(lines) != nil {
			return
		}
		if len(lines) == portion {
			continue
		}
		j := now.Job(st.job)
		if j == nil {
			return
		}
		if !follow {
			st.end()
			return
		}
		switch {
		case complete:
			st.end()
			return
		case j.Over() && since.IsZero():
			since, over = time.Now(), time.After(lateLines)
			if since.Sub(j.Ended).Abs() < freshEnd {
				over = time.After(lastLines)
			}
			continue
		}
		select {
		case <-more:
		case <-changed:
		case <-over:
			st.end()
			return
		case <-time.After(breath):
			if st.out.send(": \n\n") != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-st.server.life.Done():
			return
		}
	}
}

// complete reports whether the lines are here that the workers of a job that is over
// have said.
func (st *streaming) complete(j *state.Job, since time.Time) bool {
	if j == nil {
		return true
	}
	last := make([]api.LineSource, len(j.Plan.Nodes))
	for w, node := range j.Plan.Nodes {
		last[w] = api.LineSource{Job: j.ID, Generation: j.Generation, Node: node, Worker: w, Kind: st.kind}
	}
	return st.server.Lines.Complete(j.ID, st.kind, last, since)
}

func (st *streaming) send(lines []json.RawMessage) error {
	var b strings.Builder
	for _, raw := range lines {
		st.next++
		if st.search == "" || matches(raw, st.search) {
			fmt.Fprintf(&b, "id: %d\ndata: %s\n\n", st.next, raw)
		}
	}
	return st.out.send(b.String())
}

// matches reports whether a line has a text, in lower case, in what people see of it.
func matches(raw json.RawMessage, text string) bool {
	var l api.LogLine
	if json.Unmarshal(raw, &l) != nil {
		return false
	}
	return strings.Contains(strings.ToLower(l.Node+" "+l.Level+" "+l.Text+string(l.Event)), text)
}

// end sends the job as it is.
func (st *streaming) end() {
	j := st.server.Cluster.State().Job(st.job)
	if j == nil {
		return
	}
	raw, err := json.Marshal(st.server.record(j))
	if err != nil {
		return
	}
	_ = st.out.send("event: ", api.EndOfStream, "\ndata: ", string(raw), "\n\n") // a client that is gone needs no end
}

// firstLine returns how many lines a request passes over.
func (s *Server) firstLine(r *http.Request, job string, kind joblog.Kind) (int, error) {
	query := r.URL.Query()
	for _, from := range []struct{ name, value string }{{"Last-Event-ID", r.Header.Get("Last-Event-ID")}, {"after", query.Get("after")}} {
		if from.value == "" {
			continue
		}
		n, err := strconv.Atoi(from.value)
		if err != nil || n < 1 {
			return 0, invalid(fmt.Errorf("%s %q: want a number of a line, from 1", from.name, from.value))
		}
		return n, nil
	}
	last := query.Get("tail")
	if last == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(last)
	if err != nil || n < 0 {
		return 0, invalid(fmt.Errorf("tail %q: want a number of lines, from 0", last))
	}
	have, err := s.Lines.Count(job, kind)
	return max(have-n, 0), err
}

// eventStream is an answer of server-sent events.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// openStream begins the answer.
func openStream(w http.ResponseWriter) *eventStream {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // a stream has no end
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &eventStream{w, control}
}

// send writes texts one after the other, and what was written before.
func (e *eventStream) send(texts ...string) error {
	for _, t := range texts {
		if _, err := io.WriteString(e.w, t); err != nil {
			return err
		}
	}
	return e.control.Flush()
}
