// Package cli holds the verbs that compute: demo, prune, eval, export and bench,
// and the launcher through which the coordinating verbs run a job on this
// machine. It chooses the device and says why, and leaves everything else to the
// packages below; it does not follow a job or print results of one: the view is
// handed in by main, so that this package does not know the coordinator.
package cli
