package team

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ressa/kernels"
	"ressa/shard"
	"ressa/trainer/exchange"
	"ressa/trainer/step"
)

// Group is what a team needs of the workers' group: package collective/group
// implements it.
type Group interface {
	exchange.Collectives
	Barrier(ctx context.Context) error
}

// Config describes a team as one of its workers sees it.
type Config struct {
	Plan shard.Plan
	// Group joins the workers; its ranks are theirs. Nil for a plan of one worker.
	Group Group
	// Timeout bounds every exchange, from the call to its end. What a peer computes
	// before it answers counts.
	Timeout time.Duration
}

// Team is one worker's view of its team.
type Team struct {
	config Config
	worker int
	cells  *exchange.Exchange // nil in a team of one
	talks  int                // messages so far, the same number on all workers
	phases int                // numbers given to forward passes, likewise
}

// New returns a team.
func New(c Config) (*Team, error) {
	if err := c.Plan.Check(); err != nil {
		return nil, err
	}
	t := &Team{config: c}
	if c.Group != nil {
		t.config.Group = watched{c.Group}
	}
	if c.Group == nil {
		if len(c.Plan.Nodes) > 1 {
			return nil, fmt.Errorf("team: a plan of %d workers without a group", len(c.Plan.Nodes))
		}
		return t, nil
	}
	if c.Group.World() != len(c.Plan.Nodes) || c.Timeout <= 0 {
		return nil, fmt.Errorf("team: a group of %d for a plan of %d workers, timeout %v", c.Group.World(), len(c.Plan.Nodes), c.Timeout)
	}
	t.worker = c.Group.Rank()
	if t.Alone() {
		return t, nil
	}
	var err error
	// Edges outside steps keep all bits: where they round belongs to training.
	t.cells, err = exchange.New(exchange.Config{Group: t.config.Group, Wire: kernels.F32, Rank: t.owner, Timeout: c.Timeout, Prefix: "cell "})
	return t, err
}

// Plan returns who does what.
func (t *Team) Plan() shard.Plan { return t.config.Plan }

// Worker returns this worker's number.
func (t *Team) Worker() int { return t.worker }

// Size returns how many workers there are.
func (t *Team) Size() int { return len(t.config.Plan.Nodes) }

// Alone reports whether this worker is all of the team.
func (t *Team) Alone() bool { return t.Size() == 1 }

// Chief reports whether this worker writes the run's folder.
func (t *Team) Chief() bool { return t.worker == 0 }

// Holds reports whether this worker holds a stage, by index in the plan.
func (t *Team) Holds(stage int) bool { return t.config.Plan.Holds(t.worker)[stage] }

// First reports whether this worker speaks for a stage: the first that holds it.
func (t *Team) First(stage int) bool { return t.first(stage) == t.worker }

func (t *Team) first(stage int) int { return t.config.Plan.Stages[stage].Workers[0] }

// owner returns the worker that computes a cell's part in a stage.
func (t *Team) owner(stage, cell int) int {
	w := t.config.Plan.Stages[stage].Workers
	return w[cell%len(w)]
}

// Owns reports whether this worker computes a cell's part in a stage.
func (t *Team) Owns(stage, cell int) bool { return t.owner(stage, cell) == t.worker }

// Part reports whether this worker computes any part of a cell.
func (t *Team) Part(cell int) bool {
	for i := range t.config.Plan.Stages {
		if t.Owns(i, cell) {
			return true
		}
	}
	return false
}

// Peers joins engines of the team; nil in a team of one.
func (t *Team) Peers(wire kernels.DType) (step.Peers, error) {
	if t.Alone() {
		return nil, nil
	}
	return exchange.NewWorkers(t.config.Group, t.config.Plan, wire, t.config.Timeout)
}

// bound returns the context of one exchange.
func (t *Team) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.config.Timeout)
}

// tag returns a tag for the next message of the team.
func (t *Team) tag(what string) string {
	t.talks++
	return fmt.Sprintf("team %d %s", t.talks, what)
}

// Gather returns what each worker says, by worker. It is also a barrier.
func (t *Team) Gather(ctx context.Context, what string, said []byte) ([][]byte, error) {
	tag := t.tag(what)
	if t.Alone() {
		return [][]byte{said}, nil
	}
	ctx, cancel := t.bound(ctx)
	defer cancel()
	all, err := t.config.Group.AllGather(ctx, nil, tag, said)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return all, nil
}

// Tell returns what one worker says; what others pass is not read.
func (t *Team) Tell(ctx context.Context, what string, teller int, said []byte) ([]byte, error) {
	tag := t.tag(what)
	if t.Alone() {
		return said, nil
	}
	ctx, cancel := t.bound(ctx)
	defer cancel()
	if t.worker != teller {
		raw, err := t.config.Group.Recv(ctx, teller, tag)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return raw, nil
	}
	for w := range t.Size() {
		if w == teller {
			continue
		}
		if err := t.config.Group.Send(ctx, w, tag, said); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return said, nil
}

// Collect hands the chief what the first holder of each stage says, stage after
// stage. say is called for the stages that this worker speaks for, take on the
// chief alone.
func (t *Team) Collect(ctx context.Context, what string, say func(stage int) ([]byte, error), take func(stage int, said []byte) error) error {
	tag := t.tag(what)
	for i := range t.config.Plan.Stages {
		if err := t.collect(ctx, fmt.Sprintf("%s %d", tag, i), i, say, take); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (t *Team) collect(ctx context.Context, tag string, stage int, say func(int) ([]byte, error), take func(int, []byte) error) error {
	ctx, cancel := t.bound(ctx)
	defer cancel()
	var said []byte
	var err error
	if t.First(stage) {
		if said, err = say(stage); err != nil {
			return err
		}
		if !t.Chief() {
			return t.config.Group.Send(ctx, 0, tag, said)
		}
	} else if t.Chief() {
		if said, err = t.config.Group.Recv(ctx, t.first(stage), tag); err != nil {
			return err
		}
	}
	if !t.Chief() {
		return nil
	}
	return take(stage, said)
}

// Leave waits until every worker is done with the team.
func (t *Team) Leave(ctx context.Context) error {
	if t.Alone() {
		return nil
	}
	ctx, cancel := t.bound(ctx)
	defer cancel()
	if err := t.config.Group.Barrier(ctx); err != nil {
		return fmt.Errorf("leave the team: %w", err)
	}
	return nil
}

// ErrKinds is returned where workers of a strict job compute differently.
var ErrKinds = errors.New("another numeric kind")

// Pass hands another worker a message under a tag that nobody else uses. It may be
// called while other calls of the team are under way, as may [Team.Accept].
func (t *Team) Pass(ctx context.Context, to int, tag string, said []byte) error {
	ctx, cancel := t.bound(ctx)
	defer cancel()
	return t.config.Group.Send(ctx, to, "pass "+tag, said)
}

// Accept takes what another worker passes under a tag.
func (t *Team) Accept(ctx context.Context, from int, tag string) ([]byte, error) {
	ctx, cancel := t.bound(ctx)
	defer cancel()
	return t.config.Group.Recv(ctx, from, "pass "+tag)
}
