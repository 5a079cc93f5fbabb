package cluster_test

import (
	"log/slog"

	"ressa/shard"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// onOne is a plan with everything on one node.
func onOne(node string) shard.Plan {
	return shard.Plan{Nodes: []string{node}, Microbatches: 2, Stages: []shard.Stage{
		{Tower: shard.Vision, Hi: 1, Workers: []int{0}, Owners: []int{0, 0}}, {Tower: shard.Language, Hi: 1, Workers: []int{0}, Owners: []int{0, 0}}}}
}
