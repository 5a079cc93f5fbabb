package api

import (
	"context"
	"errors"
)

// Exit codes of every verb.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitInvalid     = 2 // invalid input, or cannot be placed
	ExitCancelled   = 3
	ExitUnreachable = 4 // no coordinator
)

// InputError marks an error as the user's to mend: a bad file, field or flag.
type InputError struct{ Err error }

// Error implements error.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// Invalid marks err as an input error; nil stays nil.
func Invalid(err error) error {
	if err == nil {
		return nil
	}
	return &InputError{err}
}

// ExitCode returns the code of a verb that ended with err: its own, where it has
// a method ExitCode.
func ExitCode(err error) int {
	var input *InputError
	var own interface{ ExitCode() int }
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &own):
		return own.ExitCode()
	case errors.Is(err, context.Canceled):
		return ExitCancelled
	case errors.Is(err, ErrInvalid), errors.As(err, &input):
		return ExitInvalid
	}
	return ExitFailed
}
