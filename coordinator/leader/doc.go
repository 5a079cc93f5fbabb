// Package leader is what a coordinator does while it leads: it hears nodes, decides
// by package schedule and proposes what was decided.
//
// It guarantees that decisions are made on a state that holds everything committed
// before this member led; that what only a leader knows (leases, progress of workers,
// inspections under way) is dropped when it stops leading, so that a new leader
// grants every node one full lease; and that neither a jump of the wall clock nor a
// pause of the process ends a lease. Beats cost no entry of the log.
//
// It opens no socket and no file: the log of Raft, the way to nodes and the clocks
// are given to it. Package coordinator/cluster runs it on the real ones, package
// coordinator/simulation on simulated ones.
package leader
