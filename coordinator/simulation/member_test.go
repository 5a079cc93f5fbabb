package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/coordinator/leader"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

const lease = 3 * time.Second

// logbook is a member's part of the replicated log: the model, or Raft.
type logbook interface {
	leader.Log
	start(fsm *state.FSM) (leads <-chan bool)
	crash()
	still(on bool) // the process stands still, or goes on
	leads() bool
	knows() int // who leads, by index; -1 for nobody
}

// member is a coordinator.
type member struct {
	*process
	c      *cluster
	index  int
	log    logbook
	fsm    *state.FSM
	loop   *leader.Loop
	ctx    context.Context
	cancel context.CancelFunc

	ahead   time.Duration // of its wall clock
	frozen  []frozen      // calls of a member that stands still
	pauses  []span
	reigns  int // how often it began to lead
	decides int // the reign that last decided
	since   time.Duration
	heard   map[string]time.Duration // by node and session
	doomed  bool                     // is killed at its next proposal
}

// frozen is a goroutine of the product that stands still with its process.
type frozen struct {
	key  string
	wake chan struct{}
}

type span struct{ from, to time.Duration }

// gate stops what a member that stands still does.
func (m *member) gate(key string) {
	w := m.c.world
	w.mu.Lock()
	if !m.paused {
		w.mu.Unlock()
		return
	}
	f := frozen{key, make(chan struct{})}
	m.frozen = append(m.frozen, f)
	w.mu.Unlock()
	<-f.wake
}

// start starts the member's process on what its disk holds.
func (m *member) start() {
	w := m.c.world
	m.up, m.paused, m.doomed, m.shaken = true, false, false, w.now()
	m.life++
	m.heard = map[string]time.Duration{}
	m.fsm = state.NewFSM()
	m.ctx, m.cancel = context.WithCancel(context.Background())
	leads := m.log.start(m.fsm)
	steady := time.Now
	if m.c.mutant == wallLeases {
		steady = func() time.Time { return time.Now().Add(m.ahead) }
	}
	m.loop = leader.New(leader.Config{ID: m.name, Version: "1", Schedule: m.c.config, State: m.fsm, Log: log{m}, Nodes: hub{m},
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1})), Decide: m.decide,
		Now:    func() time.Time { m.gate("now"); return time.Now().Add(m.ahead) },
		Steady: func() time.Time { m.gate("steady"); return steady() }})
	go m.loop.Run(m.ctx, leads) // settled when the process has ended
	w.say("%s starts", m.name)
}

// crash ends the process.
func (m *member) crash() {
	if !m.up {
		return
	}
	m.c.say("%s is killed%s", m.name, map[bool]string{true: ", which leads"}[m.log.leads()])
	m.up, m.wakes, m.shaken = false, nil, m.c.now()
	m.life++
	m.cancel()
	m.log.crash()
	m.thaw()
}

func (m *member) pause() {
	if m.up && !m.paused {
		m.c.say("%s stands still%s", m.name, map[bool]string{true: ", which leads"}[m.log.leads()])
		m.c.mu.Lock()
		m.paused, m.shaken = true, m.c.now()
		m.c.mu.Unlock()
		m.log.still(true)
		m.pauses = append(m.pauses, span{m.c.now(), -1})
	}
}

// wake lets the process go on: first what stood still, then what has come meanwhile.
func (m *member) wake() {
	if !m.up || !m.paused {
		return
	}
	m.c.say("%s goes on", m.name)
	m.thaw()
	for life := m.life; len(m.wakes) > 0 && m.life == life && !m.paused; {
		do := m.wakes[0]
		m.wakes = m.wakes[1:]
		do()
		m.c.settle()
	}
}

func (m *member) thaw() {
	w := m.c.world
	w.mu.Lock()
	m.paused, m.shaken = false, w.now()
	still := m.frozen
	m.frozen = nil
	w.mu.Unlock()
	m.log.still(!m.up)
	if n := len(m.pauses); n > 0 && m.pauses[n-1].to < 0 {
		m.pauses[n-1].to = w.now()
	}
	for _, key := range []string{"apply", "decide", "now", "steady"} {
		for _, f := range still {
			if f.key == key {
				close(f.wake)
				w.settle()
			}
		}
	}
}

// log is the log as the loop sees it.
type log struct{ *member }

func (l log) Apply(raw []byte, wait time.Duration) raft.ApplyFuture {
	l.gate("apply")
	return l.log.Apply(raw, wait)
}

func (l log) Barrier(wait time.Duration) raft.Future {
	l.gate("apply")
	return l.log.Barrier(wait)
}

// handler answers a request on the member that leads.
type handler func(ctx context.Context, m *member) (any, error)

func elsewhere(err error) bool {
	return errors.Is(err, leader.ErrNotLeader) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// serve answers a request, or passes it on to the leader, as package server does.
func (m *member) serve(what string, do handler, forwarded bool, reply func(answer)) {
	w := m.c.world
	if m.log.leads() && m.loop.Leads() {
		life, ctx := m.life, m.ctx
		w.seq++ // tells apart the answers to a request that came twice
		key := fmt.Sprintf("%s answers %s %09d", m.name, what, w.seq)
		go func() {
			v, err := do(ctx, m)
			w.post(key, func() {
				if m.life != life { // the connection is reset
					v, err = nil, errUnreachable
				}
				m.reach(func() { reply(answer{v, err}) })
			})
		}()
		return
	}
	to := m.log.knows()
	if to < 0 || to == m.index || forwarded {
		reply(answer{nil, errNoLeader})
		return
	}
	next := m.c.members[to]
	if !next.up {
		reply(answer{nil, errNoLeader})
		return
	}
	w.network.send(m.process, next.process, func() {
		next.serve(what, do, true, func(a answer) { w.network.send(next.process, m.process, func() { reply(a) }) })
	})
}

// hub is the way to nodes.
type hub struct{ *member }

func (h hub) URLs() []string { return nil }

func (h hub) Nudge(node string) {
	w := h.c.world
	w.post(h.name+" nudges "+node, func() {
		if n := h.c.node(node); n != nil {
			w.network.send(h.process, n.process, n.hurry)
		}
	})
}

// lifeWait is how long a node that inspects may be silent.
const lifeWait = 5 * time.Second

func (h hub) Inspect(ctx context.Context, node, spec string) (api.Inspection, error) {
	w, found := h.c.world, make(chan api.Inspection, 2)
	w.post(h.name+" asks "+node+" "+spec, func() {
		n := h.c.node(node)
		w.network.send(h.process, n.process, func() {
			life := n.life
			w.after(w.between(20*time.Millisecond, 400*time.Millisecond), func() {
				n.reach(func() {
					if n.life == life {
						w.network.send(n.process, h.process, func() {
							select {
							case found <- inspection(spec):
							default:
							}
						})
					}
				})
			})
		})
	})
	select {
	case in := <-found:
		return in, nil
	case <-time.After(lifeWait):
		return api.Inspection{}, fmt.Errorf("node %s: no sign of life", node)
	case <-ctx.Done():
		return api.Inspection{}, ctx.Err()
	}
}

// decide is schedule.Decide, watched.
func (m *member) decide(in schedule.Input) schedule.Output {
	m.gate("decide")
	if m.decides != m.reigns {
		m.decides, m.since = m.reigns, m.c.now()-min(in.Leases.Since, 20*time.Millisecond) // it began to listen just before
	}
	if m.c.mutant == noGrace {
		in.Leases.Since = time.Hour
	}
	out := schedule.Decide(in)
	m.c.count("decisions", 1)
	for _, c := range out.Commands {
		switch set, ok := c.Body.(*state.SetNode); {
		case !ok:
		case set.State == api.NodeLost:
			m.checkLost(set)
			m.checkWell(set)
			m.c.mu.Lock()
			if _, ok := m.c.lost[set.Name]; !ok {
				m.c.lost[set.Name] = m.c.now()
			}
			m.c.mu.Unlock()
		case set.State == api.NodeReady:
			m.checkBack(set)
		}
	}
	return out
}
