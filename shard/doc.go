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
// It does not measure nodes or read models: profiles and inventories are given.
// Package coordinator/schedule plans jobs with it; package trainer/job carries
// plans out.
package shard
