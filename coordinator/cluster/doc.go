// Package cluster is one member of the coordinators: it feeds the replicated state
// from Raft, carries the hub (NATS for control messages), and while it leads
// decides and proposes what package schedule says.
//
// It guarantees that a command that was acknowledged is in the log of most members
// and on their disks; that decisions are made by one leader at a time, each on a
// state that holds everything committed before it led; and that what only a leader
// knows (leases, progress of workers) is dropped when it stops leading, so that a
// new leader grants every node one full lease. Beats cost no entry of the log.
//
// It does not speak HTTP: package coordinator/server serves it, on the listener
// that it shares with Raft.
package cluster
