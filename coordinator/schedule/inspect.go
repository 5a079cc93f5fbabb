package schedule

import (
	"fmt"
	"slices"

	"ressa/coordinator/state"
)

// inspect sends jobs that nobody has looked at yet to nodes: in the order of the
// queue, one a node, to nodes without work where there are any.
func (d *decider) inspect() {
	at := map[string]bool{}
	for _, i := range d.Inspecting {
		if i.Node != "" {
			at[i.Node] = true
		}
	}
	var idle, working []*state.Node
	nodes := d.ready()
	for _, n := range nodes {
		if _, heard := d.lease(n); !heard {
			continue
		}
		if d.occupied(n) == "" {
			idle = append(idle, n)
		} else {
			working = append(working, n)
		}
	}
	able := slices.Concat(idle, working)
	for _, j := range d.s.Pending() {
		if j.Inspection != nil {
			continue
		}
		now := d.Inspecting[j.ID]
		if now.Node != "" {
			d.waits(j, state.NeedsLook, "node "+now.Node+" inspects its model and data")
			continue
		}
		if len(able) == 0 {
			d.waits(j, state.NoNodes, fmt.Sprintf("no node can inspect it: %d of %d are ready%s", len(nodes), len(d.s.Nodes()), d.spared()))
			continue
		}
		i := slices.IndexFunc(able, func(n *state.Node) bool { return !at[n.Info.Name] && !slices.Contains(now.Tried, n.Info.Name) })
		switch {
		case i >= 0 && len(at) < d.Config.MaxInspections:
			n := able[i].Info.Name
			at[n] = true
			d.out.Inspect = append(d.out.Inspect, Order{Job: j.ID, Node: n, Spec: j.Request.Spec})
			d.waits(j, state.NeedsLook, "node "+n+" inspects its model and data")
		case len(now.Tried) >= len(able):
			d.waits(j, state.NoNodes, "no node answered when asked to inspect it: "+list(now.Tried))
		default:
			d.waits(j, state.NeedsLook, "waits for a node to inspect its model and data")
		}
	}
}
