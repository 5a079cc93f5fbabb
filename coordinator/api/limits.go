package api

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// rangeTag is the struct tag that says which numbers a field takes, as an
// interval: "[0,1]" includes both ends, "(0,1]" all but 0.
const rangeTag = "range"

// MaxThreads bounds --threads: far above any machine, and low enough that what
// every thread costs is affordable.
const MaxThreads = 1024

// CheckThreads verifies a value of --threads.
func CheckThreads(n int) error {
	if n < 0 || n > MaxThreads {
		return Invalid(fmt.Errorf("--threads: found %d, want 0 (all processors) to %d", n, MaxThreads))
	}
	return nil
}

// interval is a parsed range tag. Its ends stay texts: they are printed as they
// stand, and integers beyond 2⁵³ keep their digits.
type interval struct {
	lo, hi string
	above  bool // lo itself is not in it
}

func parseInterval(tag string) interval {
	lo, hi, _ := strings.Cut(strings.Trim(tag, "[]("), ",")
	return interval{lo, hi, strings.HasPrefix(tag, "(")}
}

// String words the interval after "an integer" or "a number".
func (i interval) String() string {
	if i.above {
		return fmt.Sprintf("above %s and at most %s", i.lo, i.hi)
	}
	return fmt.Sprintf("from %s to %s", i.lo, i.hi)
}

// wanted words what a field takes.
func wanted(k reflect.Kind, limits string) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number " + parseInterval(limits).String()
	}
	return "an integer " + parseInterval(limits).String()
}

// inRange reports a number that is not in its range; other kinds have none.
func inRange(field string, v reflect.Value, limits string) error {
	i := parseInterval(limits)
	var ok bool
	var errLo, errHi error
	switch v.Kind() {
	case reflect.Int:
		var lo, hi int64
		lo, errLo = strconv.ParseInt(i.lo, 10, 64)
		hi, errHi = strconv.ParseInt(i.hi, 10, 64)
		ok = v.Int() >= lo && v.Int() <= hi
	case reflect.Uint64:
		var lo, hi uint64
		lo, errLo = strconv.ParseUint(i.lo, 10, 64)
		hi, errHi = strconv.ParseUint(i.hi, 10, 64)
		ok = v.Uint() >= lo && v.Uint() <= hi
	case reflect.Float64:
		var lo, hi float64
		lo, errLo = strconv.ParseFloat(i.lo, 64)
		hi, errHi = strconv.ParseFloat(i.hi, 64)
		x := v.Float()
		ok = x >= lo && x <= hi && !(i.above && x == lo) && !math.IsNaN(x)
	default:
		return nil
	}
	if err := errors.Join(errLo, errHi); err != nil {
		return fmt.Errorf("%s: range %q: %w", field, limits, err)
	}
	if !ok {
		return fmt.Errorf("%s: found %v, want %s", field, v.Interface(), wanted(v.Kind(), limits))
	}
	return nil
}

// numbers reports the first number of a struct, in the order of its fields and
// of a map's keys, that is not in its range.
func numbers(path string, v reflect.Value) error {
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		key, limits := join(path, keyOf(t)), t.Tag.Get(rangeTag)
		var err error
		switch f.Kind() {
		case reflect.Struct:
			err = numbers(key, f)
		case reflect.Map:
			for _, name := range sortedKeys(f) {
				if err = inRange(join(key, name), f.MapIndex(reflect.ValueOf(name)), limits); err != nil {
					break
				}
			}
		default:
			err = inRange(key, f, limits)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
