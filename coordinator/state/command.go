package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Version is the newest of commands and snapshots that this package understands. It
// writes each in the oldest version that has what is in it.
const Version = 2

// since returns the version of a command.
func since(b Body) int {
	switch b.(type) {
	case *WentOn:
		return 2
	}
	return 1
}

// Command is one change of the state: an entry of the Raft log.
type Command struct {
	At   time.Time // when it was proposed
	Body Body
}

// Body is what a command does: one of the types of this package that are listed
// in bodies, with its name on the wire.
type Body interface {
	// kind is the type's name on the wire.
	kind() string
	// check refuses what no state takes and brings the rest into its one form.
	check() error
	// apply changes the draft; after an error the draft is thrown away.
	apply(d *draft) (Reply, error)
}

// Reply is what applying a command gave: the response of the Raft future.
type Reply struct {
	Index    uint64 // of the log
	Job      *Job   // that the command was about, as it is now
	Node     *Node  // the same
	Existing bool   // nothing had to be done: it was done before
	Err      error  // wraps one of the package's errors
}

type envelope struct {
	V    int             `json:"v"`
	Type string          `json:"type"`
	At   time.Time       `json:"at"`
	Body json.RawMessage `json:"body"`
}

// Encode writes a command for the log.
func Encode(c Command) ([]byte, error) {
	if c.Body == nil {
		return nil, fmt.Errorf("command without a body: %w", ErrInvalid)
	}
	body, err := json.Marshal(c.Body)
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", c.Body.kind(), err)
	}
	raw, err := json.Marshal(envelope{since(c.Body), c.Body.kind(), c.At.UTC(), body})
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", c.Body.kind(), err)
	}
	if len(raw) > MaxCommand {
		return nil, fmt.Errorf("command %s has %d bytes, want at most %d: %w", c.Body.kind(), len(raw), MaxCommand, ErrInvalid)
	}
	return raw, nil
}

// Decode reads a command of the log. Errors wrap [ErrVersion] or [ErrInvalid].
func Decode(raw []byte) (Command, error) {
	if len(raw) > MaxCommand {
		return Command{}, fmt.Errorf("command has %d bytes, want at most %d: %w", len(raw), MaxCommand, ErrInvalid)
	}
	// The version comes first: of a newer command nothing else is known.
	var head struct {
		V    int    `json:"v"`
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Command{}, fmt.Errorf("command: %w: %w", ErrInvalid, err)
	}
	if head.V > Version {
		return Command{}, fmt.Errorf("command %q has version %d, this coordinator understands up to %d: upgrade it: %w", head.Type, head.V, Version, ErrVersion)
	}
	if head.V < 1 {
		return Command{}, fmt.Errorf("command %q has version %d, want 1 to %d: %w", head.Type, head.V, Version, ErrInvalid)
	}
	body := newBody(head.Type)
	if body == nil {
		return Command{}, fmt.Errorf("command of unknown type %q: %w", head.Type, ErrInvalid)
	}
	if want := since(body); head.V != want {
		return Command{}, fmt.Errorf("command %q has version %d, want %d: %w", head.Type, head.V, want, ErrInvalid)
	}
	var e envelope
	if err := strict(raw, &e); err != nil {
		return Command{}, fmt.Errorf("command %s: %w: %w", head.Type, ErrInvalid, err)
	}
	if err := strict(e.Body, body); err != nil {
		return Command{}, fmt.Errorf("command %s: %w: %w", head.Type, ErrInvalid, err)
	}
	c := Command{e.At, body}
	if err := c.check(); err != nil {
		return Command{}, err
	}
	return c, nil
}

// check verifies what every state asks of a command and normalises it, so that
// a replica that is handed the value comes to the same as one that read it.
func (c *Command) check() error {
	if err := instant("at", &c.At); err != nil {
		return fmt.Errorf("command %s: %w: %w", c.Body.kind(), ErrInvalid, err)
	}
	if err := c.Body.check(); err != nil {
		return fmt.Errorf("command %s: %w: %w", c.Body.kind(), ErrInvalid, err)
	}
	return nil
}

// strict decodes one JSON value into v: no unknown fields, nothing behind it.
func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data behind the value")
	}
	return nil
}

// newBody returns an empty body of a type by its name on the wire; nil for none.
func newBody(kind string) Body {
	for _, b := range bodies() {
		if b.kind() == kind {
			return b
		}
	}
	return nil
}

// bodies returns an empty body of each type.
func bodies() []Body {
	return []Body{
		&Submit{}, &Inspected{}, &Wait{}, &Plan{}, &Unplan{}, &Started{}, &Report{}, &Finish{}, &Cancel{}, &Resume{},
		&Publish{}, &Register{}, &SetNode{}, &Drain{}, &SetMember{}, &RemoveMember{}, &WentOn{},
	}
}
