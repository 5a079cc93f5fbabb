package api

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ErrInvalid is wrapped by every error about a job file's contents.
var ErrInvalid = errors.New("invalid job file")

// MaxJobBytes bounds a job file.
const MaxJobBytes = 1 << 20

// ParseJob reads a job file over the defaults and validates it. name is used in
// errors. Unknown and repeated keys are errors that name the nearest valid key.
func ParseJob(name string, r io.Reader) (Job, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxJobBytes+1))
	if err != nil {
		return Job{}, fmt.Errorf("read job file %s: %w", name, err)
	}
	if len(raw) > MaxJobBytes {
		return Job{}, fmt.Errorf("%w: %s is larger than %d bytes", ErrInvalid, name, MaxJobBytes)
	}
	job := Default()
	if err := decode(raw, &job); err != nil {
		return Job{}, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	if err := job.Validate(); err != nil {
		return Job{}, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	return job, nil
}

func decode(raw []byte, job *Job) error {
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return firstLine(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return fmt.Errorf("found %d YAML documents, want one job", len(file.Docs))
	}
	if err := checkKeys(file.Docs[0].Body, reflect.TypeFor[Job](), ""); err != nil {
		return err
	}
	// Teachers in the file replace the default ones instead of joining them.
	given := Job{}
	if err := yaml.Unmarshal(raw, &given); err != nil {
		return firstLine(err)
	}
	if given.Distill.Teachers != nil {
		job.Distill.Teachers = nil
	}
	if err := yaml.UnmarshalWithOptions(raw, job, yaml.Strict()); err != nil {
		return firstLine(err)
	}
	return nil
}

// checkKeys compares the keys of a mapping with the fields of a struct.
func checkKeys(node ast.Node, t reflect.Type, path string) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		if _, null := node.(*ast.NullNode); null {
			return nil
		}
		return fmt.Errorf("line %d: %s is %s, want a mapping of keys", line(node), orTop(path), strings.ToLower(node.Type().String()))
	}
	fields := fieldsOf(t)
	for _, pair := range mapping.Values {
		key := pair.Key.String()
		field, ok := fields[key]
		if !ok {
			return fmt.Errorf("line %d: unknown key %q, %s", line(pair.Key), join(path, key), nearest(key, fields))
		}
		if err := checkKeys(pair.Value, field, join(path, key)); err != nil {
			return err
		}
	}
	return nil
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		out[name] = t.Field(i).Type
	}
	return out
}

// nearest words a hint: the closest valid key, or all of them.
func nearest(key string, fields map[string]reflect.Type) string {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	best, distance := "", len(key)/2+1
	for _, n := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(key), n); d <= distance && (best == "" || d < distance) {
			best, distance = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "valid are " + strings.Join(names, ", ")
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func orTop(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// firstLine drops the source excerpt that the YAML library appends.
func firstLine(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(text)
}
