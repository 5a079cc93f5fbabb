package tensor

import "errors"

var (
	// ErrTruncated is returned for a message that ends before its own lengths say.
	ErrTruncated = errors.New("truncated message")
	// ErrCorrupt is returned when the checksum or the structure is wrong.
	ErrCorrupt = errors.New("corrupt message")
	// ErrTooLarge is returned for what exceeds a limit of the format or the reader.
	ErrTooLarge = errors.New("message too large")
	// ErrStale is returned for a message of an older generation.
	ErrStale = errors.New("stale generation")
	// ErrAhead is returned for a message of a newer generation: the reader is the
	// one that has to stop.
	ErrAhead = errors.New("newer generation")
	// ErrMisplaced is returned for another step, microbatch or edge than expected.
	ErrMisplaced = errors.New("message of another place")
	// ErrShape is returned for a name, dtype or shape other than expected, and for
	// an array that cannot be described.
	ErrShape = errors.New("wrong shape")
)
