// Package jaeger reads the trace of a step from Jaeger's query API.
//
// It guarantees that a call ends, that an answer of any size or content costs bounded
// memory, and that what it returns has the form in which nodes answer for themselves. It
// knows the trace's ID from job, generation and step, and searches for nothing. Verb
// trace calls it.
package jaeger
