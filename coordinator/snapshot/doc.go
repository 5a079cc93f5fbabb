// Package snapshot is the file that `ressa operator snapshot save` writes: the
// replicated state of a cluster with what is known of where it comes from.
//
// It guarantees that a file that [Read] takes is, byte for byte, what [Write] wrote:
// a truncated, damaged or foreign one is an error that says so, and none makes it
// read more than [MaxState]. What the state in it means is package
// coordinator/state's to say; docs/formats/snapshot.md describes the file.
//
// It does no I/O of its own. Packages coordinator/server and coordinator/cli call
// it.
package snapshot
