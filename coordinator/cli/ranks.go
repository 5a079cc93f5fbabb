package cli

import (
	"fmt"

	"ressa/coordinator/api"
	"ressa/shard"
)

// naming names roles with no more words than tell them apart: "vision",
// "language stage 1", "language replica 2".
type naming struct{ staged, replicated map[string]bool }

func namingOf(ranks []api.Rank) naming {
	n := naming{map[string]bool{}, map[string]bool{}}
	for _, r := range ranks {
		n.staged[r.Role] = n.staged[r.Role] || r.Stage > 0
		n.replicated[r.Role] = n.replicated[r.Role] || r.Replica > 0
	}
	return n
}

func (n naming) of(r api.Rank) string {
	text := r.Role
	if n.staged[r.Role] {
		text += fmt.Sprintf(" stage %d", r.Stage)
	}
	if n.replicated[r.Role] {
		text += fmt.Sprintf(" replica %d", r.Replica)
	}
	return text
}

// ranksOf are the roles of a plan.
func ranksOf(p shard.Plan) []api.Rank {
	var out []api.Rank
	for w, node := range p.Nodes {
		for _, r := range p.Roles(w) {
			out = append(out, api.Rank{Node: node, Role: r.Tower, Stage: r.Stage, Replica: r.Replica})
		}
	}
	return out
}

// mostNodeLines is how many nodes a live view shows.
const mostNodeLines = 8

// nodeLines words how the nodes of a job are doing, a line each: those that are
// not well first, where there are more than fit.
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
		line := fmt.Sprintf("  %s %-*s  %-*s  %6d microbatches  %s", mark, name, n, role, does[n], done[n], state)
		if mark == isWell {
			well = append(well, line)
		} else {
			ill = append(ill, line)
		}
	}
	all := append(ill, well...)
	if more := len(all) - mostNodeLines; more > 0 {
		all = append(all[:mostNodeLines], fmt.Sprintf("    and %d nodes more", more))
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
	case n.State != api.NodeReady:
		return isGone, n.State
	}
	return isWell, "heard " + heard(n) + " ago"
}
