package state

import "errors"

// Errors of commands, wrapped by [Reply.Err].
var (
	// ErrNotFound is returned for a job, node or member that there is not.
	ErrNotFound = errors.New("not found")
	// ErrConflict is returned when the state is not the one that the command was
	// made for: who proposed it reads again and decides anew.
	ErrConflict = errors.New("conflict")
	// ErrStaleGeneration is returned for what belongs to a generation that is over.
	ErrStaleGeneration = errors.New("stale generation")
	// ErrStalled is returned for one more generation of a job that has had too many
	// without progress.
	ErrStalled = errors.New("too many generations without progress")
	// ErrInvalid is returned for a command that no state would take, and for a
	// snapshot that is none of a state.
	ErrInvalid = errors.New("invalid")
	// ErrFull is returned when there are too many of what a command adds.
	ErrFull = errors.New("limit reached")
	// ErrVersion is returned for a command or a snapshot of a newer version.
	ErrVersion = errors.New("newer version")
	// ErrAmbiguous is returned by [State.Find] when several jobs begin alike.
	ErrAmbiguous = errors.New("ambiguous")
)
