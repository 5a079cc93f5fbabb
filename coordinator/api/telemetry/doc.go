// Package telemetry is how Ressa's processes use OpenTelemetry: it names traces,
// makes the providers of their spans, and takes spans that have ended to a collector.
//
// It guarantees that no span ever waits for a collector: those that ended stand in a
// queue of bounded length, and what finds it full is dropped and counted; that every
// process knows the trace of a step or of a job without being told, since its ID
// follows from the job, the generation and the step; and that the standard OTEL_*
// variables say where spans go. Without one of them, and without an address in the
// job, nothing leaves the process and no connection is made.
//
// It decides nothing about which steps are worth a trace: package trainer/trace does
// for steps; the coordinator's decisions always are. Both, and the command line, are
// the callers.
package telemetry
