package server

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
	"ressa/shard"
)

const (
	// watchEvery is how often a stream of the cluster tells what only the leader has
	// heard; what is committed it tells at once, but not more often than watchPause.
	watchEvery = time.Second
	watchPause = 50 * time.Millisecond
	// mostDecisions are told in the first event.
	mostDecisions = 200
)

// watch serves the cluster as its leader sees it, and a job in full where ?job= names
// one: everything first, then what changes, until the client is gone or this member
// leads no more. Every event is made when the one before is written: who reads slowly
// gets fewer, and what is between them is left out.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) (any, error) {
	x := &watching{server: s, seed: maphash.MakeSeed(), sent: map[string]uint64{}, ended: map[string]*state.Job{}}
	if id := r.URL.Query().Get("job"); id != "" {
		j, err := s.Cluster.State().Find(id)
		if err != nil {
			return nil, err
		}
		x.job = j.ID
	}
	x.run(r.Context(), openStream(w))
	return nil, nil
}

// watching is one reader and what it has been told.
type watching struct {
	server *Server
	job    string // in full; empty for none

	seed  maphash.Seed
	sent  map[string]uint64     // hashes of what was sent, by kind and name
	ended map[string]*state.Job // jobs that are over and were sent
	index uint64                // of the last decision that was sent
}

func (x *watching) run(ctx context.Context, out *eventStream) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		now, changed := x.server.Cluster.Watch()
		if _, self, ok := x.server.Cluster.Leader(); !ok || !self {
			return // the next one knows more
		}
		e := x.event(now)
		e.First = first
		raw, err := json.Marshal(e)
		if err != nil {
			x.server.Logger.Warn("view of the cluster", "error", err)
			return
		}
		if err := out.send("data: ", string(raw), "\n\n"); err != nil {
			return
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-x.server.life.Done():
			return
		}
	}
}

// event returns what is new.
func (x *watching) event(now *state.State) api.Watched {
	s := x.server
	view, config := s.Cluster.View(), s.Cluster.Schedule()
	e := api.Watched{At: time.Now(), Heard: map[string]float64{}}
	leader := ""
	if m, _, ok := s.Cluster.Leader(); ok {
		leader = m.ID
	}
	if c := s.members(); x.changed("cluster", c) {
		e.Cluster = &c
	}
	for _, n := range now.Nodes() {
		r := schedule.NodeRecord(now, n, view)
		if n.State != api.NodeLost && n.State != api.NodeLeft {
			e.Heard[n.Info.Name] = math.Round(r.BeatAge*10) / 10
		}
		r.BeatAge = 0
		if x.changed("node "+n.Info.Name, r) {
			e.Nodes = append(e.Nodes, r)
		}
	}
	e.NodesGone = x.gone("node ", func(name string) bool { return now.Node(name) != nil })
	for _, j := range now.Jobs() {
		if j.Over() && x.ended[j.ID] == j {
			continue
		}
		r := ageless(schedule.Record(j, view, config, leader, s.Cluster.Waiting(j.ID)))
		if j.ID == x.job && x.changed("whole "+j.ID, r) {
			whole := r
			e.Job = &whole
		}
		if b := brief(r); x.changed("job "+j.ID, b) {
			e.Jobs = append(e.Jobs, b)
		}
		if delete(x.ended, j.ID); j.Over() {
			x.ended[j.ID] = j
		}
		if j.ID == x.job {
			if h := historyOf(j); x.changed("history "+j.ID, h) {
				e.History = &h
			}
		}
	}
	e.Gone = x.gone("job ", func(id string) bool { return now.Job(id) != nil })
	all := now.History()
	from, _ := slices.BinarySearchFunc(all, x.index+1, func(d api.Decision, i uint64) int { return int(int64(d.Index - i)) })
	if x.index == 0 {
		from = max(from, len(all)-mostDecisions)
	}
	if e.Decisions = all[from:]; len(e.Decisions) > 0 {
		x.index = all[len(all)-1].Index
	}
	return e
}

// changed reports whether something is not as it was sent, and remembers it as sent.
func (x *watching) changed(name string, v any) bool {
	raw, err := json.Marshal(v)
	if err != nil {
		return false
	}
	sum := maphash.Bytes(x.seed, raw)
	if was, ok := x.sent[name]; ok && was == sum {
		return false
	}
	x.sent[name] = sum
	return true
}

// gone returns names that were sent and are not there any more.
func (x *watching) gone(kind string, there func(string) bool) (out []string) {
	for key := range x.sent {
		if name, ok := strings.CutPrefix(key, kind); ok && !there(name) {
			out = append(out, name)
			delete(x.sent, key)
			delete(x.ended, name)
		}
	}
	slices.Sort(out)
	return out
}

// ageless returns a job without what changes at every beat alone and what is large.
func ageless(r api.JobRecord) api.JobRecord {
	r.Request = api.JobRequest{}
	r.Status.BeatAge = 0
	r.Status.Ranks = slices.Clone(r.Status.Ranks)
	for i := range r.Status.Ranks {
		r.Status.Ranks[i].BeatAge = 0
	}
	return r
}

// brief returns a job as a list needs it.
func brief(r api.JobRecord) api.JobRecord {
	r.Plan = shard.Plan{Nodes: r.Plan.Nodes}
	r.Status.Ranks = []api.Rank{}
	if r.Result != nil {
		short := *r.Result
		short.Ranks = []api.Rank{}
		r.Result = &short
	}
	return r
}
