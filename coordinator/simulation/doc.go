// Package simulation holds no code of the product: its tests run coordinators, nodes
// and users in one process, in virtual time (testing/synctest), through schedules of
// faults that are drawn from a seed.
//
// Real are the replicated state with its snapshots (coordinator/state), the leader's
// loop with its proposals, inspections and beats (coordinator/leader), decisions and
// leases (coordinator/schedule), and plans (shard). Modelled are:
//
//   - Raft, as a log of a few hundred lines with terms, votes, elections, snapshots
//     and lost leadership. TestSimulationOnRaft runs the same world on hashicorp/raft
//     instead, which is slower and does not replay to the letter: its election
//     timeouts come from a source of the process, its goroutines race.
//   - Nodes, after trainer/agent: beats, registration, assignments, reports that are
//     repeated until they are taken in, the orphan timeout.
//   - Workers, after trainer/job: they meet on what their memories and disks hold,
//     vote on every step, apply it on all votes, keep the state of a step and of the
//     one before, write checkpoints on several disks and report broken exchanges. The
//     state is a hash per block, so that a step that is applied on anything but its
//     predecessor shows.
//   - The network, with HTTP's forwarding to the leader: delays, losses, duplicates,
//     reordering, cuts in one direction or both.
//
// A seed that fails prints what happened and the command that replays it. What the
// product and the world do to each other happens one thing at a time, in an order
// that does not depend on the scheduler; TestSeedsReplay holds that.
package simulation
