// Package cli holds the verbs that coordinate: init, validate, repair, resume,
// status, version, and the view that follows a job. Verbs that compute live in
// trainer/cli; what runs a job on this machine is handed in as a [Launcher], so
// that this package does not know the trainer. main wires both.
//
// It guarantees the contract of the command line: results on standard output and
// diagnostics on standard error, flags before RESSA_* variables before the
// configuration file, one clear error, and the exit codes of package api.
package cli
