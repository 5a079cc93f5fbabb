package cli

import "strings"

// flagError words an error about a field of a job file as one about the flag that
// sets it on the command line.
type flagError struct{ err error }

// Error implements error. Only the field that the message begins with is
// reworded: the rest may quote files of any name.
func (e flagError) Error() string {
	text := e.err.Error()
	for _, r := range [][2]string{
		{"data.train.path", "--data"}, {"data.train.", "--"}, {"data.template", "--template"}, {"data.max_length", "--max-length"},
		{"model.path: ", ""}, {"prune.calibration_samples", "--calibration-samples"}, {"prune.", "--"}, {"evaluate.batch", "--batch"},
		{"evaluate.max_new_tokens", "--max-new-tokens"}, {"adapter.method", "--adapter"}, {"train.steps", "--steps"},
	} {
		if rest, ok := strings.CutPrefix(text, r[0]); ok {
			return r[1] + rest
		}
	}
	return text
}

// Unwrap returns the cause.
func (e flagError) Unwrap() error { return e.err }
