package simulation

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// Why a worker is stopped.
const (
	replaced  = "the assignment is over"
	cancelled = "cancelled"
)

// point is the state of some blocks after so many steps: a hash of each.
type point struct {
	step   int
	blocks map[string]uint64
}

// worker is a model of one worker's part in a generation of a job.
type worker struct {
	api.Assignment
	node *node
	job  jobFile

	state   string // as its node tells it
	ended   bool   // it does nothing any more
	over    bool   // that was taken in
	started bool   // it has met the others
	now     point
	before  point // one step earlier; nothing at the start
	hellos  map[int]hello
	votes   map[int]map[int]vote // by step, by worker
	saves   map[int]map[int]bool // of the chief: who has written which checkpoint
	fins    map[int]bool         // of the chief: who is through
}

// letter is what one worker tells another.
type letter struct {
	from, generation int
	body             any
}

// hello is where a worker could go on.
type hello struct {
	points []point // in memory
	disk   []point
	result string // on the chief's disk
}

// vote says that a worker has computed a step, from this state.
type vote struct {
	step, generation int
	from             map[string]uint64
}

type (
	written struct{ step int } // a checkpoint is written
	fin     struct{}           // all steps are made
	end     struct{}           // the result is there
	abort   struct{}
)

func (n *node) work(x api.Assignment) {
	w := &worker{Assignment: x, node: n, state: api.Starting, hellos: map[int]hello{}, votes: map[int]map[int]vote{},
		saves: map[int]map[int]bool{}, fins: map[int]bool{}}
	if err := json.Unmarshal([]byte(x.Spec), &w.job); err != nil {
		n.c.violate("job %s: %v", x.Job, err)
	}
	n.worker = w
	if n.disk[x.Job] == nil {
		n.disk[x.Job] = &disk{}
	}
	n.later(n.c.between(20*time.Millisecond, 500*time.Millisecond), func() {
		if w.ended {
			return
		}
		w.state = api.Running
		d := n.disk[x.Job]
		h := hello{points: n.memory[x.Job], disk: slices.Clone(d.checkpoints)}
		if w.Worker == 0 {
			h.result = d.result
		}
		w.tellAll(h)
		for _, l := range n.early[w.key()] {
			w.hear(l)
		}
		delete(n.early, w.key())
	})
	n.later(joinTimeout, func() {
		if !w.started {
			w.fail("the others are not there", w.others()...)
		}
	})
}

func (w *worker) key() string { return fmt.Sprint(w.Job, " ", w.Generation) }

func (w *worker) peers() []*node {
	var out []*node
	for _, name := range w.Plan.Nodes {
		out = append(out, w.node.c.node(name))
	}
	return out
}

func (w *worker) others() []int {
	var out []int
	for v := range w.Plan.Nodes {
		if v != w.Worker {
			out = append(out, v)
		}
	}
	return out
}

func (w *worker) tellAll(body any) {
	for _, v := range w.others() {
		w.tell(v, body)
	}
	w.hear(letter{w.Worker, w.Generation, body})
}

// tell gets a letter to another worker, or gives its exchange up.
func (w *worker) tell(v int, body any) {
	c, from, to := w.node.c, w.node, w.node.c.node(w.Plan.Nodes[v])
	l, key, life := letter{w.Worker, w.Generation, body}, w.key(), from.life
	until := c.now() + c.between(time.Second, 4*time.Second)
	if c.chance(20) { // a copy takes another way, and its time
		c.after(c.between(0, 6*time.Second), func() {
			if c.network.passes(from.name, to.name) {
				to.reach(func() { to.receive(key, w.Job, l) })
			}
		})
	}
	var try func()
	try = func() {
		_, last := body.(abort)
		if from.life != life || w.ended && !last {
			return
		}
		c.after(c.network.latency(), func() {
			if to.up && c.network.passes(from.name, to.name) && c.network.passes(to.name, from.name) {
				to.reach(func() { to.receive(key, w.Job, l) })
				return
			}
			if last || from.life != life {
				return
			}
			from.reach(func() {
				if c.now() > until {
					w.fail("not reached", v)
					return
				}
				from.later(c.between(100*time.Millisecond, 300*time.Millisecond), try)
			})
		})
	}
	try()
}

// receive hands a letter to the worker that it is for. Those of older generations are
// for nobody.
func (n *node) receive(key, job string, l letter) {
	w := n.worker
	if w != nil && !w.ended && w.Job == job && n.c.mutant == mixedVotes {
		if _, ok := l.body.(vote); ok {
			w.hear(l)
			return
		}
	}
	switch {
	case w != nil && w.key() == key:
		w.hear(l)
	case w == nil || w.Job != job || w.Generation < l.generation:
		n.early[key] = append(n.early[key], l)
	}
}

func (w *worker) hear(l letter) {
	if w.ended {
		return
	}
	if w.state == api.Starting { // it opens what it needs
		w.node.early[w.key()] = append(w.node.early[w.key()], l)
		return
	}
	switch b := l.body.(type) {
	case hello:
		w.hellos[l.from] = b
		w.meet()
	case vote:
		if w.votes[b.step] == nil {
			w.votes[b.step] = map[int]vote{}
		}
		w.votes[b.step][l.from] = b
		w.apply()
	case written:
		if w.saves[b.step] == nil {
			w.saves[b.step] = map[int]bool{}
		}
		w.saves[b.step][l.from] = true
		w.publish(b.step)
	case fin:
		w.fins[l.from] = true
		if len(w.fins) == len(w.Plan.Nodes) {
			w.node.later(w.node.c.between(100*time.Millisecond, time.Second), w.export)
		}
	case end:
		w.succeed()
	case abort:
		w.fail("aborted", l.from)
	}
}

// meet finds where all go on: the newest step that their memories hold together, or
// the newest checkpoint.
func (w *worker) meet() {
	if len(w.hellos) < len(w.Plan.Nodes) || w.started {
		return
	}
	w.started = true
	if w.hellos[0].result != "" {
		w.succeed()
		return
	}
	best := w.node.c.users.expect(w.job, 0)
	together := map[int]map[string]uint64{}
	for _, h := range w.hellos {
		for _, p := range h.points {
			if together[p.step] == nil {
				together[p.step] = map[string]uint64{}
			}
			for b, v := range p.blocks {
				if known, ok := together[p.step][b]; ok && known != v {
					w.node.c.violate("job %s: block %s after step %d is %x and %x", w.Job, b, p.step, known, v)
				}
				together[p.step][b] = v
			}
		}
		for _, p := range h.disk {
			if p.step > best.step {
				best = p
			}
		}
	}
	for step, blocks := range together {
		if step > best.step && len(blocks) == visionBlocks+languageBlocks {
			best = point{step, blocks}
		}
	}
	w.now = point{best.step, w.part(best.blocks, true)}
	w.compute()
}

// part returns the blocks that this worker computes, and those that it keeps as the
// buddy of another.
func (w *worker) part(blocks map[string]uint64, buddy bool) map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range w.Plan.Stages {
		mine := slices.Contains(s.Workers, w.Worker)
		if buddy && len(s.Workers) == 1 && (s.Workers[0]+1)%len(w.Plan.Nodes) == w.Worker {
			mine = true
		}
		for b := s.Lo; mine && b < s.Hi; b++ {
			name := fmt.Sprint(s.Tower, b)
			out[name] = blocks[name]
		}
	}
	return out
}

// compute computes the next step, and votes for it.
func (w *worker) compute() {
	c := w.node.c
	if w.now.step == w.job.Steps {
		if w.Worker == 0 {
			w.hear(letter{0, w.Generation, fin{}})
		} else {
			w.tell(0, fin{})
		}
		return
	}
	w.node.later(c.between(60*time.Millisecond, 250*time.Millisecond), func() {
		if !w.ended {
			w.tellAll(vote{w.now.step + 1, w.Generation, w.part(w.now.blocks, false)})
		}
	})
}

// apply makes the step that all have voted for.
func (w *worker) apply() {
	c, step := w.node.c, w.now.step+1
	votes := w.votes[step]
	if !w.started || len(votes) < len(w.Plan.Nodes) {
		return
	}
	all := map[string]uint64{}
	for v := range w.Plan.Nodes {
		x, voted := votes[v]
		if !voted {
			return
		}
		if x.generation != w.Generation {
			c.violate("worker %d of generation %d of job %s applies step %d with a vote of generation %d", w.Worker, w.Generation, w.Job, step, x.generation)
		}
		for b, sum := range x.from {
			if known, ok := all[b]; ok && known != sum {
				c.violate("job %s, step %d: replicas of block %s differ", w.Job, step, b)
			}
			all[b] = sum
		}
	}
	for b, sum := range w.now.blocks {
		if all[b] != sum {
			c.violate("job %s, step %d: worker %d holds %s as %x, others as %x", w.Job, step, w.Worker, b, sum, all[b])
		}
	}
	last := point{w.now.step, all}
	next := after(last)
	if want := c.users.expect(w.job, step); !maps.Equal(next.blocks, want.blocks) {
		c.violate("job %s: step %d is not made on its predecessor", w.Job, step)
	}
	delete(w.votes, step)
	w.before, w.now = w.now, point{step, w.part(next.blocks, true)}
	c.count("steps of workers", 1)
	if last.step > 0 && last.step%w.job.Every == 0 && w.Worker < 3 {
		w.save(last)
	}
	w.compute()
}

// after is the state one step later: each block depends on all of them.
func after(p point) point {
	h := fnv.New64a()
	for _, b := range slices.Sorted(maps.Keys(p.blocks)) {
		fmt.Fprint(h, b, p.blocks[b])
	}
	out := point{p.step + 1, map[string]uint64{}}
	for b, v := range p.blocks {
		out.blocks[b] = (v ^ h.Sum64()) * 0x9e3779b97f4a7c15
	}
	return out
}

// save writes a checkpoint and tells the chief.
func (w *worker) save(p point) {
	w.node.later(w.node.c.between(10*time.Millisecond, 600*time.Millisecond), func() {
		d := w.node.disk[w.Job]
		if w.ended || d == nil {
			return
		}
		d.checkpoints = append(d.checkpoints, p)
		slices.SortFunc(d.checkpoints, func(a, b point) int { return a.step - b.step })
		d.checkpoints = d.checkpoints[max(0, len(d.checkpoints)-2):]
		if w.Worker == 0 {
			w.hear(letter{0, w.Generation, written{p.step}})
		} else {
			w.tell(0, written{p.step})
		}
	})
}

// publish tells the cluster of a checkpoint that all have written who should.
func (w *worker) publish(step int) {
	savers := min(3, len(w.Plan.Nodes))
	if len(w.saves[step]) < savers {
		return
	}
	p := api.Published{Generation: w.Generation, Step: step, SHA256: fmt.Sprintf("%s-%d", w.job.Name, step), Nodes: w.Plan.Nodes[:savers]}
	w.node.c.issued[publishKey(w.Job, p)] = true
	w.node.deliverCheckpoint(w.Job, p)
}

// export writes the result.
func (w *worker) export() {
	if w.ended {
		return
	}
	w.node.disk[w.Job].result = w.node.c.users.result(w.job.Name)
	for _, v := range w.others() {
		w.tell(v, end{})
	}
	w.node.later(20*time.Millisecond, w.succeed)
}

func (w *worker) succeed() {
	r := api.Report{State: api.Succeeded}
	if w.Worker == 0 {
		r.Result = &api.Result{Event: "result", Job: w.Job, State: api.Succeeded, Steps: w.job.Steps, Generations: w.Generation, AdapterSHA256: w.node.disk[w.Job].result}
	}
	w.finish(r)
}

// fail ends the worker because its exchange with others broke.
func (w *worker) fail(why string, broken ...int) {
	w.finish(api.Report{State: api.Failed, ExitCode: api.ExitFailed, Error: why, Broken: broken})
}

// stop ends the worker because its node was told so.
func (w *worker) stop(why string) {
	w.node.later(w.node.c.between(time.Millisecond, 300*time.Millisecond), func() {
		r := api.Report{State: api.Failed, Error: why}
		if why == cancelled {
			r.State, r.ExitCode = api.Cancelled, api.ExitCancelled
		}
		w.finish(r)
	})
}

// finish ends the work and reports it, unless that is nobody's concern.
func (w *worker) finish(r api.Report) {
	if w.ended {
		return
	}
	w.ended, w.state = true, r.State
	if w.started {
		w.node.memory[w.Job] = nil
		for _, p := range []point{w.now, w.before} {
			if len(p.blocks) > 0 {
				w.node.memory[w.Job] = append(w.node.memory[w.Job], p)
			}
		}
	}
	if r.State != api.Succeeded {
		for _, v := range w.others() {
			w.tell(v, abort{})
		}
	}
	end := func() { w.over = true; w.node.hurry() }
	if r.Error == replaced {
		end()
		return
	}
	r.Node, r.Worker, r.Generation, r.At = w.node.name, w.Worker, w.Generation, time.Now()
	w.node.report(w.Job, r, end)
}
