// Package group moves messages between the ranks of one generation of a job over
// core NATS. A [Group] is one rank's membership: [Join] returns when every rank
// answers, [Group.Send] and [Group.Recv] pass messages of any size from one rank
// to another by tag, [Group.Barrier] waits for all, and [Group.Abort] ends every
// call of every rank with one reason.
//
// It guarantees that a message arrives whole or not at all: it is cut into
// chunks, each under a CRC-32C, each acknowledged when it was received; a lost or
// damaged chunk is an error, never a wrong message. A sender has a bounded number
// of chunks on the way per message, and a receiver that does not ask for a
// message holds back its acknowledgements, so neither NATS nor memory fills up.
// Messages between two ranks with one tag arrive in the order in which they were
// sent. Every call ends with its context, which must have a deadline. Messages of
// an older generation are dropped; one of a newer generation ends the group with
// [ErrSuperseded], since its plan is no longer the job's.
//
// What a broken connection or a killed server swallowed is sent again, and what comes
// twice is refused.
//
// It does not reduce, gather or broadcast (point-to-point suffices so far), encrypt (the connections do), or
// start servers: connections are passed in. A message to a rank that died waits
// for the deadline; membership is the coordinator's to decide.
//
// docs/formats/group.md describes the frames. Package trainer/exchange calls it.
package group
