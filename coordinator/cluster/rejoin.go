package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// A member whose folder was lost has forgotten what it acknowledged and whom it voted
// for. Were its vote to count as before, it could help one to lead who lacks what was
// committed with its own acknowledgement. So it has no vote until the leader has taken
// it out and up again: that it is out is committed by a majority of the others, who
// then have everything that was committed before. The mark in the folder outlives a
// crash in between.

// joiningFile marks a folder whose member has not been taken up yet.
const joiningFile = "joining"

// joining reports whether the folder has the mark.
func (m *Cluster) joining() bool {
	_, err := os.Stat(filepath.Join(m.config.Dir, joiningFile))
	return err == nil
}

// mark writes the mark, before the member can be asked for its vote.
func (m *Cluster) mark() error {
	return renameio.WriteFile(filepath.Join(m.config.Dir, joiningFile), []byte("not taken up yet: see --join\n"), 0o644)
}

// joined lets the member vote.
func (m *Cluster) joined() error {
	if err := os.Remove(filepath.Join(m.config.Dir, joiningFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	m.voting.Store(true)
	return nil
}

// errNoVote is the answer of a member that is not taken up yet.
var errNoVote = errors.New("this coordinator has not been taken up yet and has no vote")

// booth is Raft's transport without requests for a vote while there is none to give.
type booth struct {
	*raft.NetworkTransport
	voting *atomic.Bool
	passed chan raft.RPC
}

// Consumer implements raft.Transport.
func (b *booth) Consumer() <-chan raft.RPC { return b.passed }

// run passes requests on until ctx ends.
func (b *booth) run(ctx context.Context) {
	for {
		select {
		case r := <-b.NetworkTransport.Consumer():
			if !b.voting.Load() && asksForVote(r) {
				r.Respond(nil, errNoVote)
				continue
			}
			select {
			case b.passed <- r:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func asksForVote(r raft.RPC) bool {
	switch r.Command.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
		return true
	}
	return false
}

// JoinEmpty takes a member up whose folder is empty. One that was a member before is
// taken out first. Only the leader can.
func (m *Cluster) JoinEmpty(ctx context.Context, x api.Member) error {
	if !m.Leads() {
		return ErrNotLeader
	}
	f := m.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return err
	}
	for _, s := range f.Configuration().Servers {
		if s.ID != raft.ServerID(x.ID) {
			continue
		}
		if x.ID == m.config.ID || s.Address != raft.ServerAddress(x.Addr) && m.answers(ctx, x.ID) {
			return fmt.Errorf("coordinator %s is at %s and answers: want another --id for the one at %s: %w", x.ID, s.Address, x.Addr, state.ErrInvalid)
		}
		if err := m.try(ctx, x); err != nil {
			return err
		}
		m.config.Logger.Warn("a coordinator comes back without its folder; it is taken out and up again", "coordinator", x.ID)
		if err := m.raft.RemoveServer(s.ID, 0, changeWait).Error(); err != nil {
			return leadershipError(fmt.Errorf("coordinator %s has lost its folder; take it out: %w", x.ID, err), err)
		}
	}
	return m.Join(ctx, x)
}
