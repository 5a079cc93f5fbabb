// Package shard decides what goes where: it cuts the towers of a model into
// stages, chooses on which workers they run and how often, and says what that
// costs and why. Everything in it is a pure function of its input: no I/O, no
// clock, no randomness, so that any coordinator that replays a decision comes to
// the same plan.
//
// It guarantees that a plan covers every stage of every microbatch exactly once,
// fits the memory of every node by its cost model, or is an error that names the
// missing bytes. No bit of a job's result depends on the plan.
//
// [MakePlan] lists the ways to hold the towers on a number of nodes: each tower
// on nodes of its own, one node holding both where one tower's share of the work
// is no whole number of nodes, both towers on every node; and where towers do not
// fit whole, contiguous stages balanced by time within memory. A simulation of
// one step tells how long each takes: workers compute one thing at a time, take
// up microbatches in [Plan.Order] with a bounded number in flight, and send what
// crosses over links of measured bandwidth and latency; gradients are exchanged
// among replicas, with one partial sum for each maximal sub-tree of the reduction.
// Of plans that take about as long (5 %), it prefers fewer nodes, and towers apart.
//
// The cost model counts products of matrices at the speed of a dense product,
// weights as they are stored with one bit each for masks, and what a training step
// keeps. Evaluation, the reading of data and the writing of checkpoints are not
// modelled, nor is what hides a transfer behind another inside a node.
//
// It does not measure nodes or read models: profiles and inventories are given.
// Package trainer/job makes profiles and carries plans out; package
// coordinator/schedule plans jobs with it.
package shard
