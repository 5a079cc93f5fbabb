package simulation

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/state"
)

// Times of the model, as those of hashicorp/raft by default.
const (
	raftTick     = 100 * time.Millisecond // at most
	raftBeat     = 200 * time.Millisecond
	raftPatience = time.Second            // without a leader, up to twice as much
	raftLease    = 500 * time.Millisecond // of a leader without a majority
)

// entry is one of the log; without data it is the one that begins a term.
type entry struct {
	term int
	data []byte
}

// saved is a snapshot on a member's disk.
type saved struct {
	index uint64 // of the last entry that it holds
	term  int
	state []byte
}

// replica is a model of Raft: the log that a member takes part in.
type replica struct {
	*member
	peers []*replica

	// On disk.
	term, vote int // vote is whom it voted for in the term; -1 for nobody
	first      uint64
	entries    []entry // the first has the index first
	snap       saved

	// In memory.
	role         int // follower, candidate, leading
	leader       int // -1 for nobody
	votes        map[int]bool
	commit, done uint64 // known to be committed, applied
	patience     time.Duration
	beaten       time.Duration // last appended to the others
	next, match  []uint64
	acked        []time.Duration
	futures      map[uint64]*future // of what it has proposed
	open         []*future          // all that are waited for
	leadsNow     chan bool
	snapEvery    uint64
}

const (
	follower = iota
	candidate
	leading
)

// future is what the loop waits for.
type future struct {
	index    uint64
	response any
	err      error
	come     chan struct{}
}

func newFuture() *future { return &future{come: make(chan struct{})} }

func (f *future) Error() error  { <-f.come; return f.err }
func (f *future) Response() any { return f.response }
func (f *future) Index() uint64 { return f.index }

func (f *future) end(response any, err error) {
	select {
	case <-f.come:
	default:
		f.response, f.err = response, err
		close(f.come)
	}
}

func newReplica(m *member) *replica {
	return &replica{member: m, vote: -1, first: 1, snapEvery: 15 + uint64(m.c.dice.IntN(40))}
}

// start implements logbook: it reads what the disk holds.
func (r *replica) start(fsm *state.FSM) <-chan bool {
	if r.c.mutant == losesLog {
		r.entries = r.entries[:max(0, len(r.entries)-3)]
	}
	r.role, r.leader, r.votes, r.commit, r.done = follower, -1, nil, r.snap.index, r.snap.index
	r.futures, r.open, r.leadsNow = map[uint64]*future{}, nil, make(chan bool, 1)
	if r.snap.index > 0 {
		if err := fsm.Restore(io.NopCloser(bytes.NewReader(r.snap.state))); err != nil {
			r.c.violate("%s cannot read its own snapshot: %v", r.name, err)
		}
	}
	r.hope()
	r.tick(r.life)
	return r.leadsNow
}

func (r *replica) crash() { r.drop(raft.ErrRaftShutdown) }

func (r *replica) still(bool) {}

func (r *replica) leads() bool { return r.up && r.role == leading }

func (r *replica) knows() int {
	if r.role == leading {
		return r.index
	}
	return r.leader
}

// hope draws how long this member waits for a leader.
func (r *replica) hope() { r.patience = r.c.now() + r.c.between(raftPatience, 2*raftPatience) }

// tick is what happens by time.
func (r *replica) tick(life int) {
	r.c.after(r.c.between(raftTick/2, raftTick), func() {
		if r.life != life {
			return
		}
		r.reach(func() { r.clock(); r.tick(life) })
	})
}

func (r *replica) clock() {
	now := r.c.now()
	if r.role != leading {
		if now > r.patience {
			r.campaign()
		}
		return
	}
	if now > r.beaten+raftBeat {
		r.append()
	}
	heard := 0
	for i := range r.peers {
		if i == r.index || now-r.acked[i] <= raftLease {
			heard++
		}
	}
	if 2*heard <= len(r.peers) {
		r.follow(r.term, -1)
	}
}

func (r *replica) last() uint64 { return r.first + uint64(len(r.entries)) - 1 }

// termOf returns the term of an entry that is there, or is the last of the snapshot.
func (r *replica) termOf(index uint64) int {
	if index < r.first {
		return r.snap.term
	}
	return r.entries[index-r.first].term
}

// to carries a message to another member.
func (r *replica) to(i int, do func(p *replica)) {
	p := r.peers[i]
	r.c.network.send(r.process, p.process, func() { do(p) })
}

// drop gives up what was proposed and not yet committed: it may be all the same.
func (r *replica) drop(err error) {
	for _, f := range r.open {
		f.end(nil, err)
	}
	r.futures, r.open = map[uint64]*future{}, nil
}

// follow takes part in a term that another leads, or nobody.
func (r *replica) follow(term, leader int) {
	if term > r.term {
		r.term, r.vote = term, -1
	}
	was := r.role
	r.role, r.leader = follower, leader
	r.hope()
	if was == leading {
		r.c.say("%s does not lead any more", r.name)
		r.tell(false)
		r.drop(raft.ErrLeadershipLost)
	}
}

// tell tells the loop whether this member leads; it hears of the newest only.
func (r *replica) tell(leads bool) {
	select {
	case <-r.leadsNow:
	default:
	}
	r.leadsNow <- leads
}

func (r *replica) campaign() {
	r.term, r.vote, r.role, r.leader = r.term+1, r.index, candidate, -1
	r.votes = map[int]bool{r.index: true}
	r.hope()
	term, last := r.term, r.last()
	lastTerm := r.termOf(last)
	r.elected()
	for i := range r.peers {
		if i != r.index && r.role == candidate {
			r.to(i, func(p *replica) { p.asked(r, term, last, lastTerm) })
		}
	}
}

func (r *replica) asked(from *replica, term int, last uint64, lastTerm int) {
	if term > r.term {
		// A member that hears its leader does not let itself be disturbed.
		if r.role == leading || r.leader >= 0 && r.patience > r.c.now()+raftPatience {
			return
		}
		r.follow(term, -1)
	}
	mine := r.termOf(r.last())
	if term != r.term || r.vote >= 0 && r.vote != from.index || cmp.Or(cmp.Compare(lastTerm, mine), cmp.Compare(last, r.last())) < 0 {
		return
	}
	r.vote = from.index
	r.hope()
	me := r.index
	r.to(from.index, func(p *replica) {
		if p.role == candidate && p.term == term {
			p.votes[me] = true
			p.elected()
		}
	})
}

// elected leads if most want it to.
func (r *replica) elected() {
	if 2*len(r.votes) <= len(r.peers) {
		return
	}
	r.c.say("%s leads term %d", r.name, r.term)
	r.c.count("reigns", 1)
	r.role, r.leader = leading, r.index
	r.reigns++
	r.next, r.match, r.acked = make([]uint64, len(r.peers)), make([]uint64, len(r.peers)), make([]time.Duration, len(r.peers))
	for i := range r.peers {
		r.next[i], r.acked[i] = r.last()+1, r.c.now()
	}
	r.entries = append(r.entries, entry{r.term, nil})
	r.tell(true)
	r.append()
	r.advance()
}

// Apply implements leader.Log.
func (r *replica) Apply(raw []byte, _ time.Duration) raft.ApplyFuture {
	return r.offer("proposes "+string(raw), raw)
}

// Barrier implements leader.Log.
func (r *replica) Barrier(time.Duration) raft.Future { return r.offer("waits", nil) }

func (r *replica) offer(what string, raw []byte) *future {
	f, life := newFuture(), r.life
	r.c.post(r.name+" "+what, func() {
		if !r.up || r.life != life {
			f.end(nil, raft.ErrRaftShutdown)
			return
		}
		r.open = append(r.open, f)
		r.reach(func() { r.propose(raw, f) })
	})
	return f
}

func (r *replica) propose(raw []byte, f *future) {
	if r.role != leading {
		f.end(nil, raft.ErrNotLeader)
		return
	}
	r.entries = append(r.entries, entry{r.term, raw})
	f.index = r.last()
	r.futures[f.index] = f
	if raw != nil && r.doomed {
		r.c.say("%s is killed in the middle of a proposal", r.name)
		if r.c.chance(2) {
			r.append() // some may have it
		}
		r.c.after(r.c.between(0, 2*time.Millisecond), func() { r.c.kill(r.member) })
		r.doomed = false
		return
	}
	r.append()
	r.advance()
}

// append sends the others what they lack.
func (r *replica) append() {
	r.beaten = r.c.now()
	for i := range r.peers {
		if i != r.index {
			r.sendTo(i)
		}
	}
}

func (r *replica) sendTo(i int) {
	term, commit, from := r.term, r.commit, r.index
	if r.next[i] < r.first {
		snap := r.snap
		r.to(i, func(p *replica) { p.install(from, term, snap) })
		return
	}
	prev := r.next[i] - 1
	prevTerm := r.termOf(prev)
	more := slices.Clone(r.entries[r.next[i]-r.first:])
	r.to(i, func(p *replica) { p.take(from, term, prev, prevTerm, more, commit) })
}

// heard takes in that somebody leads a term.
func (r *replica) heard(from, term int) bool {
	if term < r.term {
		now := r.term
		r.to(from, func(p *replica) {
			if now > p.term {
				p.follow(now, -1)
			}
		})
		return false
	}
	if r.role == leading && term == r.term {
		r.c.violate("%s and c%d both lead term %d", r.name, from+1, term)
		return false
	}
	r.follow(term, from)
	return true
}

func (r *replica) take(from, term int, prev uint64, prevTerm int, more []entry, commit uint64) {
	if !r.heard(from, term) {
		return
	}
	if prev > r.last() || prev >= r.snap.index && prev >= r.first-1 && r.termOf(prev) != prevTerm {
		r.answer(from, term, false, min(r.last(), prev-1))
		return
	}
	for k, e := range more {
		at := prev + 1 + uint64(k)
		switch {
		case at < r.first:
		case at > r.last():
			r.entries = append(r.entries, e)
		case r.termOf(at) != e.term:
			if at <= r.done {
				r.c.violate("%s is told to forget entry %d, which it has applied", r.name, at)
				return
			}
			r.entries = append(slices.Clone(r.entries[:at-r.first]), e)
		}
	}
	matched := prev + uint64(len(more))
	if commit = min(commit, matched); commit > r.commit {
		r.commit = commit
		r.apply()
	}
	r.answer(from, term, true, matched)
}

func (r *replica) answer(to, term int, ok bool, upTo uint64) {
	me := r.index
	r.to(to, func(p *replica) {
		if p.role != leading || p.term != term {
			return
		}
		p.acked[me] = p.c.now()
		if !ok {
			p.next[me] = min(p.next[me], upTo+1)
			p.sendTo(me)
			return
		}
		p.match[me] = max(p.match[me], upTo)
		p.next[me] = max(p.next[me], p.match[me]+1)
		p.advance()
	})
}

func (r *replica) install(from, term int, s saved) {
	if !r.heard(from, term) {
		return
	}
	if s.index > r.done {
		if err := r.fsm.Restore(io.NopCloser(bytes.NewReader(s.state))); err != nil {
			r.c.violate("%s cannot read a snapshot: %v", r.name, err)
		}
		r.c.say("%s takes a snapshot of entry %d", r.name, s.index)
		r.c.count("snapshots installed", 1)
		var more []entry // what it has promised to keep
		if s.index <= r.last() && r.termOf(s.index) == s.term {
			more = slices.Clone(r.entries[s.index+1-r.first:])
		}
		r.snap, r.first, r.entries = s, s.index+1, more
		r.commit, r.done = max(r.commit, s.index), s.index
		r.apply()
	}
	r.answer(from, term, true, max(s.index, r.snap.index))
}

// advance commits what most have, if it is of this term.
func (r *replica) advance() {
	r.match[r.index] = r.last()
	sorted := slices.Sorted(slices.Values(r.match))
	most := sorted[(len(sorted)-1)/2]
	if most > r.commit && r.termOf(most) == r.term {
		r.commit = most
		r.apply()
	}
}

// apply applies what is committed.
func (r *replica) apply() {
	for r.done < r.commit {
		r.done++
		e := r.entries[r.done-r.first]
		var response any
		if e.data != nil {
			response = r.c.applied(r.member, r.done, e.data)
		}
		if f := r.futures[r.done]; f != nil {
			delete(r.futures, r.done)
			f.end(response, nil)
			r.open = slices.DeleteFunc(r.open, func(o *future) bool { return o == f })
		}
	}
	if r.done >= r.snap.index+r.snapEvery {
		r.compact()
	}
}

// compact writes a snapshot and drops most of what it holds from the log.
func (r *replica) compact() {
	var b sink
	s, err := r.fsm.Snapshot()
	if err == nil {
		err = s.Persist(&b)
	}
	if err != nil {
		r.c.violate("%s cannot write a snapshot: %v", r.name, err)
		return
	}
	r.snap = saved{r.done, r.termOf(r.done), b.Bytes()}
	r.entries, r.first = slices.Clone(r.entries[r.done+1-r.first:]), r.done+1
}

// sink takes a snapshot.
type sink struct{ bytes.Buffer }

func (*sink) ID() string    { return "snapshot" }
func (*sink) Close() error  { return nil }
func (*sink) Cancel() error { return errors.New("given up") }

var _ raft.SnapshotSink = (*sink)(nil)
