// Package joblog keeps what the workers of jobs say over the hub: their log lines
// and their events, in one file each of a coordinator's folder, for as long as the
// state knows the job.
//
// It guarantees that a line is kept once, in the order in which it arrived, that
// readers get lines in that order and are woken by new ones, and that a job's files
// stay below a bound: what comes after it is counted, not kept. Lines that were sent
// while this coordinator was down are not here; other coordinators have them.
// Package coordinator/server is the caller.
package joblog
