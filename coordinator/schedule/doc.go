// Package schedule decides what the leader of the coordinators does next: which
// job a node should inspect, which one runs where, which node is lost, what
// follows from that, and when a job is over. A decision is a pure function of the
// replicated state, of what the leader has heard from nodes, and of the time that
// it is told; each comes with its reason in words.
//
// It guarantees that calling [Decide] again after a lost leader, a refused command
// or a crash in between comes to the same end: nothing that it relies on has to be
// remembered but the state. Jobs run in the order of their submission; a job
// that waits for nodes lets smaller ones pass, but not for ever. The first cause
// of a failure is what a job ends with, not the noise that follows it.
//
// It does no I/O and proposes nothing itself: package coordinator/leader calls
// Decide in a loop, proposes its commands to Raft and sends its orders to nodes.
// What fits where is decided by package shard.
package schedule
