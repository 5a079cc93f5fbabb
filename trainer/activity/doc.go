// Package activity knows what a worker is doing: which parts of its work are under
// way, since when, and which of them only wait for another worker. Where a step does
// not come to its end, this tells the worker that is at fault from those that it
// holds up.
//
// It counts beginnings and ends, so that two reports with the same count mean that
// nothing has happened in between; it does not look into a computation, decides
// nothing and keeps no history. Work is told by the context that it runs with: what
// has no tracker in its context costs nothing and is not seen. Packages step, team
// and job say what they do; trainer/agent puts the reports into its beats, and
// coordinator/schedule draws the conclusions.
package activity
