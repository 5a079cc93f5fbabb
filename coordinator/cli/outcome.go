package cli

import (
	"fmt"

	"ressa/coordinator/api"
)

// over reports whether a job has ended.
func over(j api.JobRecord) bool {
	s := j.Status.State
	return s == api.Succeeded || s == api.Failed || s == api.Cancelled
}

// endError is the end of a job that did not succeed, with the job's exit code.
type endError struct {
	text string
	code int
}

// Error implements error.
func (e *endError) Error() string { return e.text }

// ExitCode returns what a verb ends with.
func (e *endError) ExitCode() int { return e.code }

// outcome is the error that a job which ended stands for; nil if it succeeded.
func outcome(j api.JobRecord) error {
	if j.Status.State == api.Succeeded {
		return nil
	}
	code := j.ExitCode
	if code == api.ExitDone { // a job that did not succeed is never done
		code = api.ExitFailed
		if j.Status.State == api.Cancelled {
			code = api.ExitCancelled
		}
	}
	text := fmt.Sprintf("job %s %s", j.ID, j.Status.State)
	if why := because(j); why != "" {
		text += ": " + why
	}
	return &endError{text, code}
}

// because is why a job is in its state.
func because(j api.JobRecord) string {
	if j.Status.Error != "" {
		return j.Status.Error
	}
	if j.Status.Stalled != "" {
		return j.Status.Stalled
	}
	return j.Reason
}

// resultOf is what is printed last of a job: what it reported, or what is known
// of one that ended without a report.
func resultOf(j api.JobRecord) api.Result {
	if j.Result != nil {
		r := *j.Result
		r.Event = "result"
		return r
	}
	r := api.Result{Event: "result", Job: j.Name, State: j.Status.State, Steps: j.Status.Step, Generations: j.Status.Generation, Ranks: j.Status.Ranks}
	if r.State != api.Succeeded {
		r.Error = because(j)
	}
	if !j.Started.IsZero() && j.Ended.After(j.Started) {
		r.Seconds = j.Ended.Sub(j.Started).Seconds()
	}
	return r
}
