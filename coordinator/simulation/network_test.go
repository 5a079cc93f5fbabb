package simulation

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// process is what can be killed, stopped and cut off.
type process struct {
	name   string
	up     bool
	paused bool
	life   int           // how often it was started
	shaken time.Duration // when it was last started, ended, stopped or let go
	wakes  []func()      // what reached it while it stood still
}

// reach has something happen in a process, as soon as it runs.
func (p *process) reach(do func()) {
	switch {
	case !p.up:
	case p.paused:
		p.wakes = append(p.wakes, do)
	default:
		do()
	}
}

// network carries messages.
type network struct {
	*world
	lock      sync.Mutex // of cut and hasty, which Raft's goroutines read
	hasty     *rand.Rand
	cut       map[[2]string]bool // from, to
	slow      time.Duration      // the most that a message takes beyond the usual
	lost, dup int                // once in so many; 0 never
	shaken    time.Duration      // when this was last changed
}

// usual reports whether nothing is wrong since a time.
func (n *network) usual(since time.Duration) bool {
	return len(n.cut) == 0 && n.slow == 0 && n.lost == 0 && n.shaken < since
}

// well reports whether a process has run undisturbed since a time.
func (p *process) well(since time.Duration) bool { return p.up && !p.paused && p.shaken < since }

func (n *network) passes(from, to string) bool {
	n.lock.Lock()
	defer n.lock.Unlock()
	return !n.cut[[2]string{from, to}]
}

// part cuts a way off.
func (n *network) part(from, to string) {
	n.lock.Lock()
	defer n.lock.Unlock()
	n.cut[[2]string{from, to}] = true
}

// whole opens all ways.
func (n *network) whole() {
	n.lock.Lock()
	defer n.lock.Unlock()
	clear(n.cut)
	n.shaken = n.now()
}

// latency draws how long a message takes.
func (n *network) latency() time.Duration {
	d := n.between(200*time.Microsecond, 2*time.Millisecond)
	if n.slow > 0 && n.chance(3) {
		d += n.between(0, n.slow)
	}
	return d
}

// send carries a message that may come late, twice or never.
func (n *network) send(from, to *process, do func()) {
	copies := 1
	if n.dup > 0 && n.chance(n.dup) {
		copies = 2
	}
	for range copies {
		lost := n.lost > 0 && n.chance(n.lost)
		n.after(n.latency(), func() {
			if !lost && n.passes(from.name, to.name) {
				to.reach(do)
			}
		})
	}
}

// Errors of a call to a coordinator.
var (
	errUnreachable = errors.New("no coordinator reachable")
	errNoLeader    = errors.New("no coordinator leads at the moment")
)

// answer is what a handler gives back.
type answer struct {
	value any
	err   error
}

// client is somebody who calls coordinators, one after the other.
type client struct {
	*process
	c    *cluster
	last int           // who answered last
	each time.Duration // that one coordinator may take to answer
}

// call tries every coordinator once, at most for so long. done is called once, unless
// the client has died meanwhile.
func (cl *client) call(wait time.Duration, what string, do handler, done func(answer)) {
	w, life, over := cl.c.world, cl.life, false
	finish := func(a answer) {
		if !over && cl.life == life {
			over = true
			cl.reach(func() { done(a) })
		}
	}
	tries, at := 0, 0
	w.after(wait, func() {
		if !over && cl.life == life && cl.last == at {
			cl.last = (at + 1) % len(cl.c.members)
		}
		finish(answer{nil, errUnreachable})
	})
	var try func()
	try = func() {
		if over || cl.life != life {
			return
		}
		if tries++; tries > len(cl.c.members) {
			finish(answer{nil, errUnreachable})
			return
		}
		at = cl.last
		from, to := at, cl.c.members[at]
		answered := false
		reply := func(a answer) {
			if answered || over {
				return
			}
			answered = true
			if errors.Is(a.err, errUnreachable) || errors.Is(a.err, errNoLeader) || elsewhere(a.err) {
				cl.last = (from + 1) % len(cl.c.members)
				try()
				return
			}
			finish(a)
		}
		w.after(cl.each, func() { reply(answer{nil, errUnreachable}) })
		if !to.up { // refused
			w.after(w.network.latency(), func() { reply(answer{nil, errUnreachable}) })
			return
		}
		w.network.send(cl.process, to.process, func() {
			to.serve(what, do, false, func(a answer) { w.network.send(to.process, cl.process, func() { reply(a) }) })
		})
	}
	try()
}
