package schedule

import (
	"slices"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// Unfit says why a node must not compute: the first fatal finding about a device that
// it registered with. It is empty for a node that is well, that watches nothing, or
// that this leader has not heard. Like a lease it is known from beats alone: it ends
// when the node does not tell the finding any more, and with the node's session.
func Unfit(n *state.Node, l Lease) string {
	if l.Session != n.Info.Session {
		return ""
	}
	for _, f := range l.Health {
		if f.Severity == api.Fatal && slices.ContainsFunc(n.Info.Devices, func(d api.Device) bool { return d.Name == f.Device }) {
			return f.Reason
		}
	}
	return ""
}

// unfit says why a node that could be used otherwise must not be.
func (d *decider) unfit(n *state.Node) string { return Unfit(n, d.Leases.Of(n.Info.Name)) }

// sick reports whether a worker's node is unfit: what the worker says of its failure
// is then a consequence.
func (d *decider) sick(j *state.Job, worker int) bool {
	if worker < 0 || worker >= len(j.Plan.Nodes) {
		return false
	}
	n := d.s.Node(j.Plan.Nodes[worker])
	return n != nil && n.Info.Session == j.Sessions[worker] && d.unfit(n) != ""
}

// spared names the nodes that take no job because they are unfit, to be added to a
// reason; empty for none.
func (d *decider) spared() string {
	var out []string
	for _, n := range d.s.Nodes() {
		if n.State == api.NodeReady {
			if why := d.unfit(n); why != "" {
				out = append(out, n.Info.Name+" is unfit ("+why+")")
			}
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "; " + list(out)
}
