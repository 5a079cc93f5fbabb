// Package adapter attaches what is trained to the linear layers of a tower
// (SparseLoRA, plain LoRA, masked full-parameter, full dense), lays it out in
// one flat vector, initialises it, merges it back without losing a zero, and
// reads and writes it in PEFT's layout. Adapters are independent of how masks
// were made (package prune) and of how they are trained (package step).
//
// It guarantees that initial values depend on the seed and the name of the
// tensor alone, that the merged weight is the one that the student computed
// with, bit for bit, and that a masked weight merges to exactly +0.0.
//
// It does not make masks, run optimisers or write checkpoints: [Merger] hands
// over one tensor at a time. Packages job, export and the demo call it.
package adapter
