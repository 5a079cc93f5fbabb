package shard

import "fmt"

// choose places both towers: on one node, or one tower on each half of them.
func choose(r Request, nodes []Node) (Planned, error) {
	blocks := func(i int) int { return len(r.Profile.Towers[i].Blocks) }
	n := max(r.Want, 1)
	if n > len(nodes) {
		return Planned{}, fmt.Errorf("plan: %d nodes are wanted and %d are there: %w", n, len(nodes), ErrImpossible)
	}
	if n == 1 {
		p := Solo(nodes[0].Name, blocks(0), blocks(1), r.Microbatches)
		return Planned{Plan: p, Explanation: []string{"one node holds both towers"}}, nil
	}
	p := Plan{Microbatches: r.Microbatches}
	var holders [2][]int
	for w := range n {
		p.Nodes = append(p.Nodes, nodes[w].Name)
		holders[w*2/n] = append(holders[w*2/n], w)
	}
	for i, t := range r.Profile.Towers {
		p.Stages = append(p.Stages, Stage{Tower: t.Role, Hi: blocks(i), Workers: holders[i], Owners: Spread(r.Microbatches, holders[i])})
	}
	return Planned{Plan: p, Explanation: []string{"each half of the nodes holds one tower"}}, nil
}
