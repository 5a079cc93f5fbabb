// Package client calls the HTTP API of the coordinators: one method for each
// endpoint, with the types of package api.
//
// It guarantees that a call ends: each attempt has a deadline, and a call that
// finds no coordinator, or none with a leader, tries all URLs in turn with a
// growing, jittered pause until the client's patience or the context ends. What
// it repeats can be repeated: submissions carry a token, reports and beats are
// the same the second time. Streams reconnect, to another coordinator where need
// be, and hand over each line once and in the order of its worker. Files of an
// output are checked against their SHA-256 and appear whole or not at all.
//
// Errors are [*Error] (a coordinator said no), [*UnreachableError] (none
// answered), or the context's; api.ExitCode knows what a verb ends with.
//
// It keeps no state but which coordinator answered last. Packages
// coordinator/cli and trainer/agent call it, and coordinators that join.
package client
