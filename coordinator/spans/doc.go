// Package spans tells what a coordinator decides about jobs as spans of OpenTelemetry, in
// the trace of each job: who was submitted, planned, lost and recovered when, with links
// to the steps that this hit.
//
// It guarantees that no decision waits for it: it reads the replicated state behind the
// leader's back, and hands spans to queues that drop what does not fit. Only the leader
// tells; a new leader goes on with what is decided from then on, and whoever leads when a
// job ends makes the span of the whole job, the root of its trace. What a leader had
// decided in its last second and not delivered when it was killed is told by nobody; the
// history has it. Verb coordinator runs it.
package spans
