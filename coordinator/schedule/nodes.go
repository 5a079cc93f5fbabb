package schedule

import (
	"fmt"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// watchNodes commits what the leases say: who is lost, left or back.
func (d *decider) watchNodes() {
	for _, n := range d.s.Nodes() {
		l, heard := d.lease(n)
		switch {
		case n.State == api.NodeReady && heard && l.Leaving:
			d.setNode(n, api.NodeLeft, "said goodbye")
		case n.State == api.NodeReady && l.Silent >= d.Config.Lease:
			d.setNode(n, api.NodeLost, fmt.Sprintf("silent for %s, its lease is %s", seconds(l.Silent), seconds(d.Config.Lease)))
		case n.State == api.NodeLost && heard && !l.Leaving && l.Silent < d.Config.Lease:
			d.setNode(n, api.NodeReady, "beats again")
		}
	}
}

func (d *decider) setNode(n *state.Node, to, reason string) {
	// A refusal means that the state holds another session by now: nothing to say.
	_ = d.do(&state.SetNode{Name: n.Info.Name, Session: n.Info.Session, State: to, Reason: reason})
}

// seconds prints a time the way people say it.
func seconds(t time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", t.Seconds()), ".0") + " s"
}

// gone says why a worker's node cannot go on with the job; empty if it can.
func (d *decider) gone(j *state.Job, w int) string {
	name := j.Plan.Nodes[w]
	n := d.s.Node(name)
	switch {
	case n == nil:
		return fmt.Sprintf("node %s is not registered any more", name)
	case n.Info.Session != j.Sessions[w]:
		return fmt.Sprintf("node %s was restarted (now process %d)", name, n.Info.PID)
	case n.State != api.NodeReady:
		return fmt.Sprintf("node %s is %s: %s", name, n.State, n.Reason)
	}
	if why := d.unfit(n); why != "" {
		return fmt.Sprintf("node %s: %s", name, why)
	}
	return ""
}

// occupied says why a ready node cannot take a new job now; empty if it can.
func (d *decider) occupied(n *state.Node) string {
	if j := d.s.Holder(n.Info.Name); j != nil {
		return n.Info.Name + " works for job " + j.ID
	}
	l, heard := d.lease(n)
	if !heard {
		return n.Info.Name + " has not been heard from yet"
	}
	for _, t := range l.Tasks {
		if t.State == "starting" || t.State == api.Running {
			return n.Info.Name + " still stops job " + t.Job
		}
	}
	return ""
}

// list joins names; of many it prints the first.
func list(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
