package api

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// page is the reference of the job file.
const page = "../../docs/job-file.md"

// leaf is a key of the job file that has no keys below it.
type leaf struct {
	key    string
	value  reflect.Value
	limits string // its range tag
}

func leaves(prefix string, v reflect.Value) []leaf {
	var out []leaf
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		key := join(prefix, name)
		if f := v.Field(i); f.Kind() == reflect.Struct {
			out = append(out, leaves(key, f)...)
		} else {
			out = append(out, leaf{key, f, v.Type().Field(i).Tag.Get(rangeTag)})
		}
	}
	return out
}

// rows returns the cells of the page's tables by key.
func rows(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(raw)) {
		rest, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		key, _, _ := strings.Cut(rest, "`")
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if out[key] != nil {
			t.Errorf("%s has two rows for %s", page, key)
		}
		out[key] = cells
	}
	return out
}

func TestPageHasEveryKey(t *testing.T) {
	documented := rows(t)
	for _, l := range leaves("", reflect.ValueOf(Default())) {
		cells, ok := documented[l.key]
		delete(documented, l.key)
		if !ok {
			t.Errorf("%s has no row for %s", page, l.key)
			continue
		}
		if len(cells) != 4 {
			t.Errorf("%s: the row of %s has %d cells, want key, type, default and meaning", page, l.key, len(cells))
			continue
		}
		if i := parseInterval(l.limits); l.limits != "" && !strings.Contains(cells[1], i.hi) && !strings.Contains(cells[1], "`train.") {
			t.Errorf("%s: the range of %s is %q, want its end %s", page, l.key, cells[1], i.hi)
		}
		if l.value.IsZero() && l.value.Kind() != reflect.Int && l.value.Kind() != reflect.Float64 {
			continue // the default is a word: required, none, any, or another key
		}
		if got, want := strings.Trim(cells[2], " `\""), wording(l.value); got != want {
			t.Errorf("%s: the default of %s is %q, want %q", page, l.key, got, want)
		}
	}
	for key := range documented {
		t.Errorf("%s documents %s, which no job has", page, key)
	}
}

// wording writes a default as the page does.
func wording(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case float64:
		if x != 0 && x < 1e-3 {
			text := fmt.Sprintf("%.0e", x)
			return strings.Replace(text, "e-0", "e-", 1)
		}
	case map[string]float64:
		return strings.NewReplacer("map[", "{", "]", "}", ":", ": ").Replace(fmt.Sprint(x))
	}
	return fmt.Sprint(v.Interface())
}

func TestPageHasEveryChoice(t *testing.T) {
	documented := rows(t)
	valid := Default()
	valid.Model.Path = "x"
	valid.Data.Train = Source{Format: "fashiongrid", Split: "train"}
	for key, set := range map[string]func(*Job){
		"model.init":           func(j *Job) { j.Model.Init = "?" },
		"data.train.format":    func(j *Job) { j.Data.Train.Format = "?" },
		"data.train.split":     func(j *Job) { j.Data.Train.Split = "?" },
		"data.template":        func(j *Job) { j.Data.Template = "?" },
		"prune.method":         func(j *Job) { j.Prune.Method = "?" },
		"adapter.method":       func(j *Job) { j.Adapter.Method = "?" },
		"train.schedule":       func(j *Job) { j.Train.Schedule = "?" },
		"train.wire":           func(j *Job) { j.Train.Wire = "?" },
		"train.compute":        func(j *Job) { j.Train.Compute = "?" },
		"train.numerics":       func(j *Job) { j.Train.Numerics = "?" },
		"distill.kl_reduction": func(j *Job) { j.Distill.KLReduction = "?" },
		"export.dtype":         func(j *Job) { j.Export.DType = "?" },
	} {
		j := valid
		set(&j)
		err := j.Validate()
		if err == nil {
			t.Errorf("%s: ? is valid", key)
			continue
		}
		_, list, ok := strings.Cut(err.Error(), "want one of ")
		if !ok || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: ? gives %v", key, err)
			continue
		}
		for _, choice := range strings.Split(list, ", ") {
			if !strings.Contains(documented[key][1], "`"+choice+"`") {
				t.Errorf("%s: the row of %s does not name %s", page, key, choice)
			}
		}
	}
}
