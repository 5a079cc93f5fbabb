package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/state"
)

// changeWait bounds a change of the members.
const changeWait = 10 * time.Second

// self is what others need to know of this member.
func (m *Cluster) self() api.Member {
	return api.Member{ID: m.config.ID, Addr: m.addr, Hub: m.hub.url, Routes: m.hub.route, Version: m.config.Version}
}

// url returns where a member's API is.
func (m *Cluster) url(addr string) string {
	if m.config.TLS != nil {
		return "https://" + addr
	}
	return "http://" + addr
}

// call opens a client for one call to members.
func (m *Cluster) call(urls []string, patience time.Duration, f func(*client.Client) error) error {
	c := client.DefaultConfig(urls...)
	c.Logger, c.TLS, c.Timeout, c.Patience = m.config.Logger, m.config.TLS, 5*time.Second, patience
	cl, err := client.New(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	return f(cl)
}

// join asks the members at the URLs of the configuration to be taken up, for as
// long as they have no leader.
func (m *Cluster) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.config.JoinWait, fmt.Errorf("not taken up within %v", m.config.JoinWait))
	defer cancel()
	err := m.call(m.config.Join, m.config.JoinWait, func(c *client.Client) error {
		_, err := c.JoinEmpty(ctx, m.self())
		return err
	})
	if err == nil {
		err = m.joined()
	}
	if err != nil {
		return fmt.Errorf("--join: %w", err)
	}
	return nil
}

// Members returns the coordinators as the state knows them; who is alive, as the
// leader hears it.
func (m *Cluster) Members() []api.Member {
	_, id := m.raft.LeaderWithID()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.State().Members()
	for i := range out {
		out[i].Leader = out[i].ID == string(id)
		out[i].Alive = out[i].Leader || out[i].ID == m.config.ID || m.Leads() && !m.silent[out[i].ID]
	}
	return out
}

// Join takes a member up, or takes in that it has moved. Only the leader can.
func (m *Cluster) Join(ctx context.Context, x api.Member) error {
	if !m.Leads() {
		return ErrNotLeader
	}
	if host, port, err := net.SplitHostPort(x.Addr); err != nil || host == "" || port == "" || !idForm.MatchString(x.ID) {
		return fmt.Errorf("coordinator %q at %q: want an id of letters, digits, - and _, and HOST:PORT: %w", x.ID, x.Addr, state.ErrInvalid)
	}
	if x.Version != m.config.Version {
		m.config.Logger.Warn("coordinators of several versions", "coordinator", x.ID, "version", x.Version, "leader", m.config.Version)
	}
	f := m.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	known := false
	for _, s := range f.Configuration().Servers {
		if s.ID == raft.ServerID(x.ID) && s.Address != raft.ServerAddress(x.Addr) && m.answers(ctx, x.ID) {
			return fmt.Errorf("coordinator %s is at %s and answers: want another --id for the one at %s: %w", x.ID, s.Address, x.Addr, state.ErrInvalid)
		}
		switch {
		case s.ID == raft.ServerID(x.ID) && s.Address == raft.ServerAddress(x.Addr):
			known = true
		case s.ID != raft.ServerID(x.ID) && s.Address == raft.ServerAddress(x.Addr):
			return fmt.Errorf("coordinator %s is at %s already: %w", s.ID, x.Addr, state.ErrConflict)
		}
	}
	if !known {
		if err := m.try(ctx, x); err != nil {
			return err
		}
		if err := m.raft.AddVoter(raft.ServerID(x.ID), raft.ServerAddress(x.Addr), 0, changeWait).Error(); err != nil {
			return leadershipError(fmt.Errorf("take up coordinator %s: %w", x.ID, err), err)
		}
	}
	x.Leader, x.Alive = false, false
	_, err := m.Propose(ctx, &state.SetMember{Member: x})
	return err
}

// tryFor bounds the question whether a member is there.
const tryFor = 3 * time.Second

// try finds out whether a member that is to be taken up is there, before its vote
// counts: with one that is not, a small cluster would have no majority any more, and
// could not take it out again.
func (m *Cluster) try(ctx context.Context, x api.Member) error {
	ctx, cancel := context.WithTimeoutCause(ctx, tryFor, fmt.Errorf("no answer within %v", tryFor))
	defer cancel()
	answered := make(chan error, 1)
	go func() { // ends by the transport's own timeout
		// A heartbeat as any other.
		var reply raft.AppendEntriesResponse
		id, addr := raft.ServerID(x.ID), raft.ServerAddress(x.Addr)
		self := m.wire.EncodePeer(raft.ServerID(m.config.ID), raft.ServerAddress(m.addr))
		answered <- m.wire.AppendEntries(id, addr, &raft.AppendEntriesRequest{Term: m.raft.CurrentTerm(),
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(m.config.ID), Addr: self}}, &reply)
	}()
	var err error
	select {
	case err = <-answered:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("coordinator %s does not answer at %q, where others have to reach it (--addr): %w: %w", x.ID, x.Addr, err, state.ErrInvalid)
	}
	return nil
}

// settling is how long a coordinator that has just gone may still seem to be there.
const settling = 3 * time.Second

// answers reports whether a member is there, as the leader hears it.
func (m *Cluster) answers(ctx context.Context, id string) bool {
	if id == m.config.ID {
		return true
	}
	for end := time.Now().Add(settling); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if m.isSilent(id) {
			return false
		}
	}
	return true
}

// isSilent reports whether the leader does not hear a member.
func (m *Cluster) isSilent(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.silent[id]
}

func leadershipError(wrapped, err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) {
		return fmt.Errorf("%w: %w", ErrNotLeader, wrapped)
	}
	return wrapped
}

// Leave takes a member out; it may be away, or the leader itself. A leader that was
// lost in the middle has taken it out of the state alone: the same call does the rest.
func (m *Cluster) Leave(ctx context.Context, id string) error {
	if !m.Leads() {
		return ErrNotLeader
	}
	f := m.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	servers := f.Configuration().Servers
	votes := slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == raft.ServerID(id) })
	if votes && len(servers) == 1 {
		return fmt.Errorf("coordinator %s is the last one: %w", id, state.ErrConflict)
	}
	var away []string
	for _, s := range servers {
		if s.ID != raft.ServerID(id) && m.isSilent(string(s.ID)) {
			away = append(away, string(s.ID))
		}
	}
	if rest := len(servers) - 1; votes && 2*(rest-len(away)) <= rest {
		return fmt.Errorf("without coordinator %s, %d of %d would answer and no majority; away: %s: %w", id, rest-len(away), rest, strings.Join(away, ", "), state.ErrConflict)
	}
	_, err := m.Propose(ctx, &state.RemoveMember{ID: id, Reason: "asked for"})
	if err != nil && !(votes && errors.Is(err, state.ErrNotFound)) {
		return err
	}
	if err := m.raft.RemoveServer(raft.ServerID(id), 0, changeWait).Error(); err != nil {
		return leadershipError(fmt.Errorf("take out coordinator %s: %w", id, err), err)
	}
	return nil
}

// watchPeers notes which members a leader does not hear.
func (m *Cluster) watchPeers() {
	heard := make(chan raft.Observation, 64)
	observer := raft.NewObserver(heard, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.FailedHeartbeatObservation, raft.ResumedHeartbeatObservation:
			return true
		}
		return false
	})
	m.raft.RegisterObserver(observer)
	defer m.raft.DeregisterObserver(observer)
	for {
		select {
		case o := <-heard:
			m.mu.Lock()
			switch x := o.Data.(type) {
			case raft.LeaderObservation:
				m.silent = map[string]bool{}
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

// watchMembers keeps the hub connected with those of the other members.
func (m *Cluster) watchMembers() {
	for {
		s, changed := m.Watch()
		if err := m.hub.follow(m.config.ID, s.Members()); err != nil {
			m.config.Logger.Warn("hub not connected", "error", err)
		}
		select {
		case <-changed:
		case <-m.life.Done():
			return
		}
	}
}

// announceEvery is how often a member looks whether the state knows where it is.
const announceEvery = time.Second

// announce tells the leader where this member is, until the state says so: after a
// restart it may be elsewhere. A member that the state does not know any more was
// taken out.
func (m *Cluster) announce() {
	known := false
	for {
		_, changed := m.Watch()
		for _, x := range m.State().Members() {
			if x.ID != m.config.ID {
				continue
			}
			if known = true; x == m.self() {
				break
			}
		}
		switch m.place() {
		case here:
			known = true
		case elsewhere:
			m.tell()
		case nowhere:
			if known && m.raft.State() == raft.Shutdown {
				close(m.removed)
				return
			}
			if !known {
				m.tell()
			}
		}
		select {
		case <-changed:
		case <-time.After(announceEvery):
		case <-m.life.Done():
			return
		}
	}
}

// where the state has this member.
type where int

const (
	nowhere where = iota
	elsewhere
	here
)

func (m *Cluster) place() where {
	for _, x := range m.State().Members() {
		switch {
		case x == m.self():
			return here
		case x.ID == m.config.ID:
			return elsewhere
		}
	}
	return nowhere
}

// tell tells the leader where this member is; a failure is tried again.
func (m *Cluster) tell() {
	leader, self, ok := m.Leader()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(m.life, changeWait)
	defer cancel()
	var err error
	if self {
		err = m.Join(ctx, m.self())
	} else {
		err = m.call([]string{m.url(leader.Addr)}, 0, func(c *client.Client) error {
			_, err := c.Join(ctx, m.self())
			return err
		})
	}
	if err != nil && ctx.Err() == nil {
		m.config.Logger.Debug("not announced", "leader", leader.ID, "error", err)
	}
}
