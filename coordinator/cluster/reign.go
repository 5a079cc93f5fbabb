package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
	"ressa/shard"
)

// reign is one time of leading: all that only the leader knows.
type reign struct {
	cluster *Cluster
	leases  *schedule.Leases
	memo    schedule.Memo
	wake    chan struct{} // something was heard that a decision may depend on

	mu         sync.Mutex
	inspecting map[string]schedule.Inspecting
	failed     map[string]time.Time // when a job's last inspection did
	why        map[string]string    // by pending job
}

// watchRaft leads while Raft says so, and notes which members are silent.
func (m *Cluster) watchRaft() {
	heard := make(chan raft.Observation, 64)
	observer := raft.NewObserver(heard, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
			return true
		}
		return false
	})
	m.raft.RegisterObserver(observer)
	defer m.raft.DeregisterObserver(observer)
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case leads := <-m.raft.LeaderCh():
			stop()
			stop = func() {}
			if leads {
				stop = m.lead()
			}
		case o := <-heard:
			m.mu.Lock()
			switch x := o.Data.(type) {
			case raft.FailedHeartbeatObservation:
				m.silent[string(x.PeerID)] = true
			case raft.ResumedHeartbeatObservation:
				delete(m.silent, string(x.PeerID))
			}
			m.mu.Unlock()
		case <-m.life.Done():
			return
		}
	}
}

// lead begins to decide and returns what ends it.
func (m *Cluster) lead() (stop func()) {
	ctx, cancel := context.WithCancel(m.life)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.decide(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// decide decides until ctx ends. It begins when everything that was committed
// before is applied.
func (m *Cluster) decide(ctx context.Context) {
	if err := m.raft.Barrier(proposeWait).Error(); err != nil {
		m.config.Logger.Warn("leadership lost before it began", "error", err)
		return
	}
	r := &reign{cluster: m, leases: schedule.NewLeases(m.config.Now()), wake: make(chan struct{}, 1),
		inspecting: map[string]schedule.Inspecting{}, failed: map[string]time.Time{}, why: map[string]string{}}
	m.mu.Lock()
	m.reign = r
	m.silent = map[string]bool{}
	m.mu.Unlock()
	m.config.Logger.Info("leading")
	var inspections sync.WaitGroup
	inspections.Go(func() { r.listen(ctx) })
	defer func() {
		m.mu.Lock()
		m.reign = nil
		m.mu.Unlock()
		inspections.Wait()
		m.config.Logger.Info("not leading any more")
	}()
	r.run(ctx, &inspections)
}

// listen notices when the whole process stood still, as when it was stopped or its
// machine slept.
func (r *reign) listen(ctx context.Context) {
	lease := r.cluster.config.Schedule.Lease
	every := time.NewTicker(lease / 6)
	defer every.Stop()
	last := time.Now()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if gap := now.Sub(last); gap > lease/2 {
			r.cluster.config.Logger.Warn("this process stood still; leases are longer by as much", "for", gap)
			r.leases.Deaf(gap)
		}
		last = now
	}
}

// pause keeps decisions from following one another more often than they can matter.
const pause = 10 * time.Millisecond

func (r *reign) run(ctx context.Context, inspections *sync.WaitGroup) {
	m := r.cluster
	every := time.NewTicker(m.config.Schedule.Lease / 6)
	defer every.Stop()
	last := state.Empty()
	for {
		s, changed := m.Watch()
		for _, node := range state.Nudges(last, s) {
			m.nudge(node)
		}
		last = s
		out := schedule.Decide(schedule.Input{Config: m.config.Schedule, State: s, Leases: r.leases.View(m.config.Now()), Now: m.config.Now(),
			Plan: shard.MakePlan, Memo: &r.memo, Inspecting: r.look(s)})
		again := r.carryOut(ctx, out, inspections)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if again {
			continue
		}
		select {
		case <-changed:
		case <-r.wake:
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// carryOut proposes what was decided, and reports whether to decide again at once.
func (r *reign) carryOut(ctx context.Context, out schedule.Output, inspections *sync.WaitGroup) bool {
	m := r.cluster
	r.mu.Lock()
	r.why = out.Waiting
	r.mu.Unlock()
	for _, c := range out.Commands {
		if _, err := m.propose(ctx, c); err != nil {
			if ctx.Err() == nil && !errors.Is(err, ErrNotLeader) {
				m.config.Logger.Info("decision refused", "error", err)
			}
			return false // what is applied by now wakes the next decision
		}
	}
	for _, o := range out.Inspect {
		r.mu.Lock()
		i := r.inspecting[o.Job]
		i.Node = o.Node
		r.inspecting[o.Job] = i
		r.mu.Unlock()
		inspections.Go(func() { r.inspect(ctx, o) })
	}
	return out.Again || len(out.Commands) > 0
}

// look returns the inspections under way of jobs that still wait for one.
func (r *reign) look(s *state.State) map[string]schedule.Inspecting {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]schedule.Inspecting{}
	for job, i := range r.inspecting {
		if j := s.Job(job); j == nil || j.State != api.Pending || j.Inspection != nil {
			if i.Node == "" {
				delete(r.inspecting, job)
				delete(r.failed, job)
			}
			continue
		}
		if i.Node == "" && time.Since(r.failed[job]) > againWait {
			i.Tried = nil // whoever could not be asked may be back
			r.inspecting[job] = i
		}
		out[job] = i
	}
	return out
}

func (r *reign) waiting(job string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[job]
}

// alert has the next decision made at once.
func (r *reign) alert() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// inspectWait is how long a node may look at a job, lifeWait how long it may be silent
// meanwhile: a request or its reply can be lost with a connection.
const (
	inspectWait = 10 * time.Minute
	lifeWait    = 5 * api.BusyEvery
	againWait   = 10 * time.Second // until nodes that failed are asked again
)

// inspect has a node look at a job and proposes what it found.
func (r *reign) inspect(ctx context.Context, o schedule.Order) {
	defer r.alert()
	m := r.cluster
	found, err := m.ask(ctx, o.Node, o.Spec)
	if err == nil {
		_, err = m.Propose(ctx, &state.Inspected{Job: o.Job, Node: o.Node, Inspection: found})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.inspecting[o.Job]
	i.Node = ""
	if err != nil {
		m.config.Logger.Info("no inspection", "job", o.Job, "node", o.Node, "error", err)
		i.Tried = append(i.Tried, o.Node)
		r.failed[o.Job] = time.Now()
	}
	r.inspecting[o.Job] = i
}

// ask sends a job to a node over the hub and returns what it says.
func (m *Cluster) ask(ctx context.Context, node, spec string) (api.Inspection, error) {
	var found api.Inspection
	raw, err := json.Marshal(api.Inspect{Spec: spec})
	if err != nil {
		return found, err
	}
	ctx, cancel := context.WithTimeout(ctx, inspectWait)
	defer cancel()
	msg, err := request(ctx, m.hub.conn, api.InspectSubject(node), raw)
	if errors.Is(err, nats.ErrNoResponders) {
		return found, fmt.Errorf("node %s is not on the hub: %w", node, err)
	}
	if err != nil {
		return found, fmt.Errorf("node %s: %w", node, err)
	}
	if err := json.Unmarshal(msg.Data, &found); err != nil {
		return found, fmt.Errorf("node %s: inspection: %w", node, err)
	}
	return found, nil
}

// request asks somebody who shows signs of life until the reply is there.
func request(ctx context.Context, c *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	inbox, err := c.SubscribeSync(c.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // fails where the connection is closed
	if err := c.PublishRequest(subject, inbox.Subject, data); err != nil {
		return nil, err
	}
	for {
		alive, cancel := context.WithTimeoutCause(ctx, lifeWait, fmt.Errorf("no sign of life for %v", lifeWait))
		msg, err := inbox.NextMsgWithContext(alive)
		if err != nil && ctx.Err() == nil && alive.Err() != nil {
			err = context.Cause(alive)
		}
		cancel()
		if err != nil {
			return nil, err
		}
		if msg.Header.Get(api.HeaderBusy) == "" {
			return msg, nil
		}
	}
}

// nudge has a node beat now. A lost one costs a quarter of a lease.
func (m *Cluster) nudge(node string) { _ = m.hub.conn.Publish(api.NudgeSubject(node), nil) }
