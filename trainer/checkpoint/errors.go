package checkpoint

import (
	"errors"
	"fmt"
)

var (
	// ErrNone is returned when a store holds no checkpoint, or none of a step.
	ErrNone = errors.New("no checkpoint")
	// ErrDamaged is returned when a manifest or a blob is not what was written.
	ErrDamaged = errors.New("damaged checkpoint")
	// ErrOtherJob is returned when a checkpoint belongs to another job, another
	// job configuration or another base than the one that is wanted.
	ErrOtherJob = errors.New("checkpoint of another job")
	// ErrOtherKind is returned when a checkpoint was made on another numeric kind,
	// on which the same bits cannot be had.
	ErrOtherKind = errors.New("checkpoint of another numeric kind")
	// ErrStale is returned when a save comes from an older generation than what
	// the store holds: a rank that missed its replacement.
	ErrStale = errors.New("save from an older generation")
)

// Matches returns nil where id is what is wanted, else ErrOtherJob or
// ErrOtherKind with the first field that differs.
func (id Identity) Matches(want Identity) error {
	for _, f := range []struct {
		name, found, expected string
		kind                  error
	}{
		{"job", id.Job, want.Job, ErrOtherJob},
		{"job configuration", id.Config, want.Config, ErrOtherJob},
		{"base (pruned weights and masks)", id.Base, want.Base, ErrOtherJob},
		{"numeric kind", id.NumericKind, want.NumericKind, ErrOtherKind},
	} {
		if f.expected != "" && f.found != f.expected {
			return fmt.Errorf("%w: %s: found %q, expected %q", f.kind, f.name, f.found, f.expected)
		}
	}
	return nil
}
