package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"ressa/coordinator/state"
)

// real is a member's part of the log in Raft itself, on a disk and a network that are
// simulated.
type real struct {
	*member
	logs  *raft.InmemStore
	snaps *raft.InmemSnapshotStore
	raft  *raft.Raft
	wire  *wire
	loose atomic.Bool // the process is down or stands still
}

func hashicorp(m *member) logbook {
	r := &real{member: m, logs: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore()}
	r.loose.Store(true)
	return r
}

func (r *real) start(fsm *state.FSM) <-chan bool {
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(r.name), hclog.NewNullLogger()
	c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = 20, 5*time.Second, 10
	r.wire = &wire{real: r, inbox: make(chan raft.RPC, 64)}
	var all raft.Configuration
	for _, m := range r.c.members {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(m.name), Address: raft.ServerAddress(m.name)})
	}
	err := raft.BootstrapCluster(c, r.logs, r.logs, r.snaps, r.wire, all)
	if err == nil || errors.Is(err, raft.ErrCantBootstrap) {
		r.raft, err = raft.NewRaft(c, machine{fsm, r}, r.logs, r.logs, r.snaps, r.wire)
	}
	if err != nil {
		r.c.violate("raft of %s: %v", r.name, err)
		return nil
	}
	r.loose.Store(false)
	leads := make(chan bool, 1)
	go r.watch(r.raft.LeaderCh(), leads, r.ctx)
	return leads
}

// watch passes on when the member begins and ends to lead.
func (r *real) watch(from <-chan bool, to chan bool, ctx context.Context) {
	for {
		select {
		case on := <-from:
			r.c.post(fmt.Sprint(r.name, " leads ", on), func() {
				if on {
					r.reigns++
					r.c.count("reigns", 1)
				}
				r.c.say("%s leads: %v", r.name, on)
				select {
				case <-to:
				default:
				}
				to <- on
			})
		case <-ctx.Done():
			return
		}
	}
}

func (r *real) crash() {
	r.loose.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.raft.Shutdown().Error() // a crash asks nobody
	}()
	for {
		r.c.settle()
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (r *real) still(on bool) { r.loose.Store(on) }

func (r *real) leads() bool { return r.up && r.raft.State() == raft.Leader }

func (r *real) knows() int {
	_, id := r.raft.LeaderWithID()
	n, err := strconv.Atoi(strings.TrimPrefix(string(id), "c"))
	if err != nil {
		return -1
	}
	return n - 1
}

func (r *real) Apply(raw []byte, wait time.Duration) raft.ApplyFuture {
	r.c.post(r.name+" proposes", func() {
		if r.doomed && r.leads() {
			r.doomed = false
			r.c.say("%s is killed in the middle of a proposal", r.name)
			r.c.after(r.c.between(0, 2*time.Millisecond), func() { r.c.kill(r.member) })
		}
	})
	return r.raft.Apply(raw, wait)
}

func (r *real) Barrier(wait time.Duration) raft.Future { return r.raft.Barrier(wait) }

// machine is the state machine, watched.
type machine struct {
	*state.FSM
	r *real
}

func (m machine) Apply(l *raft.Log) any {
	done := make(chan any, 1)
	m.r.c.post(fmt.Sprintf("%s applies %012d", m.r.name, l.Index), func() { done <- m.r.c.applied(m.r.member, l.Index, l.Data) })
	return <-done
}

// wire carries the messages of Raft.
type wire struct {
	*real
	inbox chan raft.RPC
}

// rpcWait is how long Raft waits for an answer.
const rpcWait = 500 * time.Millisecond

var errLost = errors.New("no answer")

// call asks another member. It is called from many goroutines.
func (w *wire) call(target raft.ServerAddress, command any, data io.Reader) (any, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(string(target), "c"))
	if err != nil {
		return nil, err
	}
	to := w.c.members[n-1].log.(*real)
	passes := func(a, b *real) bool {
		return !a.loose.Load() && !b.loose.Load() && a.c.network.passes(a.name, b.name)
	}
	time.Sleep(w.c.network.quick())
	if !passes(w.real, to) {
		time.Sleep(rpcWait)
		return nil, errLost
	}
	answer := make(chan raft.RPCResponse, 1)
	late := time.NewTimer(rpcWait)
	defer late.Stop()
	select {
	case to.wire.inbox <- raft.RPC{Command: command, Reader: data, RespChan: answer}:
	case <-late.C:
		return nil, errLost
	}
	select {
	case a := <-answer:
		time.Sleep(w.c.network.quick())
		if !passes(to, w.real) {
			time.Sleep(rpcWait)
			return nil, errLost
		}
		return a.Response, a.Error
	case <-late.C:
		return nil, errLost
	}
}

func (w *wire) Consumer() <-chan raft.RPC                               { return w.inbox }
func (w *wire) LocalAddr() raft.ServerAddress                           { return raft.ServerAddress(w.name) }
func (w *wire) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }
func (w *wire) DecodePeer(b []byte) raft.ServerAddress                  { return raft.ServerAddress(b) }
func (w *wire) SetHeartbeatHandler(func(raft.RPC))                      {}

func (w *wire) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// asked calls and copies the answer to where Raft wants it.
func asked[T any](w *wire, target raft.ServerAddress, command any, data io.Reader, out *T) error {
	a, err := w.call(target, command, data)
	if err == nil {
		*out = *a.(*T)
	}
	return err
}

func (w *wire) AppendEntries(_ raft.ServerID, a raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	return asked(w, a, in, nil, out)
}

func (w *wire) RequestVote(_ raft.ServerID, a raft.ServerAddress, in *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	return asked(w, a, in, nil, out)
}

func (w *wire) RequestPreVote(_ raft.ServerID, a raft.ServerAddress, in *raft.RequestPreVoteRequest, out *raft.RequestPreVoteResponse) error {
	return asked(w, a, in, nil, out)
}

func (w *wire) InstallSnapshot(_ raft.ServerID, a raft.ServerAddress, in *raft.InstallSnapshotRequest, out *raft.InstallSnapshotResponse, data io.Reader) error {
	w.c.count("snapshots installed", 1)
	return asked(w, a, in, data, out)
}

func (w *wire) TimeoutNow(_ raft.ServerID, a raft.ServerAddress, in *raft.TimeoutNowRequest, out *raft.TimeoutNowResponse) error {
	return asked(w, a, in, nil, out)
}

// quick draws a latency, on any goroutine.
func (n *network) quick() time.Duration {
	n.lock.Lock()
	defer n.lock.Unlock()
	return time.Duration(200_000 + n.hasty.Int64N(1_000_000))
}
