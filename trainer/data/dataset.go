package data

import (
	"fmt"
	"image"
)

// Dataset is a finite, indexed collection of examples. Its methods are safe for
// concurrent use.
type Dataset interface {
	// Len returns the number of examples.
	Len() int
	// Example returns example i, 0 ≤ i < Len. Its text is read; its images are not
	// decoded before they are asked for.
	Example(i int) (Example, error)
}

// Picture is an image that is decoded when it is needed.
type Picture interface {
	// Decode reads the image. Its error names the file or the row it comes from.
	Decode() (image.Image, error)
}

// Role says who speaks in a turn.
type Role uint8

// The roles of a conversation.
const (
	User Role = iota
	Assistant
)

// String returns the role's name.
func (r Role) String() string {
	if r == Assistant {
		return "assistant"
	}
	return "user"
}

// Turn is one utterance. The text of a user's turn may contain the placeholder
// <image>, once for each image in order.
type Turn struct {
	Role Role
	Text string
}

// Example is one conversation about zero or more images.
type Example struct {
	ID     string
	Images []Picture
	Turns  []Turn // alternating, the user first
	// Answers are the accepted answers to the last question where there are more
	// than the one in Turns; usually empty.
	Answers []string
	// Kind groups examples in reports, as "count" or "where"; may be empty.
	Kind string
}

// Answer returns the last turn of the assistant, or "".
func (e Example) Answer() string {
	for i := len(e.Turns) - 1; i >= 0; i-- {
		if e.Turns[i].Role == Assistant {
			return e.Turns[i].Text
		}
	}
	return ""
}

// RoleByName returns the role that data files call human or user, gpt or
// assistant.
func RoleByName(name string) (Role, error) {
	switch name {
	case "human", "user":
		return User, nil
	case "gpt", "assistant":
		return Assistant, nil
	}
	return 0, fmt.Errorf("%q is none of human, gpt, user, assistant", name)
}
