// Package link makes a node part of the message plane: it runs the node's own NATS
// server for tensors and joins groups over it. [Node.Join] dials the servers of all
// peers at once, at every address they name, and the group then uses the best way
// that works to each: direct (the peer's server was dialled), reverse (the peer
// dialled this node's server and listens there), or the hub. [Session.Reach] tells
// which.
//
// Everything ends within the context's deadline and the dial timeout; a peer that
// cannot be reached in any way fails the join with its name. Which peers there are
// and where is the coordinator's to say. Package trainer/job uses it, and `ressa
// bench collective`.
package link
