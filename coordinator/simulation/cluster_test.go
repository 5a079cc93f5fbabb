package simulation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
	"ressa/shard"
)

// mutant is a bug that the simulation has to find.
type mutant int

const (
	sound         mutant = iota
	noGrace              // a new leader takes nodes that it has not heard for silent
	wallLeases           // leases are measured by the wall clock
	lateReports          // the state takes reports of generations that are over
	mixedVotes           // workers take votes of other generations
	forgetsTokens        // the state forgets that a job was submitted
	losesLog             // a member has lost its last entries after a restart
)

// cluster is everything: coordinators, nodes, users, and what has to hold.
type cluster struct {
	*world
	config  schedule.Config
	mutant  mutant
	members []*member
	nodes   []*node
	users   *users
	counts  map[string]int

	truth  []applied                // every entry that a member has applied, by index - 1
	sums   map[uint64][]byte        // snapshots of the state, by index
	latest *state.State             // after the newest of truth
	plans  map[string]string        // job and generation → nodes
	lost   map[string]time.Duration // when nodes were first taken for lost
	issued map[string]bool          // reports and checkpoints that workers have made
}

// applied is an entry of the log that counts.
type applied struct {
	data []byte
	body state.Body
}

func newCluster(seed uint64, m mutant, members int, book func(*member) logbook) *cluster {
	c := &cluster{world: newWorld(seed), config: schedule.DefaultConfig(lease), mutant: m, counts: map[string]int{}, sums: map[uint64][]byte{},
		latest: state.Empty(), plans: map[string]string{}, issued: map[string]bool{}, lost: map[string]time.Duration{}}
	for i := range members {
		x := &member{process: &process{name: fmt.Sprintf("c%d", i+1)}, c: c, index: i}
		if i > 0 {
			x.ahead = c.between(-time.Minute, time.Minute)
		}
		x.log = book(x)
		c.members = append(c.members, x)
	}
	for i := range 3 + c.dice.IntN(3) {
		c.nodes = append(c.nodes, newNode(c, fmt.Sprintf("t%d", i+1)))
	}
	c.users = &users{c: c, client: client{process: &process{name: "users", up: true}, c: c, each: 10 * time.Second}, known: map[string]string{}, gone: map[string]bool{},
		asked: map[int]bool{}, states: map[string][]point{}}
	return c
}

// count adds to a figure.
func (c *cluster) count(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what] += n
}

func (c *cluster) node(name string) *node {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == name })
	return c.nodes[i]
}

// start starts every process.
func (c *cluster) start() {
	for _, m := range c.members {
		m.start()
	}
	for _, n := range c.nodes {
		c.after(c.between(0, 2*time.Second), n.start)
	}
}

// kill ends a member; it comes back if it is started again.
func (c *cluster) kill(m *member) {
	m.crash()
	c.settle()
}

// stop ends everything, so that nothing is left running.
func (c *cluster) stop() {
	for _, m := range c.members {
		if m.paused {
			m.thaw()
		}
		m.crash()
	}
	c.settle()
}

// inspection is what a node finds in a job file of this simulation.
func inspection(spec string) api.Inspection {
	var j jobFile
	if err := json.Unmarshal([]byte(spec), &j); err != nil {
		return api.Inspection{Error: err.Error(), ExitCode: api.ExitInvalid}
	}
	if j.Bad {
		return api.Inspection{Error: "no such model", ExitCode: api.ExitInvalid}
	}
	block := shard.Block{Forward: 1e6, Backward: 2e6, Weights: j.Bytes}
	tower := func(role string, n int) shard.Tower {
		return shard.Tower{Role: role, Blocks: slices.Repeat([]shard.Block{block}, n), HiddenBytes: 64, Flows: 1}
	}
	return api.Inspection{Name: j.Name, Steps: j.Steps, Strict: j.Strict, Microbatches: 4, Wire: "fp32",
		Profile: shard.Profile{CutBytes: 64, Flows: 1, Towers: []shard.Tower{tower(shard.Vision, visionBlocks), tower(shard.Language, languageBlocks)}}}
}

// jobFile is a job of this simulation.
type jobFile struct {
	Name   string
	Steps  int
	Every  int   // steps between checkpoints
	Bytes  int64 // of a block
	Strict bool
	Bad    bool // its model is not there
}

const visionBlocks, languageBlocks = 2, 2

// applied applies an entry on a member, and holds it and what comes of it against
// what was applied before.
func (c *cluster) applied(m *member, index uint64, raw []byte) any {
	for uint64(len(c.truth)) < index { // entries that Raft writes for itself are empty
		c.truth = append(c.truth, applied{})
	}
	t, before, data := &c.truth[index-1], m.fsm.State(), raw
	fresh := t.data == nil
	switch {
	case fresh && index <= c.latest.Index():
		c.violate("%s applies entry %d, which others have applied without: %s", m.name, index, raw)
	case fresh:
		cmd, err := state.Decode(raw)
		if err != nil {
			c.violate("%s cannot read entry %d: %v", m.name, index, err)
			return nil
		}
		t.data, t.body = raw, cmd.Body
		c.count("entries", 1)
	case !bytes.Equal(t.data, raw):
		c.violate("%s applies entry %d as %s, others as %s", m.name, index, raw, t.data)
	}
	if c.mutant == lateReports || c.mutant == forgetsTokens {
		data = c.mutate(before, index, raw)
	}
	response := m.fsm.Apply(&raft.Log{Index: index, Data: data})
	after := m.fsm.State()
	if fresh {
		c.checkStep(before, after, t.body)
		c.latest = after
	}
	if index%16 == 0 {
		c.checkSum(m, after)
	}
	return response
}

// checkSum verifies that a state is the same on all members.
func (c *cluster) checkSum(m *member, s *state.State) {
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		c.violate("%s: %v", m.name, err)
		return
	}
	if known, ok := c.sums[s.Index()]; ok && !bytes.Equal(known, b.Bytes()) {
		c.violate("after entry %d the state of %s is another than that of others: %s and %s", s.Index(), m.name, b.Bytes(), known)
	}
	c.sums[s.Index()] = b.Bytes()
}

// mutate changes what the state is given, where that is the bug.
func (c *cluster) mutate(s *state.State, index uint64, raw []byte) []byte {
	cmd, err := state.Decode(raw)
	if err != nil {
		c.violate("mutation: %v", err)
		return raw
	}
	switch b := cmd.Body.(type) {
	case *state.Report:
		if j := s.Job(b.Job); c.mutant == lateReports && j != nil && j.Active() {
			b.Report.Generation = j.Generation
		}
	case *state.Submit:
		if c.mutant == forgetsTokens {
			b.Request.Token = fmt.Sprint(b.Request.Token, index)
		}
	}
	out, err := state.Encode(cmd)
	if err != nil {
		c.violate("mutation: %v", err)
	}
	return out
}
