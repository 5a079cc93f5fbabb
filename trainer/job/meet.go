package job

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/team"
)

// hello is what a worker tells the others once it has opened what it needs.
type hello struct {
	Error    string // why it cannot take part
	ExitCode int
	Kind     string // numeric
	Config   string // hash of the job
}

// agree lets the team begin where every worker can. Otherwise all end with the
// first worker's error, as one of the user's to mend. What this worker could not open
// because it was stopped, or for want of room on its disk, says nothing about the job:
// then it leaves the others without an answer.
func (r *run) agree(ctx context.Context, own error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if errors.Is(own, unix.ENOSPC) {
		return own
	}
	mine := hello{Kind: r.Device.Kind(), Config: r.identity.Config}
	if own != nil {
		mine.Error = own.Error()
	}
	all, err := r.Team.Gather(ctx, "hello", encoded(mine))
	if own != nil {
		return api.Invalid(own)
	}
	if err != nil {
		return err
	}
	nodes := r.Team.Plan().Nodes
	first := hello{}
	for w, raw := range all {
		var h hello
		if err := decoded(raw, &h); err != nil {
			return err
		}
		if w == 0 {
			first = h
		}
		switch {
		case h.Error != "":
			return api.Invalid(fmt.Errorf("node %s: %s", nodes[w], h.Error))
		case h.Kind != first.Kind && r.job.Train.Numerics != "relaxed":
			return api.Invalid(fmt.Errorf("node %s computes as %s, node %s as %s; a strict job (train.numerics) needs one numeric kind: %w",
				nodes[w], h.Kind, nodes[0], first.Kind, team.ErrKinds))
		case h.Config != first.Config:
			return fmt.Errorf("node %s was given another job than node %s", nodes[w], nodes[0])
		}
	}
	return nil
}

// opening is where a worker finds the run to be.
type opening struct {
	State  state
	Result *api.Result // of a run that has succeeded
	Steps  []api.Step  // for the picture, where the chief does not know them
}

// meet brings all workers to where the run is: the chief's folder says it, or the
// memory of a worker of an earlier generation, where the chief is new. The run may be
// over: a generation may begin after the result was written and before it was told.
func (r *run) meet(ctx context.Context) (err error) {
	if r.Team == nil {
		r.restoreCount()
		return nil
	}
	all, err := r.team.Gather(ctx, "who knows the run", encoded(r.resumed))
	if err != nil {
		return err
	}
	knows := 0
	for w := len(all) - 1; w >= 0; w-- {
		var known bool
		if err := decoded(all[w], &known); err != nil {
			return err
		}
		if known {
			knows = w
		}
	}
	said := opening{State: *r.state}
	if r.team.Chief() && r.resumed && r.state.State == api.Succeeded {
		// What cannot be read is found out again.
		if said.Result, err = readResult(r.folder.path(resultFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.Log.Warn("result of the run not read", "error", err)
		}
	}
	if knows > 0 {
		said.Steps = r.Memory.past()
	}
	raw, err := r.team.Tell(ctx, "state of the run", knows, encoded(said))
	if err != nil {
		return err
	}
	said = opening{}
	if err := decoded(raw, &said); err != nil {
		return err
	}
	if said.State.Scores == nil {
		said.State.Scores = map[string]*api.Score{}
	}
	r.state, r.steps = &said.State, said.Steps
	if said.Result != nil {
		r.result, r.over = *said.Result, true
	}
	return nil
}

// restoreCount takes over what earlier processes of a run without a team did.
func (r *run) restoreCount() {
	for i := range r.done {
		r.done[i] = r.state.Microdone
	}
}

// count adds the microbatches of a step that this worker computed.
func (r *run) count() {
	for i, stage := range r.team.Plan().Stages {
		for _, w := range stage.Owners {
			if w == r.team.Worker() {
				r.done[i]++
			}
		}
	}
	r.state.Microdone += r.job.Train.Microbatches
	r.progress()
}

// progress tells how far this worker is.
func (r *run) progress() {
	if r.Progress == nil || r.team == nil {
		return
	}
	p := Progress{Phase: r.state.Phase, Step: r.state.Step}
	for i, n := range r.done {
		if r.team.Holds(i) {
			p.Microbatches = append(p.Microbatches, n)
		}
	}
	r.Progress(p)
}

// ranks are the roles of this process.
func (r *run) ranks() []api.Rank {
	out := []api.Rank{}
	if r.team == nil {
		return out
	}
	plan := r.team.Plan()
	for i, stage := range plan.Stages {
		for replica, w := range stage.Workers {
			if w == r.team.Worker() {
				out = append(out, api.Rank{Node: plan.Nodes[w], PID: os.Getpid(), Role: stage.Tower, Stage: stage.Index, Replica: replica, Microbatches: r.done[i]})
			}
		}
	}
	return out
}

// gatherRanks gathers the ranks of all workers for the result.
func (r *run) gatherRanks(ctx context.Context) error {
	all, err := r.team.Gather(ctx, "ranks", encoded(r.ranks()))
	if err != nil {
		return err
	}
	r.result.Ranks = []api.Rank{}
	for _, raw := range all {
		var said []api.Rank
		if err := decoded(raw, &said); err != nil {
			return err
		}
		r.result.Ranks = append(r.result.Ranks, said...)
	}
	return nil
}

// localRanks are the roles of a process that holds both towers.
func localRanks(pid, microbatches int) []api.Rank {
	return []api.Rank{
		{Node: hostname(), PID: pid, Role: shard.Vision, Microbatches: microbatches},
		{Node: hostname(), PID: pid, Role: shard.Language, Microbatches: microbatches},
	}
}
