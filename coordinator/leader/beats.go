package leader

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
	"ressa/shard"
)

// Beat takes in what a node says of itself and returns what it is to do. Only the
// leader can. Errors wrap those of schedule.Admit and of package state.
func (l *Loop) Beat(ctx context.Context, node string, b api.Beat) (api.BeatReply, error) {
	r := l.leading()
	if r == nil {
		return api.BeatReply{}, ErrNotLeader
	}
	reply := api.BeatReply{Leader: l.config.ID, LeaseSeconds: l.config.Schedule.Lease.Seconds(), Assignments: []api.Assignment{}, Hub: l.config.Nodes.URLs()}
	if b.Info != nil {
		if b.Info.Name != node || b.Info.Session != b.Session {
			return reply, fmt.Errorf("beat of node %q brings the inventory of %q: %w", node, b.Info.Name, state.ErrInvalid)
		}
		if err := l.register(ctx, r, *b.Info); err != nil {
			return reply, err
		}
	}
	n := l.config.State.State().Node(node)
	if n == nil || n.Info.Session != b.Session || n.State == api.NodeLeft && !b.Leaving {
		reply.Register = true
		return reply, nil
	}
	now := r.now()
	before := r.leases.Of(node, now)
	r.leases.Observe(node, b, now)
	l.logHealth(n, before, r.leases.Of(node, now))
	if b.Leaving || n.State != api.NodeReady || before.Session != b.Session || !slices.EqualFunc(before.Tasks, b.Tasks, sameState) || !slices.Equal(before.Health, b.Health) {
		r.alert()
	}
	if as := l.config.State.State().Assignments(node, b.Session); as != nil {
		reply.Assignments = as
	}
	return reply, nil
}

// sameState reports whether no decision depends on the difference.
func sameState(a, b api.Task) bool {
	return a.Job == b.Job && a.Generation == b.Generation && a.State == b.State
}

// register takes up a node, unless the state knows all of it already.
func (l *Loop) register(ctx context.Context, r *reign, info api.NodeInfo) error {
	s := l.config.State.State()
	reason, err := schedule.Admit(s, r.leases.Of(info.Name, r.now()), info, l.config.Version, l.config.Schedule)
	if err != nil {
		return err
	}
	if n := s.Node(info.Name); n != nil && n.State == api.NodeReady && reflect.DeepEqual(n.Info, info) {
		return nil
	}
	_, err = l.Propose(ctx, &state.Register{Info: info, Reason: reason})
	return err
}

// Plan returns where a job would run if every node that takes jobs were free. Only
// the leader can. An error with an exit code of its own is the job's.
func (l *Loop) Plan(ctx context.Context, request api.JobRequest) (api.PlanReply, error) {
	r := l.leading()
	if r == nil {
		return api.PlanReply{}, ErrNotLeader
	}
	in := schedule.Input{Config: l.config.Schedule, State: l.config.State.State(), Leases: r.view(), Now: l.config.Now(), Plan: shard.MakePlan, Memo: &r.memo}
	nodes := schedule.Able(in)
	if len(nodes) == 0 {
		return api.PlanReply{}, api.Invalid(fmt.Errorf("no node takes jobs: nothing can be placed"))
	}
	var found api.Inspection
	var err error
	for _, node := range nodes {
		if found, err = l.config.Nodes.Inspect(ctx, node, request.Spec); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return api.PlanReply{}, fmt.Errorf("no node answered: %w", err)
	}
	if found.Error != "" {
		if found.ExitCode == api.ExitInvalid {
			return api.PlanReply{}, api.Invalid(fmt.Errorf("%s", found.Error))
		}
		return api.PlanReply{}, fmt.Errorf("%s", found.Error)
	}
	planned, err := schedule.Placement(in, &state.Job{Request: request, Inspection: &found})
	if err != nil {
		return api.PlanReply{}, api.Invalid(fmt.Errorf("the job cannot be placed: %w", err))
	}
	out := api.PlanReply{Plan: planned.Plan, Explanation: planned.Explanation, StepSeconds: planned.StepSeconds, Memory: []api.WorkerMemory{}}
	for _, x := range planned.Memory {
		out.Memory = append(out.Memory, api.WorkerMemory(x))
	}
	return out, nil
}
