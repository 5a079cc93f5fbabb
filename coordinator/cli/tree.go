package cli

import (
	"fmt"
	"slices"

	"ressa/coordinator/api"
)

// mostNodeLines is how many nodes a live view shows.
const mostNodeLines = 8

// treeLines words how a job is doing: its generation, how it came to it and what that
// cost, and below it its nodes with their ranks, a line each; those that are not well
// come first, where there are more than fit. last is the newest change of generation.
func treeLines(j api.JobRecord, nodes []api.NodeRecord, last *api.Change) []string {
	if len(j.Plan.Nodes) == 0 {
		return nil
	}
	of := "nodes"
	if len(j.Plan.Nodes) == 1 {
		of = "node"
	}
	top := fmt.Sprintf("  generation %d on %d %s", j.Status.Generation, len(j.Plan.Nodes), of)
	var out []string
	if last != nil && last.Generation == j.Status.Generation {
		out = append(out, top+": "+last.Cause, "  │ "+costOf(*last))
	} else {
		out = append(out, top)
	}
	if j.Status.Stalled != "" {
		out = append(out, "  │ ▲ "+j.Status.Stalled)
	}
	below := nodeLines(j, nodes)
	for i, line := range below {
		branch := "  ├ "
		if i == len(below)-1 {
			branch = "  └ "
		}
		out = append(out, branch+line)
	}
	return out
}

// costOf words where training went on after a change of generation.
func costOf(c api.Change) string {
	if c.From == "" {
		return "training has not gone on yet"
	}
	return c.Origin.String()
}

// nodeLines words how the nodes of a job are doing.
func nodeLines(j api.JobRecord, nodes []api.NodeRecord) []string {
	known := map[string]api.NodeRecord{}
	for _, n := range nodes {
		known[n.Name] = n
	}
	names := namingOf(j.Status.Ranks)
	does, done := map[string]string{}, map[string]int{}
	for _, r := range j.Status.Ranks {
		if does[r.Node] != "" {
			does[r.Node] += ", "
		}
		does[r.Node] += names.of(r)
		done[r.Node] = max(done[r.Node], r.Microbatches)
	}
	name, role := 0, 0
	for _, n := range j.Plan.Nodes {
		name, role = max(name, len(n)), max(role, len(does[n]))
	}
	var well, ill []string
	for _, n := range j.Plan.Nodes {
		mark, state := wellness(known, n)
		line := fmt.Sprintf("%s %-*s  %-*s  %6d microbatches  %s", mark, name, n, role, does[n], done[n], state)
		if mark == isWell && len(known[n].Health) == 0 {
			well = append(well, line)
		} else {
			ill = append(ill, line)
		}
	}
	all := slices.Concat(ill, well)
	if more := len(all) - mostNodeLines; more > 0 {
		all = append(all[:mostNodeLines], fmt.Sprintf("and %d nodes more", more))
	}
	return all
}

// Marks of how a node is.
const (
	isWell  = "●"
	isGoing = "○" // draining
	isGone  = "✗"
)

// wellness says how a node is, in a mark and in words.
func wellness(known map[string]api.NodeRecord, name string) (mark, words string) {
	n, ok := known[name]
	switch {
	case !ok:
		return isGone, "unknown"
	case n.State == api.NodeDraining:
		return isGoing, n.State
	case n.State != api.NodeReady && n.Reason != "":
		return isGone, n.State + ": " + n.Reason
	case n.State != api.NodeReady:
		return isGone, n.State
	}
	words = "heard " + heard(n) + " ago"
	for _, x := range n.Health {
		words += "  ▲ " + x.Reason
	}
	return isWell, words
}
