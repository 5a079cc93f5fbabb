package conversation

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"ressa/trainer/data"
)

// entry is one object of the file.
type entry struct {
	ID    identifier `json:"id,omitempty"`
	Image paths      `json:"image,omitempty"`
	Turns []turn     `json:"conversations"`
}

type turn struct {
	From  string `json:"from"`
	Value string `json:"value"`
}

// identifier is a string or a number.
type identifier string

// UnmarshalJSON reads both forms.
func (i *identifier) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*i = identifier(s)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("id: want a string or a number, found %.40s", raw)
	}
	*i = identifier(n)
	return nil
}

// paths is one path or a list.
type paths []string

// UnmarshalJSON reads both forms.
func (p *paths) UnmarshalJSON(raw []byte) error {
	var one *string
	if json.Unmarshal(raw, &one) == nil {
		if *p = nil; one != nil {
			*p = paths{*one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return fmt.Errorf("image: want a path or a list of paths, found %.40s", raw)
	}
	*p = many
	return nil
}

// parse reads and checks an entry.
func parse(raw []byte) (entry, []data.Turn, error) {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, nil, err
	}
	for _, p := range e.Image {
		if !filepath.IsLocal(filepath.FromSlash(p)) {
			return e, nil, fmt.Errorf("image: path %q leads out of the image folder", p)
		}
	}
	if len(e.Turns) == 0 {
		return e, nil, fmt.Errorf("conversations: missing or empty")
	}
	turns := make([]data.Turn, len(e.Turns))
	for i, t := range e.Turns {
		role, err := data.RoleByName(t.From)
		if err != nil {
			return e, nil, fmt.Errorf("conversations[%d].from: %w", i, err)
		}
		if want := data.Role(i % 2); role != want {
			return e, nil, fmt.Errorf("conversations[%d].from: %q, want the %v's turn", i, t.From, want)
		}
		turns[i] = data.Turn{Role: role, Text: t.Value}
	}
	return e, turns, nil
}
