package api

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml/ast"
)

// ErrInvalid is wrapped by every error about a job file's contents.
var ErrInvalid = errors.New("invalid job file")

// ParseJob reads a job file over the defaults and validates it. name is used in
// errors. Unknown and repeated keys are errors that name the nearest valid key.
func ParseJob(name string, r io.Reader) (Job, error) {
	node, err := document(r)
	if err != nil {
		return Job{}, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	job := Default()
	err = decodeStruct(node, reflect.ValueOf(&job).Elem(), "")
	if err == nil {
		err = job.Validate()
	}
	if err != nil {
		return Job{}, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	return job, nil
}

// decodeStruct writes the keys of a mapping into the fields of a struct.
func decodeStruct(node ast.Node, into reflect.Value, path string) error {
	pairs, err := mapping(node, path)
	if err != nil {
		return err
	}
	fields := fieldsOf(into.Type())
	for _, p := range pairs {
		i, ok := fields[p.key]
		if !ok {
			return fmt.Errorf("line %d: unknown key %q, %s", line(p.at), join(path, shorten(p.key)), nearest(p.key, fields))
		}
		if err := decodeField(p.value, into.Field(i), into.Type().Field(i).Tag.Get(rangeTag), join(path, p.key)); err != nil {
			return err
		}
	}
	return nil
}

func decodeField(node ast.Node, into reflect.Value, limits, path string) error {
	switch into.Kind() {
	case reflect.Struct:
		return decodeStruct(node, into, path)
	case reflect.Map:
		return decodeMap(node, into, limits, path)
	}
	s, ok := scalarOf(node)
	if !ok {
		return fmt.Errorf("line %d: %s is %s, want %s", line(node), path, kindOf(node), wanted(into.Kind(), limits))
	}
	if !assign(s, into) {
		found := s.text
		if s.quoted {
			found = strconv.Quote(found)
		}
		return fmt.Errorf("line %d: %s: found %s, want %s", line(node), path, shorten(found), wanted(into.Kind(), limits))
	}
	if err := inRange(path, into, limits); err != nil {
		return fmt.Errorf("line %d: %w", line(node), err)
	}
	return nil
}

// decodeMap replaces a map of numbers: what the file says does not join the
// default.
func decodeMap(node ast.Node, into reflect.Value, limits, path string) error {
	if _, null := node.(*ast.NullNode); null {
		return nil
	}
	pairs, err := mapping(node, path)
	if err != nil {
		return err
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, p := range pairs {
		v := reflect.New(into.Type().Elem()).Elem()
		if err := decodeField(p.value, v, limits, join(path, shorten(p.key))); err != nil {
			return err
		}
		into.SetMapIndex(reflect.ValueOf(p.key), v)
	}
	return nil
}

// assign writes a scalar into a field and reports whether it is of its kind. A
// number is plain and decimal; an integer is not written as a fraction.
func assign(s scalar, into reflect.Value) bool {
	var err error
	switch into.Kind() {
	case reflect.String:
		into.SetString(s.text)
		return true
	case reflect.Bool:
		into.SetBool(s.text == "true")
		return !s.quoted && (s.text == "true" || s.text == "false")
	case reflect.Int:
		var v int64
		v, err = strconv.ParseInt(s.text, 10, 64)
		into.SetInt(v)
	case reflect.Uint64:
		var v uint64
		v, err = strconv.ParseUint(s.text, 10, 64)
		into.SetUint(v)
	case reflect.Float64:
		var v float64
		v, err = strconv.ParseFloat(s.text, 64)
		into.SetFloat(v)
	default:
		return false
	}
	return err == nil && !s.quoted && !strings.ContainsAny(s.text, "_xXpP")
}

// longest bounds what an error quotes of a file.
const longest = 80

// shorten returns a text from a file as an error quotes it: in one line, and no
// more of it than helps.
func shorten(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	if r := []rune(text); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return text
}

// fieldsOf returns the positions of a struct's fields by key.
func fieldsOf(t reflect.Type) map[string]int {
	out := map[string]int{}
	for i := range t.NumField() {
		out[keyOf(t.Field(i))] = i
	}
	return out
}

func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// nearest words a hint: the closest valid key, or all of them.
func nearest(key string, fields map[string]int) string {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	best, distance := "", len(key)/2+1
	for _, n := range names {
		if len(key) > 2*longest {
			break // near nothing, and slow to compare
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(key), n); d <= distance && (best == "" || d < distance) {
			best, distance = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "valid are " + strings.Join(names, ", ")
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
