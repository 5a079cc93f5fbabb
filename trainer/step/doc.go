// Package step computes one training step: it walks every microbatch forward
// and backward through the graph of stages, sums the gradients along the fixed
// tree of package reduce, and updates the trained values with one decision on
// clipping for all towers.
//
// It guarantees that the result depends only on the step's microbatches and the
// state before it: not on the number of lanes, on which microbatch finishes
// first, or on which ranks hold which stages. Where the job's wire dtype rounds,
// it rounds at every edge of the graph and of the tree, also inside one process.
//
// It does not read data, write checkpoints or decide where stages live. Stages
// in other processes are reached through [Exchange], which package exchange
// implements. Package job is the caller.
package step
