// Package server is the HTTP/JSON API of a coordinator, as docs/formats/api.md
// describes it: jobs, nodes, members, and streams of server-sent events.
//
// It guarantees that any member answers: what only the leader can do or knows is
// passed on to it, once; that every answer that is no success is an api.Error with
// the exit code of a verb; and that no request holds memory beyond a bound or a
// connection without a deadline, but for streams, which say something every few
// seconds. It decides nothing: package cluster holds the state and proposes.
package server
