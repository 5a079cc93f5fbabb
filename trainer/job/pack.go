package job

import (
	"context"
	"fmt"
	"slices"

	"ressa/trainer/adapter"
	"ressa/trainer/model"
	"ressa/trainer/step"
)

// pack drops what masks drop from the memory of the stages whose weights nobody
// needs dense from here on: that are not trained themselves, and that no teacher
// computes with here. Scores, the merge and the adapters' gradients see no
// difference, to the bit.
func (r *run) pack(ctx context.Context, g step.Graph, method adapter.Method) error {
	for i, p := range r.subject.Parts {
		node, ok := g.Nodes[i].(*step.TowerNode)
		if !ok || !packs(method, node.Flows) {
			continue
		}
		var linears []*model.Linear
		for _, n := range p.Tower.Linears() {
			if !n.Mask.IsZero() && n.Pruned.IsZero() {
				linears = append(linears, n)
			}
		}
		if err := p.Model.Pack(ctx, r.probes[0].Stream, linears...); err != nil {
			return fmt.Errorf("%s tower: %w", p.Role, err)
		}
	}
	return nil
}

// packs reports whether nobody needs the masked weights of a tower dense while it is
// trained.
func packs(method adapter.Method, flows []step.Flow) bool {
	if !method.LowRank() || method == adapter.LoRARemask { // which trains without its masks
		return false
	}
	return !slices.ContainsFunc(flows, func(f step.Flow) bool { return f.Variant == model.Dense })
}
