package parquet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"
)

// leaf is a primitive column of the file.
type leaf struct {
	index    int
	name     string // its path without the names that stand for lists
	list     bool   // one level of repetition
	repeated int16  // definition level from which on an element of the list exists
	defined  int16  // definition level at which the value is not null
}

// layout says which leaves hold what. Absent ones are nil.
type layout struct {
	id                    *leaf
	imageBytes, imagePath *leaf
	from, value           *leaf
	question, answer      *leaf
	answers               *leaf
}

// leaves are the present ones.
func (l layout) leaves() []*leaf {
	all := []*leaf{l.id, l.imageBytes, l.imagePath, l.from, l.value, l.question, l.answer, l.answers}
	return slices.DeleteFunc(all, func(l *leaf) bool { return l == nil })
}

// readLayout finds the columns in a file's schema.
func readLayout(r *file.Reader) (layout, error) {
	s := r.MetaData().Schema
	all := map[string]*leaf{}
	for i := range s.NumColumns() {
		c := s.Column(i)
		l := &leaf{index: i, name: plainName(c.ColumnPath()), defined: c.MaxDefinitionLevel(), list: c.MaxRepetitionLevel() > 0}
		if c.MaxRepetitionLevel() > 1 {
			continue // lists of lists are no column of ours
		}
		l.repeated = repeatedLevel(c.SchemaNode())
		all[l.name] = l
	}
	find := func(list bool, types []parquet.Type, names ...string) (*leaf, error) {
		for _, n := range names {
			l, ok := all[n]
			if !ok {
				continue
			}
			if t := s.Column(l.index).PhysicalType(); !slices.Contains(types, t) || l.list != list {
				return nil, fmt.Errorf("column %q is a %s, want a %s", n, described(t, l.list), described(types[0], list))
			}
			return l, nil
		}
		return nil, nil
	}
	text := []parquet.Type{parquet.Types.ByteArray}
	var l layout
	var err error
	for _, want := range []struct {
		into  **leaf
		list  bool
		types []parquet.Type
		names []string
	}{
		{&l.id, false, append(text, parquet.Types.Int64, parquet.Types.Int32), []string{"id"}},
		{&l.imageBytes, false, text, []string{"image.bytes", "image"}},
		{&l.imagePath, false, text, []string{"image.path"}},
		{&l.from, true, text, []string{"conversations.from", "messages.role"}},
		{&l.value, true, text, []string{"conversations.value", "messages.content"}},
		{&l.question, false, text, []string{"question"}},
		{&l.answer, false, text, []string{"answer"}},
		{&l.answers, true, text, []string{"answers"}},
	} {
		if *want.into, err = find(want.list, want.types, want.names...); err != nil {
			return l, err
		}
	}
	if l.imageBytes == nil && l.imagePath == nil {
		if l.imageBytes, err = find(true, text, "images.bytes", "images"); err != nil {
			return l, err
		}
		if l.imagePath, err = find(true, text, "images.path"); err != nil {
			return l, err
		}
	}
	talk := l.from != nil && l.value != nil
	if !talk && (l.question == nil || l.answer == nil) {
		return l, fmt.Errorf("want a column conversations (a list of from and value), or columns question and answer; found %s", columnNames(s))
	}
	if talk {
		l.question, l.answer = nil, nil
	} else {
		l.from, l.value = nil, nil
	}
	return l, nil
}

func described(t parquet.Type, list bool) string {
	name := t.String()
	if t == parquet.Types.ByteArray {
		name = "string or binary"
	}
	if list {
		return "list of " + name
	}
	return name
}

// columnNames lists the top-level columns for an error.
func columnNames(s *schema.Schema) string {
	var names []string
	for i := range s.Root().NumFields() {
		names = append(names, fmt.Sprintf("%q", s.Root().Field(i).Name()))
	}
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	return strings.Join(names, ", ")
}

// plainName joins a path without the levels that only say "list": Arrow writes
// list.element, older writers list.item, array or bag.array_element.
func plainName(path parquet.ColumnPath) string {
	var kept []string
	for i, p := range path {
		if i > 0 && slices.Contains([]string{"list", "element", "item", "bag", "array", "array_element"}, p) {
			continue
		}
		kept = append(kept, p)
	}
	return strings.Join(kept, ".")
}

// repeatedLevel is the definition level of the repeated node above a leaf: an
// entry at it or above is an element of the list, one below an empty list.
func repeatedLevel(n schema.Node) int16 {
	level, found := int16(0), false
	for ; n != nil && n.Parent() != nil; n = n.Parent() {
		switch n.RepetitionType() {
		case parquet.Repetitions.Repeated:
			found = true
			level++
		case parquet.Repetitions.Optional:
			if found {
				level++
			}
		}
	}
	return level
}
