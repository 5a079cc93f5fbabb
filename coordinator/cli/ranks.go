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
