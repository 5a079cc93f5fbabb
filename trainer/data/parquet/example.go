package parquet

import (
	"fmt"
	"path/filepath"
	"unicode/utf8"

	"ressa/trainer/data"
	"ressa/trainer/data/picture"
)

// example builds an example from a row. where names the row in errors of images.
func (s *Set) example(p *part, g group, row int, where string) (data.Example, error) {
	var x data.Example
	cells := func(l *leaf) []cell {
		if l == nil {
			return nil
		}
		return g.cells[l][row]
	}
	if id := cells(p.layout.id); len(id) == 1 {
		x.ID = string(id[0].value)
	}
	var err error
	if p.layout.from != nil {
		x.Turns, err = turns(cells(p.layout.from), cells(p.layout.value))
	} else {
		x.Turns, err = pair(cells(p.layout.question), cells(p.layout.answer))
	}
	if err != nil {
		return x, err
	}
	for i, c := range cells(p.layout.answers) {
		text, err := str(c, fmt.Sprintf("answers[%d]", i))
		if err != nil {
			return x, err
		}
		x.Answers = append(x.Answers, text)
	}
	x.Images, err = s.pictures(cells(p.layout.imageBytes), cells(p.layout.imagePath), where)
	return x, err
}

func turns(from, value []cell) ([]data.Turn, error) {
	if len(from) != len(value) {
		return nil, fmt.Errorf("conversations: %d from, but %d value", len(from), len(value))
	}
	if len(from) == 0 {
		return nil, fmt.Errorf("conversations: empty")
	}
	out := make([]data.Turn, len(from))
	for i := range from {
		name, err := str(from[i], fmt.Sprintf("conversations[%d].from", i))
		if err != nil {
			return nil, err
		}
		role, err := data.RoleByName(name)
		if err != nil {
			return nil, fmt.Errorf("conversations[%d].from: %w", i, err)
		}
		if want := data.Role(i % 2); role != want {
			return nil, fmt.Errorf("conversations[%d].from: %q, want the %v's turn", i, name, want)
		}
		text, err := str(value[i], fmt.Sprintf("conversations[%d].value", i))
		if err != nil {
			return nil, err
		}
		out[i] = data.Turn{Role: role, Text: text}
	}
	return out, nil
}

func pair(question, answer []cell) ([]data.Turn, error) {
	q, err := str(question[0], "question")
	if err != nil {
		return nil, err
	}
	a, err := str(answer[0], "answer")
	if err != nil {
		return nil, err
	}
	return []data.Turn{{Role: data.User, Text: q}, {Role: data.Assistant, Text: a}}, nil
}

func str(c cell, field string) (string, error) {
	if c.null {
		return "", fmt.Errorf("%s is null", field)
	}
	if !utf8.Valid(c.value) {
		return "", fmt.Errorf("%s is not UTF-8", field)
	}
	return string(c.value), nil
}

// pictures joins the image's two columns: bytes win over the path.
func (s *Set) pictures(content, paths []cell, where string) ([]data.Picture, error) {
	var out []data.Picture
	for i := range max(len(content), len(paths)) {
		name := ""
		if i < len(paths) && !paths[i].null {
			name = string(paths[i].value)
		}
		switch {
		case i < len(content) && !content[i].null:
			if name != "" {
				name = " (" + name + ")"
			}
			out = append(out, picture.Bytes{Name: where + name, Data: content[i].value})
		case name == "": // the row has no image
		case s.images == nil:
			return nil, fmt.Errorf("image.path: %q has no bytes, and no image folder is given", name)
		case !filepath.IsLocal(filepath.FromSlash(name)):
			return nil, fmt.Errorf("image.path: %q leads out of the image folder", name)
		default:
			out = append(out, picture.File{Open: s.images.Open, Name: filepath.FromSlash(name)})
		}
	}
	return out, nil
}
