// Package api holds the types that users and processes exchange: the job file
// and, as they come, the requests and answers of the coordinator. It guarantees
// that a job which parsed is complete and valid in itself: defaults are filled in
// and every bad or unknown field was reported with its name and position.
//
// It opens no file that a job names, does no I/O and imports nothing of ours:
// coordinator, trainer and the command line all depend on it.
package api
