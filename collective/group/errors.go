package group

import (
	"errors"
	"fmt"
)

var (
	// ErrSuperseded is returned by every call once a newer generation was seen.
	ErrSuperseded = errors.New("a newer generation has begun")
	// ErrLost is returned when chunks of a message went missing.
	ErrLost = errors.New("part of a message was lost")
	// ErrCancelled is returned when the sender gave up in the middle of a message.
	ErrCancelled = errors.New("the sender gave up")
	// ErrCorrupt is why the rank that received a damaged frame aborts.
	ErrCorrupt = errors.New("corrupt frame")
	// ErrTooLarge is returned for a message above Config.MaxMessage.
	ErrTooLarge = errors.New("message too large")
	// ErrClosed is returned by calls on a closed group.
	ErrClosed = errors.New("group is closed")
	// ErrNoDeadline is returned for a context that could wait for ever.
	ErrNoDeadline = errors.New("context without a deadline")
)

// AbortError is returned by every call of every rank after one of them aborted.
type AbortError struct {
	Rank   int    // who aborted
	Reason string // why, as that rank said
	cause  error  // the reason itself, on that rank only
}

// Unwrap returns the error that this rank aborted with.
func (e *AbortError) Unwrap() error { return e.cause }

// Error implements error.
func (e *AbortError) Error() string { return fmt.Sprintf("rank %d aborted: %s", e.Rank, e.Reason) }

// UnreachedError is returned by [Join] when a rank did not answer in time.
type UnreachedError struct {
	Rank  int
	cause error
}

// Unwrap returns why the wait ended.
func (e *UnreachedError) Unwrap() error { return e.cause }

// Error implements error.
func (e *UnreachedError) Error() string {
	return fmt.Sprintf("no answer from rank %d: %v", e.Rank, e.cause)
}
