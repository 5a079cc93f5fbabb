package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
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
// end with those that there are.
func (s *Server) stream(kind joblog.Kind) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		j, err := s.find(r)
		if err != nil {
			return nil, err
		}
		next := 0
		if last := r.Header.Get("Last-Event-ID"); last != "" {
			n, err := strconv.Atoi(last)
			if err != nil || n < 1 {
				return nil, invalid(fmt.Errorf("Last-Event-ID %q: want a number of a line, from 1", last))
			}
			next = n
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // a stream has no end
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		follow := kind == joblog.Events || r.URL.Query().Get("follow") == "1"
		st := &streaming{server: s, w: w, flush: control.Flush, job: j.ID, kind: kind, next: next}
		st.run(r, follow)
		return nil, nil
	}
}

type streaming struct {
	server *Server
	w      http.ResponseWriter
	flush  func() error
	job    string
	kind   joblog.Kind
	next   int // line
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
			if _, err := fmt.Fprint(st.w, ": \n\n"); err != nil || st.flush() != nil {
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
	var b bytes.Buffer
	for _, raw := range lines {
		st.next++
		fmt.Fprintf(&b, "id: %d\ndata: %s\n\n", st.next, raw)
	}
	if b.Len() == 0 {
		return st.flush()
	}
	if _, err := st.w.Write(b.Bytes()); err != nil {
		return err
	}
	return st.flush()
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
	_, _ = fmt.Fprintf(st.w, "event: %s\ndata: %s\n\n", api.EndOfStream, raw) // a client that is gone needs no end
	_ = st.flush()
}
