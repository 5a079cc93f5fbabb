package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/leader"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// Times of a node, as in trainer/agent; the orphan timeout is shorter.
const (
	beatWait      = 3 * time.Second
	tryWait       = time.Second
	registerWait  = 30 * time.Second
	orphanTimeout = 25 * time.Second
	joinTimeout   = time.Minute
)

// node is a model of trainer/agent.
type node struct {
	*process
	c      *cluster
	client client

	info       api.NodeInfo
	began      time.Duration
	heard      time.Duration // by a coordinator; 0 for not yet
	registered bool
	register   bool // the next beat brings the inventory
	beating    bool
	nudged     bool
	waits      int // counts the pauses between beats: a nudge ends one
	worker     *worker

	memory map[string][]point  // by job: what outlives a generation
	early  map[string][]letter // by job and generation: of who has begun before
	disk   map[string]*disk    // by job
	wiped  time.Duration       // when the disk was lost last
}

// disk is what a job has on a node's disk.
type disk struct {
	checkpoints []point
	result      string
}

func newNode(c *cluster, name string) *node {
	n := &node{process: &process{name: name}, c: c, disk: map[string]*disk{}}
	n.client = client{process: n.process, c: c, last: c.dice.IntN(len(c.members)), each: tryWait}
	return n
}

// start starts the node's process.
func (n *node) start() {
	if n.up {
		return
	}
	n.up, n.paused, n.wakes, n.shaken = true, false, nil, n.c.now()
	n.life++
	n.info = api.NodeInfo{Name: n.name, Session: fmt.Sprint(n.name, "-", n.life), PID: n.life, Version: "1", Threads: 1,
		Devices: []api.Device{{Name: "cpu", Kind: "cpu", Speed: 1e9, Memory: 1 << 30}}, Tensors: []string{"nats://" + n.name}, Bandwidth: 1e9, Latency: 1e-4}
	n.began, n.heard, n.registered, n.register, n.beating, n.nudged, n.worker = n.c.now(), 0, false, false, false, false, nil
	n.memory, n.early = map[string][]point{}, map[string][]letter{}
	n.c.say("%s starts as %s", n.name, n.info.Session)
	n.beat()
}

// crash ends the process; its peers see their connections end.
func (n *node) crash(wipe bool) {
	if !n.up {
		return
	}
	n.c.say("%s is killed%s", n.name, map[bool]string{true: ", its disk is lost"}[wipe])
	n.up, n.wakes, n.shaken = false, nil, n.c.now()
	n.life++
	if wipe {
		n.disk, n.wiped = map[string]*disk{}, n.c.now()
	}
	if n.worker == nil {
		return
	}
	for v, peer := range n.worker.peers() {
		if peer == n {
			continue
		}
		gone, key := n.worker.Worker, n.worker.key()
		n.c.after(n.c.between(0, time.Second), func() {
			if n.c.network.passes(n.name, peer.name) {
				peer.reach(func() {
					if w := peer.worker; w != nil && w.key() == key && w.Worker == v {
						w.fail("connection lost", gone)
					}
				})
			}
		})
	}
}

// leave ends the process as its user does: it stops its worker and says goodbye.
func (n *node) leave() {
	if !n.up || n.paused {
		return
	}
	n.c.say("%s leaves", n.name)
	if n.worker != nil {
		n.worker.finish(api.Report{State: api.Failed, Error: replaced})
	}
	b := api.Beat{Session: n.info.Session, Tasks: []api.Task{}, Leaving: true}
	n.waits++
	n.client.call(beatWait, "goodbye of "+n.info.Session, n.says(b), func(answer) { n.crash(false) })
	n.beating = true // no more
	n.later(beatWait, func() { n.crash(false) })
}

func (n *node) pause() {
	if n.up && !n.paused {
		n.c.say("%s stands still", n.name)
		n.paused, n.shaken = true, n.c.now()
	}
}

func (n *node) wake() {
	if !n.up || !n.paused {
		return
	}
	n.c.say("%s goes on", n.name)
	n.paused, n.shaken = false, n.c.now()
	for life := n.life; len(n.wakes) > 0 && n.life == life; {
		do := n.wakes[0]
		n.wakes = n.wakes[1:]
		do()
	}
}

// later has this process do something, if it still is the same.
func (n *node) later(d time.Duration, do func()) {
	life := n.life
	n.c.after(d, func() {
		if n.life == life {
			n.reach(do)
		}
	})
}

// hurry has the node beat at once.
func (n *node) hurry() {
	if n.beating {
		n.nudged = true
		return
	}
	n.beat()
}

func (n *node) beat() {
	n.beating = true
	n.waits++
	b := api.Beat{Session: n.info.Session, Tasks: []api.Task{}}
	if n.register {
		info := n.info
		b.Info = &info
	}
	if w := n.worker; w != nil {
		b.Tasks = append(b.Tasks, api.Task{Job: w.Job, Generation: w.Generation, Worker: w.Worker, PID: n.life, State: w.state, Phase: "train", Step: w.now.step})
	}
	n.c.count("beats", 1)
	n.client.call(beatWait, "beat of "+n.info.Session, n.says(b), n.beaten)
}

// says is a beat as a request.
func (n *node) says(b api.Beat) handler {
	return func(ctx context.Context, m *member) (any, error) {
		reply, err := m.loop.Beat(ctx, n.name, b)
		if err == nil && !reply.Register {
			m.c.mu.Lock()
			m.heard[n.name+" "+b.Session] = m.c.now()
			m.c.mu.Unlock()
		}
		return reply, err
	}
}

// beaten takes the reply to a beat in.
func (n *node) beaten(a answer) {
	n.beating = false
	now, every := n.c.now(), 300*time.Millisecond
	switch reply, _ := a.value.(api.BeatReply); {
	case a.err == nil:
		n.heard, n.register = now, reply.Register
		n.registered = n.registered || !n.register
		if n.register {
			n.later(n.c.between(time.Millisecond, 20*time.Millisecond), n.hurry)
			return
		}
		every = time.Duration(reply.LeaseSeconds / 4 * float64(time.Second))
		n.assign(reply.Assignments)
	case !n.registered && now-n.began > registerWait:
		n.c.say("%s gives up", n.name)
		n.crash(false)
		n.c.after(n.c.between(time.Second, 5*time.Second), n.start)
		return
	default:
		n.register = n.register || conflict(a.err)
		if n.heard > 0 && now-n.heard > orphanTimeout {
			n.assign(nil)
		}
	}
	if n.nudged {
		n.nudged = false
		n.beat()
		return
	}
	waits := n.waits
	n.later(every+n.c.between(0, time.Millisecond), func() {
		if n.waits == waits {
			n.hurry()
		}
	})
}

// conflict reports whether a coordinator has answered that what it was told does not
// fit the state.
func conflict(err error) bool {
	return errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrStaleGeneration) || errors.Is(err, schedule.ErrTaken)
}

// assign starts and stops workers until the newest assignment is what runs.
func (n *node) assign(list []api.Assignment) {
	if len(list) > 1 {
		n.c.violate("%s is given %d assignments", n.name, len(list))
	}
	if w := n.worker; w != nil {
		i := slices.IndexFunc(list, func(x api.Assignment) bool { return x.Job == w.Job && x.Generation == w.Generation })
		switch {
		case i < 0 && !w.over:
			w.stop(replaced)
			return
		case i >= 0:
			if list[i].Cancel {
				w.stop(cancelled)
			}
			return
		}
	}
	if len(list) == 0 {
		return
	}
	if x := list[0]; x.Cancel && n.worker == nil {
		r := api.Report{Node: n.name, Worker: x.Worker, Generation: x.Generation, State: api.Cancelled, ExitCode: api.ExitCancelled, Error: cancelled, At: time.Now()}
		n.report(x.Job, r, func() {})
		return
	}
	n.work(list[0])
}

// report tells how a part ended until it is taken in, or not wanted any more.
func (n *node) report(job string, r api.Report, then func()) {
	n.c.issued[reportKey(job, r)] = true
	n.deliver("report of "+n.info.Session, &state.Report{Job: job, Report: r}, then)
}

func (n *node) deliver(what string, b state.Body, then func()) {
	pause := 100 * time.Millisecond
	var try func()
	try = func() {
		n.client.call(beatWait, what, propose(b), func(a answer) {
			if a.err == nil || conflict(a.err) || errors.Is(a.err, state.ErrNotFound) || errors.Is(a.err, state.ErrInvalid) {
				then()
				return
			}
			n.later(pause, try)
			pause = min(2*pause, 2*time.Second)
		})
	}
	try()
}

// deliverCheckpoint tells the cluster of a checkpoint that is on disks.
func (n *node) deliverCheckpoint(job string, p api.Published) {
	for _, name := range p.Nodes {
		if !n.c.node(name).holds(job, p.Step) && n.c.node(name).wiped == 0 {
			n.c.violate("job %s: the checkpoint of step %d is published and not on the disk of %s", job, p.Step, name)
		}
	}
	n.deliver("checkpoint of "+n.info.Session, &state.Publish{Job: job, Published: p}, func() {})
}

// holds reports whether the node's disk has a checkpoint, or one after it.
func (n *node) holds(job string, step int) bool {
	d := n.disk[job]
	return d != nil && slices.ContainsFunc(d.checkpoints, func(p point) bool { return p.step >= step })
}

// propose is a request that is one command.
func propose(b state.Body) handler {
	return func(ctx context.Context, m *member) (any, error) {
		if !m.loop.Leads() {
			return nil, leader.ErrNotLeader
		}
		return m.loop.Propose(ctx, b)
	}
}
