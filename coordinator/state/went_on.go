package state

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ressa/coordinator/api"
)

// What is kept of a job's changes of generation: the first ones and the newest.
const (
	MaxChanges  = 100
	changesHead = 20
	maxPause    = 1e9 // seconds
)

// WentOn says where training went on in a generation after the first, and what the
// change cost. It is of version 2.
type WentOn struct {
	Job        string     `json:"job"`
	Generation int        `json:"generation"`
	Origin     api.Origin `json:"origin"`
}

func (*WentOn) kind() string { return "went-on" }

// Change returns what is known of how the job came to a generation; nil for nothing.
func (j *Job) Change(generation int) *api.Change {
	i, found := slices.BinarySearchFunc(j.Changes, generation, func(c api.Change, g int) int { return cmp.Compare(c.Generation, g) })
	if !found {
		return nil
	}
	return &j.Changes[i]
}

func (c *WentOn) check() error {
	o := &c.Origin
	err := errors.Join(name("job", c.Job), oneOf("origin.from", o.From, api.FromMemory, api.FromCheckpoint, api.FromStart),
		count("origin.step", o.Step, 1<<31-1), short("origin.holder", o.Holder, 0), count("origin.steps_lost", o.StepsLost, 1<<31-1))
	if ok := o.Pause >= 0 && o.Pause <= maxPause; !ok { // nor is NaN
		err = errors.Join(err, fmt.Errorf("origin.pause: found %v, want 0 to %v seconds", o.Pause, float64(maxPause)))
	}
	return err
}

func (c *WentOn) apply(d *draft) (Reply, error) {
	j, err := d.edit(c.Job)
	if err != nil {
		return Reply{}, err
	}
	if err := j.of(c.Generation); err != nil {
		return Reply{}, err
	}
	if c.Generation == 1 {
		return Reply{}, fmt.Errorf("job %s: generation 1 comes after none: %w", j.ID, ErrConflict)
	}
	if j.Change(c.Generation) != nil {
		return Reply{Job: d.jobs[c.Job], Existing: true}, nil
	}
	x := because(j)
	x.Origin, x.WentOn = c.Origin, d.at
	j.Changes = append(slices.Clone(j.Changes), x)
	if len(j.Changes) > MaxChanges {
		j.Changes = slices.Delete(j.Changes, changesHead, changesHead+1)
	}
	d.decide(j, "", "went-on", fmt.Sprintf("generation %d %s", c.Generation, c.Origin))
	return d.put(j), nil
}

// because says why the job is in its generation, as its decisions tell.
func because(j *Job) api.Change {
	end := len(j.History) - 1
	for end >= 0 && j.History[end].Action != actionPlanned {
		end--
	}
	if end < 0 { // a history that has been cut
		return api.Change{Generation: j.Generation, Cause: j.Reason, CausedAt: j.PlannedAt, Planned: j.PlannedAt}
	}
	begin := end
	for begin > 0 && j.History[begin-1].Action != actionPlanned {
		begin--
	}
	return changed(j.Generation, j.History[begin:end+1])
}

// Changes returns how the job came to each of its generations after the first: as
// far as training went on in them, what was recorded then, else what its decisions
// tell.
func Changes(j *Job) []api.Change {
	var out []api.Change
	begin, plans := 0, 0
	for i, e := range j.History {
		if e.Action != actionPlanned {
			continue
		}
		var g int
		if _, err := fmt.Sscanf(e.Reason, "generation %d:", &g); err == nil && plans > 0 && j.Change(g) == nil {
			out = append(out, changed(g, j.History[begin:i+1]))
		}
		begin = i + 1
		plans++
	}
	out = append(out, j.Changes...)
	slices.SortFunc(out, func(a, b api.Change) int { return cmp.Compare(a.Generation, b.Generation) })
	return out
}

// changed finds the cause of a change among the decisions from behind one plan up to
// the next. What the leader gave as its reason for the new plan, or for taking the
// job off the old one, is what it held for the cause; the first decision that speaks
// of a node's end, else of a worker's, tells where that is and since when.
func changed(generation int, since []api.Decision) api.Change {
	plan := since[len(since)-1]
	c := api.Change{Generation: generation, Cause: reasonOf(plan), CausedAt: plan.At, Planned: plan.At}
	node := ""
	for _, e := range since[:len(since)-1] {
		switch e.Action {
		case "node-lost", "node-left", "registered":
			node = cmp.Or(node, e.Node)
			c.CausedAt = earlier(c, plan, e)
		case "reported":
			if strings.Contains(e.Reason, " "+api.Succeeded+" in generation") {
				continue
			}
			c.Node = cmp.Or(c.Node, e.Node)
			c.CausedAt = earlier(c, plan, e)
		case "unplanned", "resumed":
			c.Cause = reasonOf(e)
			c.CausedAt = earlier(c, plan, e)
		}
	}
	c.Node = cmp.Or(node, c.Node)
	return c
}

// earlier returns when the first of the decisions about a change was made.
func earlier(c api.Change, plan, e api.Decision) time.Time {
	if c.CausedAt.Equal(plan.At) {
		return e.At
	}
	return c.CausedAt
}

// reasonOf returns the cause in the reason of a decision, without what followed.
func reasonOf(e api.Decision) string {
	why := e.Reason
	if head, rest, ok := strings.Cut(why, ": "); ok && strings.HasPrefix(head, "generation ") {
		why = rest
	}
	for _, rest := range []string{"; goes on ", "; no plan on who is left: ", ": runs on "} {
		why, _, _ = strings.Cut(why, rest)
	}
	return why
}
