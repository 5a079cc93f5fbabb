package state

import (
	"fmt"
	"slices"
	"time"

	"ressa/coordinator/api"
	"ressa/shard"
)

func (c *Report) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	r := c.Report
	// A job that ended in this generation wants no more reports, and who repeats
	// one until it is taken has to be answered.
	if j.Over() && r.Generation == j.Generation {
		return Reply{Job: d.jobs[c.Job], Existing: true}, nil
	}
	if err := j.of(r.Generation); err != nil {
		return Reply{}, err
	}
	if j.Plan.Worker(r.Node) != r.Worker {
		return Reply{}, fmt.Errorf("node %s reports as worker %d of job %s, whose workers are on %v: %w", r.Node, r.Worker, j.ID, j.Plan.Nodes, ErrConflict)
	}
	if j.Report(r.Worker) != nil {
		return Reply{Job: d.jobs[c.Job], Existing: true}, nil
	}
	if r.Worker != 0 {
		r.Result = nil
	} else if r.State == api.Succeeded && r.Result == nil {
		return Reply{}, fmt.Errorf("worker 0 of job %s reports success without a result: %w", j.ID, ErrInvalid)
	}
	j.Reports = append(slices.Clip(j.Reports), Received{d.index, d.at, r})
	d.decide(j, r.Node, "reported", reportText(r))
	return d.put(j), nil
}

func reportText(r api.Report) string {
	s := fmt.Sprintf("worker %d on node %s %s in generation %d", r.Worker, r.Node, r.State, r.Generation)
	if r.Error != "" {
		s += ": " + r.Error
	}
	return s
}

func (c *Finish) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if j.Over() || c.Generation < j.Generation {
		return Reply{}, fmt.Errorf("generation %d of job %s, which is %s in generation %d: %w", c.Generation, j.ID, j.State, j.Generation, ErrStaleGeneration)
	}
	if c.Generation > j.Generation {
		return Reply{}, fmt.Errorf("generation %d of job %s, which is in generation %d: %w", c.Generation, j.ID, j.Generation, ErrConflict)
	}
	if c.State == api.Succeeded {
		r := j.Report(0)
		if !j.Active() || r == nil || r.State != api.Succeeded || r.Result == nil {
			return Reply{}, fmt.Errorf("job %s cannot succeed without the result of worker 0: %w", j.ID, ErrConflict)
		}
		j.Result = r.Result
	}
	j.Step = max(j.Step, c.Step)
	d.end(j, c.State, c.ExitCode, c.Node, c.Reason)
	return d.finished(j), nil
}

// end brings a job to its end; finished puts it back and forgets the oldest.
func (d *draft) end(j *Job, state string, code int, node, reason string) {
	j.State, j.ExitCode, j.FailedNode, j.Reason = state, code, node, reason
	j.Ended, j.EndOrder, j.Wait = d.at, d.index, ""
	if j.Inspection != nil {
		in := *j.Inspection
		in.Profile = shard.Profile{}
		j.Inspection = &in
	}
	d.decide(j, node, state, reason)
}

func (d *draft) finished(j *Job) Reply {
	r := d.put(j)
	d.forgetJobs()
	return r
}

func (c *Cancel) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	switch {
	case j.State == api.Cancelling || j.State == api.Cancelled:
		return Reply{Job: d.jobs[c.Job], Existing: true}, nil
	case j.Over():
		return Reply{}, fmt.Errorf("job %s has %s already: %w", j.ID, j.State, ErrConflict)
	}
	j.Cancelled = d.at
	if j.State == api.Pending {
		d.end(j, api.Cancelled, api.ExitCancelled, "", c.Reason)
		return d.finished(j), nil
	}
	j.State, j.Reason = api.Cancelling, c.Reason
	d.decide(j, "", api.Cancelling, c.Reason)
	return d.put(j), nil
}

func (c *Resume) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if j.State != api.Failed && j.State != api.Cancelled {
		return Reply{}, fmt.Errorf("job %s is %s, only a failed or cancelled one can be resumed: %w", j.ID, j.State, ErrConflict)
	}
	if d.open >= MaxOpen {
		return Reply{}, fmt.Errorf("%d jobs have not ended, at most %d may wait: %w", d.open, MaxOpen, ErrFull)
	}
	// Model and data are looked at again: they may be why it failed.
	j.Inspection, j.Plan, j.Devices, j.Sessions, j.Explanation, j.Reports = nil, shard.Plan{}, nil, nil, nil, nil
	j.State, j.Order, j.Ended, j.EndOrder, j.Cancelled, j.WaitSince = api.Pending, d.index, time.Time{}, 0, time.Time{}, d.at
	j.Stalled, j.Passed, j.ExitCode, j.FailedNode, j.Progress, j.Placeable = 0, 0, 0, "", false, false
	j.Reason = "waits to be inspected by a node"
	d.decide(j, "", "resumed", c.Reason)
	return d.put(j), nil
}

func (c *Publish) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	p := c.Published
	if err := j.of(p.Generation); err != nil {
		return Reply{}, err
	}
	if last := j.Checkpoint(); last.Generation == p.Generation && last.Step == p.Step && last.SHA256 == p.SHA256 && last.Store == p.Store && slices.Equal(last.Nodes, p.Nodes) {
		return Reply{Job: d.jobs[c.Job], Existing: true}, nil
	}
	highest := -1
	var kept []api.Published
	for _, old := range j.Checkpoints {
		highest = max(highest, old.Step)
		if old.Step != p.Step {
			kept = append(kept, old)
		}
	}
	keep := c.Keep
	if keep == 0 || keep > MaxCheckpoints {
		keep = MaxCheckpoints
	}
	kept = append(kept, p)
	j.Checkpoints = kept[max(0, len(kept)-keep):]
	j.Progress = j.Progress || p.Step > highest
	where := fmt.Sprintf("on %v", p.Nodes)
	if p.Store != "" {
		where += " and in " + p.Store
	}
	d.decide(j, "", "checkpoint", fmt.Sprintf("step %d of generation %d is %s", p.Step, p.Generation, where))
	return d.put(j), nil
}
