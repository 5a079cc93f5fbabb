package step

import (
	"context"
	"fmt"

	"ressa/collective/reduce"
	"ressa/trainer/model"
)

// Peers joins the engine of one worker with those of the others of its job. All
// workers call Step for the same steps; every call fails when the context ends.
type Peers interface {
	Exchange
	// Owns reports whether this worker computes a node for a microbatch.
	Owns(node, microbatch int) bool
	// First reports whether this worker is the first of those that hold a node: the
	// one that tells the others about it.
	First(node int) bool
	// Replicas returns how many workers hold a node.
	Replicas(node int) int
	// Reduce joins the sums of sub-trees of microbatches that the holders of a node
	// have, along the tree, and writes the total to sum on all of them. parts are in
	// ascending order and as long as sum, which may be one of them: what masks drop is
	// in none. It rounds to the
	// engine's wire dtype before every addition and at the end.
	Reduce(ctx context.Context, step, node int, parts []reduce.Part[[]float32], sum []float32) error
	// Gather returns what each worker said, by worker.
	Gather(ctx context.Context, tag string, said []byte) ([][]byte, error)
}

// Remote stands for a node that other workers hold.
type Remote string

// Name implements [Node].
func (r Remote) Name() string { return string(r) }

// Forward implements [Node]; it fails.
func (r Remote) Forward(context.Context, *model.Lane, *Microbatch, []model.Edge) (model.Edge, Kept, error) {
	return model.Edge{}, nil, fmt.Errorf("%s is not held here", string(r))
}

// Backward implements [Node]; it fails.
func (r Remote) Backward(context.Context, *model.Lane, *Microbatch, Kept, model.Edge) ([]model.Edge, error) {
	return nil, fmt.Errorf("%s is not held here", string(r))
}
