// Package state is what the coordinators agree on: a replicated, deterministic
// state machine of jobs, plans, generations, nodes, members, published
// checkpoints and the decisions that led there.
//
// It guarantees that two replicas that apply the same commands hold the same
// bytes, wherever one of them was restored from a snapshot; that a node never
// works for two jobs; that a job's generation only grows and that what an older
// one reports is refused; and that everything it holds is bounded. Nothing in it
// reads a clock, draws a random number or does I/O: times and IDs arrive in
// commands. A [State] is an immutable value: readers keep it as long as they
// like, without a lock, and must not change what it points to.
//
// It does not judge: what is to be done, and why, is decided by package
// coordinator/schedule, whose commands it checks against the state that they
// meet. Leases and the progress of workers are not in it: they live in the memory
// of the leader. Package coordinator/cluster feeds it from Raft and serves it.
//
// # Versions
//
// A command is {"v":1,"type":…,"at":…,"body":{…}}, a snapshot {"v":1,…}. A version
// never changes its meaning or gains a field. A replica refuses a newer version
// with an error, which is the same on each that is as old; so a leader proposes a
// newer version only once all members understand it. What has nothing new in it is
// written as it was before, so that an older member can read it.
//
// Version 2 adds the command went-on and the changes of a job.
package state
