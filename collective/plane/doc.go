// Package plane is the message plane that groups stand on: connections to NATS
// servers, and the server that every node embeds for tensors.
//
// A [Socket] is a NATS client of few words for large messages. It publishes from the
// caller's memory without a copy of its own and hands a message to the subscriber
// while it is still in the connection, so that the subscriber reads it to where it
// belongs: with nats.go, which copies twice on the way out and twice on the way in,
// an exchange takes a quarter longer. It speaks the documented client protocol over
// TCP, TLS or a server's in-process pipe, reconnects by itself and subscribes again;
// what was on the way meanwhile is lost, as core NATS has it. [Wrap] makes a
// connection of nats.go, with its credentials and clusters, into the same interface.
//
// It keeps nothing, acknowledges nothing and orders nothing beyond what one
// connection does; package group adds that. Packages group and link use it.
package plane
