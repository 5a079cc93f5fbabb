package state

import (
	"fmt"
	"reflect"

	"ressa/coordinator/api"
	"ressa/shard"
)

func (c *Submit) apply(d *draft) (Reply, error) {
	if j := d.Submitted(c.Request.Token); j != nil {
		if !reflect.DeepEqual(j.Request, c.Request) {
			return Reply{}, fmt.Errorf("token %q belongs to job %s, which was submitted with another request: %w", c.Request.Token, j.ID, ErrConflict)
		}
		return Reply{Job: j, Existing: true}, nil
	}
	if d.jobs[c.ID] != nil {
		return Reply{}, fmt.Errorf("the ID %s is taken: %w", c.ID, ErrConflict)
	}
	if d.open >= MaxOpen {
		return Reply{}, fmt.Errorf("%d jobs have not ended, at most %d may wait: %w", d.open, MaxOpen, ErrFull)
	}
	j := &Job{
		ID: c.ID, Name: c.Name, Request: c.Request, State: api.Pending,
		Reason: "waits to be inspected by a node", Submitted: d.at, Order: d.index,
	}
	d.decide(j, "", "submitted", "job "+c.Name+" was submitted")
	return d.put(j), nil
}

func (c *Inspected) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if j.State != api.Pending || j.Inspection != nil {
		return Reply{}, fmt.Errorf("job %s is %s and needs no inspection: %w", j.ID, j.State, ErrConflict)
	}
	if c.Inspection.Error != "" {
		code := c.Inspection.ExitCode
		if code == api.ExitDone {
			code = api.ExitFailed
		}
		d.end(j, api.Failed, code, c.Node, c.Inspection.Error)
		return d.finished(j), nil
	}
	in := c.Inspection
	j.Inspection = &in
	if in.Name != "" {
		j.Name = in.Name
	}
	j.Reason = "waits to be planned"
	d.decide(j, c.Node, "inspected", fmt.Sprintf("node %s found model and data in order: %d steps of %d microbatches", c.Node, in.Steps, in.Microbatches))
	return d.put(j), nil
}

func (c *Wait) apply(d *draft) (Reply, error) {
	var last Reply
	for _, w := range c.Jobs {
		j, err := d.edit(w.Job)
		if err != nil || j.State != api.Pending {
			continue
		}
		if j.Wait != w.Code {
			j.Wait, j.WaitSince = w.Code, d.at
			d.decide(j, "", "waiting", w.Reason)
		}
		if w.Code == Busy || w.Code == Reserved {
			j.Placeable = true
		}
		j.Reason = w.Reason
		last = d.put(j)
	}
	return last, nil
}

// endGeneration counts what a generation that is over has achieved.
func (j *Job) endGeneration(step int) {
	if step > j.Step || j.Progress {
		j.Stalled = 0
	} else {
		j.Stalled++
	}
	j.Step, j.Progress, j.Reports = max(j.Step, step), false, nil
}

// of refuses a command about a generation of an active job that is not its own.
func (j *Job) of(generation int) error {
	if generation < j.Generation || !j.Active() && generation == j.Generation {
		return fmt.Errorf("generation %d of job %s, which is %s in generation %d: %w", generation, j.ID, j.State, j.Generation, ErrStaleGeneration)
	}
	if generation > j.Generation {
		return fmt.Errorf("generation %d of job %s, which is %s in generation %d: %w", generation, j.ID, j.State, j.Generation, ErrConflict)
	}
	return nil
}

func (c *Plan) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if c.Generation <= j.Generation {
		return Reply{}, fmt.Errorf("generation %d of job %s, which is in generation %d: %w", c.Generation, j.ID, j.Generation, ErrStaleGeneration)
	}
	if c.Generation != j.Generation+1 || j.Over() || j.State == api.Cancelling || j.Inspection == nil {
		return Reply{}, fmt.Errorf("generation %d cannot start: job %s is %s in generation %d: %w", c.Generation, j.ID, j.State, j.Generation, ErrConflict)
	}
	if j.Inspection.Strict && j.Kind != "" && c.Kind != j.Kind {
		return Reply{}, fmt.Errorf("strict job %s runs on %s, found a plan on %s: %w", j.ID, j.Kind, c.Kind, ErrConflict)
	}
	if err := c.checkNodes(d, j); err != nil {
		return Reply{}, err
	}
	if j.Active() {
		j.endGeneration(c.Step)
		j.Replanned++
	}
	if j.Stalled >= MaxStalled {
		return Reply{}, fmt.Errorf("job %s: %d generations: %w", j.ID, j.Stalled, ErrStalled)
	}
	if over := d.jobs[c.Passed]; over != nil && over.State == api.Pending && c.Passed != j.ID {
		o := *over
		o.Passed++
		d.put(&o)
	}
	j.State, j.Generation, j.Plan, j.PlannedAt = api.Starting, c.Generation, c.Plan, d.at
	j.Kind, j.Devices, j.Sessions, j.Explanation, j.StepSeconds = c.Kind, c.Devices, c.Sessions, c.Explanation, c.StepSeconds
	j.Chief, j.Widest = c.Plan.Nodes[0], max(j.Widest, len(c.Plan.Nodes))
	j.Wait, j.Passed, j.Placeable, j.Reason = "", 0, true, c.Reason
	d.decide(j, "", actionPlanned, planPrefix(j.Generation)+c.Reason)
	return d.put(j), nil
}

// checkNodes verifies that the plan's nodes are still what they were when it was
// made, and free for the job.
func (c *Plan) checkNodes(d *draft, j *Job) error {
	for w, name := range c.Plan.Nodes {
		n := d.nodes[name]
		switch {
		case n == nil:
			return fmt.Errorf("node %q: %w", name, ErrNotFound)
		case n.State != api.NodeReady || n.Info.Session != c.Sessions[w]:
			return fmt.Errorf("node %s is %s in session %s, the plan was made for session %s: %w", name, n.State, n.Info.Session, c.Sessions[w], ErrConflict)
		case n.Draining && j.Plan.Worker(name) < 0:
			return fmt.Errorf("node %s is draining: %w", name, ErrConflict)
		}
		if holder := d.busy[name]; holder != "" && holder != j.ID {
			return fmt.Errorf("node %s works for job %s: %w", name, holder, ErrConflict)
		}
	}
	return nil
}

func (c *Unplan) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if err := j.of(c.Generation); err != nil {
		return Reply{}, err
	}
	if j.State == api.Cancelling {
		return Reply{}, fmt.Errorf("job %s is being cancelled: %w", j.ID, ErrConflict)
	}
	j.endGeneration(c.Step)
	j.State, j.Plan, j.Devices, j.Sessions, j.Explanation = api.Pending, shard.Plan{}, nil, nil, nil
	j.Reason, j.Wait, j.WaitSince = c.Reason, "", d.at
	d.decide(j, "", "unplanned", fmt.Sprintf("generation %d is over: %s", j.Generation, c.Reason))
	return d.put(j), nil
}

func (c *Started) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if err := j.of(c.Generation); err != nil {
		return Reply{}, err
	}
	if j.State != api.Starting {
		return Reply{Job: d.jobs[c.Job], Existing: true}, nil
	}
	j.State, j.Reason = api.Running, c.Reason
	if j.Started.IsZero() {
		j.Started = d.at
	}
	d.decide(j, "", "started", fmt.Sprintf("generation %d: %s", j.Generation, c.Reason))
	return d.put(j), nil
}
