// Package trace records what one worker does in each step, as spans of
// OpenTelemetry: of a step, of the towers' forward and backward passes, of what is
// sent and received, of reductions and updates.
//
// It guarantees that all workers of a step record into the same trace, whose ID
// follows from job, generation and step, so that nothing has to be agreed on; that the
// last steps stay in memory, whatever is exported; and that a step is exported as a
// whole, by every worker or none: one in so many, and always those that were slow or
// failed, which is known only when they have ended. No bit of a result depends on it,
// and nothing waits for a collector.
//
// Where the context has no step, [Begin] does nothing and costs next to nothing. Package
// trainer/job opens a [Recorder] for a job and begins its steps; packages
// trainer/step and trainer/exchange begin spans.
package trace
