package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"ressa/coordinator/api"
)

// Error is an answer that is not a success.
type Error struct {
	Status int // of HTTP
	Answer api.Error
}

// Error implements error.
func (e *Error) Error() string { return e.Answer.Message }

// ExitCode returns what a verb ends with: 2 for invalid input.
func (e *Error) ExitCode() int {
	if e.Answer.ExitCode == 0 {
		return api.ExitFailed
	}
	return e.Answer.ExitCode
}

// NotFound reports whether err is an answer that there is no such job, node,
// file or member.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Conflict reports whether err is an answer that the state does not allow what
// was asked for.
func Conflict(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusConflict
}

// UnreachableError is returned when no coordinator answered in time, or none of
// those that did had a leader.
type UnreachableError struct {
	URLs []string
	Err  error // the last attempt's
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no coordinator reachable at %s: %v", strings.Join(e.URLs, ", "), e.Err)
}

// Unwrap returns the last attempt's error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// ExitCode returns what a verb ends with.
func (e *UnreachableError) ExitCode() int { return api.ExitUnreachable }

// callbackError marks an error that no other attempt would mend: of the caller's
// own function, or of what was answered.
type callbackError struct{ err error }

// Error implements error.
func (e *callbackError) Error() string { return e.err.Error() }
