// Package cluster is one member of the coordinators: it feeds the replicated state
// from Raft, carries the hub (NATS for control messages), and while it leads runs
// the loop of package leader.
//
// It guarantees that a command that was acknowledged is in the log of most members
// and on their disks, and that one member leads at a time.
//
// It does not speak HTTP: package coordinator/server serves it, on the listener
// that it shares with Raft.
package cluster
