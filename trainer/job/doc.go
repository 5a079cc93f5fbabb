// Package job runs a repair from its job file to its exported checkpoint in one
// process: prepare, calibrate, prune, evaluate, train, evaluate, export. It owns
// the run's folder, in which every finished phase leaves what the next run needs
// to skip it, so that a job that was interrupted anywhere goes on with the same
// bits:
//
//	job.yaml        the job as it was parsed, defaults filled in
//	state.json      phase, step, scores so far: what `ressa status` prints
//	base/           masks and the hash of the immutable base
//	checkpoints/    trained values, moments, step
//	events.jsonl    one line for every event
//	output/         the exported folder
//	result.json     the last line of `-o json`
//
// It does not parse arguments or draw; progress goes to a callback. Package
// trainer/cli is the caller. Runs on several nodes go through the coordinator.
package job
