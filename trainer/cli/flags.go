package cli

import "strings"

// flagError words an error about a field of a job file as one about the flag that
// sets it on the command line.
type flagError struct{ err error }

// Error implements error.
func (e flagError) Error() string {
	return strings.NewReplacer(
		"data.train.path", "--data", "data.train.", "--", "data.template", "--template", "data.max_length", "--max-length",
		"model.path: ", "", "prune.calibration_samples", "--calibration-samples", "prune.", "--", "evaluate.batch", "--batch",
		"evaluate.max_new_tokens", "--max-new-tokens",
	).Replace(e.err.Error())
}

// Unwrap returns the cause.
func (e flagError) Unwrap() error { return e.err }
