package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
	"ressa/coordinator/leader"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// Errors of a member.
var (
	// ErrNotLeader is returned by what only the leader can do.
	ErrNotLeader = leader.ErrNotLeader
	// ErrBusy is returned when another process has the member's folder.
	ErrBusy = errors.New("another process runs this coordinator")
)

// Cluster is one member. Its methods are safe for concurrent use.
type Cluster struct {
	*leader.Loop // what it does while it leads

	config   Config
	addr     string
	lock     *os.File
	mux      *mux
	hub      *hub
	log      *wal.WAL
	meta     *metadb.BoltMetaDB // of the log, which does not close it
	raft     *raft.Raft
	wire     *raft.NetworkTransport
	fsm      *state.FSM
	life     context.Context
	stop     context.CancelFunc
	tasks    sync.WaitGroup
	fresh    bool            // the folder was empty
	confirms chan chan error // calls of Confirm that wait
	removed  chan struct{}   // closed when the member is not one any more

	snapshots raft.SnapshotStore
	voting    atomic.Bool // it was taken up, or need not be
	deafen    func()      // ends the passing on of requests to Raft

	mu     sync.Mutex
	silent map[string]bool // members that the leader does not hear
}

// Open starts a member. It returns once the member takes part: as the first of a
// new cluster, with what its folder holds, or after it has joined.
func Open(ctx context.Context, c Config) (*Cluster, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	m := &Cluster{config: c, fsm: state.NewFSM(), removed: make(chan struct{}), confirms: make(chan chan error), silent: map[string]bool{}}
	m.life, m.stop = context.WithCancel(context.Background())
	if err := m.open(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (m *Cluster) open(ctx context.Context) error {
	if err := m.claim(); err != nil {
		return err
	}
	if err := m.listen(); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(m.addr)
	if err != nil {
		return err
	}
	if m.hub, err = openHub(&m.config, host); err != nil {
		return err
	}
	if err := m.startRaft(); err != nil {
		return err
	}
	m.Loop = leader.New(leader.Config{ID: m.config.ID, Version: m.config.Version, Schedule: m.config.Schedule, State: m.fsm, Log: m.raft, Nodes: nodes{m},
		Logger: m.config.Logger, Decide: schedule.Decide, Now: m.config.Now, Steady: time.Now})
	m.tasks.Go(func() { m.Run(m.life, m.raft.LeaderCh()) })
	m.tasks.Go(m.watchPeers)
	m.tasks.Go(m.watchMembers)
	m.tasks.Go(m.confirm)
	if len(m.config.Join) > 0 && m.fresh {
		if err := m.join(ctx); err != nil {
			return err
		}
	}
	m.tasks.Go(m.announce)
	return nil
}

// claim makes the folder and locks it against other processes.
func (m *Cluster) claim() error {
	if err := os.MkdirAll(m.config.Dir, 0o755); err != nil {
		return api.Invalid(fmt.Errorf("--data: %w", err))
	}
	f, err := os.OpenFile(filepath.Join(m.config.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return api.Invalid(fmt.Errorf("--data: %w", err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return api.Invalid(fmt.Errorf("--data %s: %w", m.config.Dir, ErrBusy))
	}
	m.lock = f
	return nil
}

// listen opens the address. Where any port will do, that of an earlier start comes
// first: other members know it.
func (m *Cluster) listen() error {
	host, port, err := net.SplitHostPort(m.config.Addr)
	if err != nil {
		return err
	}
	kept := filepath.Join(m.config.Dir, "addr")
	addr := m.config.Addr
	if raw, err := os.ReadFile(kept); err == nil && port == "0" {
		if h, _, err := net.SplitHostPort(strings.TrimSpace(string(raw))); err == nil && h == host {
			addr = strings.TrimSpace(string(raw))
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return api.Invalid(fmt.Errorf("--addr %s: %w", addr, err))
	}
	_, chosen, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	m.addr = net.JoinHostPort(host, chosen)
	m.mux = newMux(l, m.config.TLS)
	m.tasks.Go(m.mux.serve)
	return renameio.WriteFile(kept, []byte(m.addr+"\n"), 0o644)
}

// startRaft opens the log and begins to take part.
func (m *Cluster) startRaft() error {
	dir := filepath.Join(m.config.Dir, "raft")
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	var err error
	m.meta = &metadb.BoltMetaDB{}
	if m.log, err = openLog(filepath.Join(dir, "log"), m.meta); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	logger := raftLogger(m.config.Logger)
	if m.snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, 2, logger); err != nil {
		return fmt.Errorf("snapshots in %s: %w", dir, err)
	}
	if err := checkTerm(filepath.Join(dir, "log"), m.log, m.snapshots); err != nil {
		return err
	}
	m.wire = newWire(m.mux.raft, raftWait, logger)
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(m.config.ID), logger
	known, err := raft.HasExistingState(m.log, m.log, m.snapshots)
	if err != nil {
		return fmt.Errorf("log in %s: %w", dir, err)
	}
	m.fresh = !known || m.joining()
	if m.joining() && len(m.config.Join) == 0 {
		return api.Invalid(fmt.Errorf("--join: missing, want URLs of coordinators: the one of %s was not taken up yet", m.config.Dir))
	}
	if m.fresh && len(m.config.Join) > 0 {
		if err := m.mark(); err != nil {
			return fmt.Errorf("--data: %w", err)
		}
	}
	m.voting.Store(!m.joining())
	votes := &booth{m.wire, &m.voting, make(chan raft.RPC)}
	var hearing context.Context
	hearing, m.deafen = context.WithCancel(context.Background())
	m.tasks.Go(func() { votes.run(hearing) })
	if m.raft, err = raft.NewRaft(c, m.fsm, m.log, m.log, m.snapshots, votes); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if known || len(m.config.Join) > 0 {
		return nil
	}
	err = m.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: c.LocalID, Address: raft.ServerAddress(m.addr)}}}).Error()
	if err != nil {
		return fmt.Errorf("begin a cluster: %w", err)
	}
	return nil
}

// Close stops the member: it hands leadership on, leaves the hub and closes the
// log. The members that stay need not be told.
func (m *Cluster) Close() error {
	m.stop()
	var errs []error
	if m.raft != nil {
		if m.raft.State() == raft.Leader && len(m.State().Members()) > 1 {
			m.handOn()
		}
		errs = append(errs, m.raft.Shutdown().Error())
	}
	if m.deafen != nil {
		m.deafen()
	}
	if m.mux != nil {
		errs = append(errs, m.mux.close())
	}
	m.tasks.Wait()
	if m.wire != nil {
		errs = append(errs, m.wire.Close())
	}
	if m.hub != nil {
		m.hub.close()
	}
	if m.log != nil {
		errs = append(errs, m.log.Close())
	}
	if m.meta != nil {
		errs = append(errs, m.meta.Close())
	}
	if m.lock != nil {
		errs = append(errs, m.lock.Close())
	}
	return errors.Join(errs...)
}

// handOn has another member lead, which otherwise they elect by themselves. Raft may
// not answer where leadership is lost in the middle.
func (m *Cluster) handOn() {
	done := make(chan struct{})
	go func() {
		_ = m.raft.LeadershipTransfer().Error() // ends with the process at the latest
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(raftWait):
	}
}

// ID returns the member's name.
func (m *Cluster) ID() string { return m.config.ID }

// Addr returns HOST:PORT of HTTP and Raft.
func (m *Cluster) Addr() string { return m.addr }

// Dir returns the member's folder.
func (m *Cluster) Dir() string { return m.config.Dir }

// Listener returns where connections of HTTP arrive. Closing it does not close the
// address.
func (m *Cluster) Listener() net.Listener { return m.mux.http }

// Removed is closed when the others have taken this member out.
func (m *Cluster) Removed() <-chan struct{} { return m.removed }

// State returns the replicated state as far as this member has it.
func (m *Cluster) State() *state.State { return m.fsm.State() }

// Watch returns the state and a channel that is closed when there is a newer one.
func (m *Cluster) Watch() (*state.State, <-chan struct{}) { return m.fsm.Watch() }

// Hub returns the connection to the hub.
func (m *Cluster) Hub() *nats.Conn { return m.hub.conn }

// HubURLs returns where nodes reach the hub, this member's server first.
func (m *Cluster) HubURLs() []string {
	if m.config.NATS != Embedded {
		return []string{m.config.NATS}
	}
	out := []string{m.hub.url}
	for _, x := range m.State().Members() {
		if x.Hub != "" && x.ID != m.config.ID {
			out = append(out, x.Hub)
		}
	}
	return out
}

// Leader returns who leads, and whether it is this member; ok is false while nobody
// does.
func (m *Cluster) Leader() (who api.Member, self, ok bool) {
	addr, id := m.raft.LeaderWithID()
	if id == "" {
		return api.Member{}, false, false
	}
	if string(id) == m.config.ID {
		if !m.Leads() { // what was committed before is not all applied yet
			return api.Member{}, false, false
		}
	}
	for _, x := range m.State().Members() {
		if x.ID == string(id) {
			x.Leader, x.Alive = true, true
			return x, x.ID == m.config.ID, true
		}
	}
	return api.Member{ID: string(id), Addr: string(addr), Leader: true, Alive: true}, string(id) == m.config.ID, true
}

// Schedule returns the patience of the member's decisions.
func (m *Cluster) Schedule() schedule.Config { return m.config.Schedule }
