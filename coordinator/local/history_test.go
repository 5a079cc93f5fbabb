package local_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// call is one call of the API: of whom, about what, and what came of it.
type call struct {
	client     int
	key        string // "job TOKEN" or "node NAME"
	do         string // submit, cancel, resume, drain, undrain or read
	said       string // the state that the answer tells; empty where there was none, and it may have happened or not, at once or later
	begin, end time.Duration
}

// absent is the state of a job that was not submitted.
const absent = "absent"

// next is what the API promises: the state after a call, and whether its answer may be
// what was said. Jobs of recorders wait for more nodes than there are; a job that waits
// can fail by itself when a node that inspects it finds something wrong.
func (c call) next(state string) (after string, ok bool) {
	if state == "" {
		state = map[bool]string{true: absent, false: "undrained"}[strings.HasPrefix(c.key, "job ")]
	}
	if state == "pending" && c.said == "failed" && c.do != "submit" {
		return "failed", true
	}
	after = state
	switch c.do {
	case "submit":
		if state == absent {
			after = "pending"
		}
	case "cancel":
		if state == "pending" {
			after = "cancelled"
		}
	case "resume":
		if state != absent {
			after = "pending"
		}
	case "drain", "undrain":
		after = c.do + "ed"
	}
	return after, c.said == "" || c.said == after
}

// mayHave is the model of one key for the checker.
func mayHave() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, o := range all {
				key := o.Input.(call).key
				byKey[key] = append(byKey[key], o)
			}
			var out [][]porcupine.Operation
			for _, part := range byKey {
				out = append(out, part)
			}
			return out
		},
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			after, ok := input.(call).next(state.(string))
			return ok, after
		},
	}
}

// linearizable reports whether calls can have happened one after the other, each at
// some moment between its beginning and its end. Where not, it returns those about a
// key that cannot.
func linearizable(calls []call) (bool, []call) {
	var ops []porcupine.Operation
	for _, c := range calls {
		end := int64(c.end)
		if c.said == "" {
			if c.do == "read" {
				continue // says nothing
			}
			end = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: c.client, Input: c, Call: int64(c.begin), Return: end})
	}
	model := mayHave()
	for _, part := range model.Partition(ops) {
		if porcupine.CheckOperationsTimeout(model, part, 30*time.Second) != porcupine.Ok {
			var bad []call
			for _, o := range part {
				bad = append(bad, o.Input.(call))
			}
			slices.SortFunc(bad, func(a, b call) int { return int(a.begin - b.begin) })
			return false, bad
		}
	}
	return true, nil
}

func (c call) String() string {
	said := c.said
	if said == "" {
		said = "?"
	}
	return fmt.Sprintf("%9.4f to %9.4f s  client %d: %s %s: %s", c.begin.Seconds(), c.end.Seconds(), c.client, c.do, c.key, said)
}

// The checker accepts what can have happened and refuses what cannot.
func TestHistoriesAreChecked(t *testing.T) {
	at := func(client int, do, said string, begin, end int) call {
		key := "job a"
		if strings.HasSuffix(do, "drain") {
			key = "node a"
		}
		return call{client, key, do, said, time.Duration(begin), time.Duration(end)}
	}
	good := []call{
		at(0, "submit", "pending", 0, 10),
		at(1, "read", absent, 1, 9),      // the submission is under way
		at(1, "cancel", "", 20, 30),      // no answer
		at(0, "read", "pending", 31, 35), // it has not happened yet
		at(2, "read", "cancelled", 40, 45),
		at(2, "submit", "cancelled", 50, 55), // the same again
		at(0, "resume", "pending", 60, 70),
		at(1, "cancel", "cancelled", 61, 69), // before or after the one above
		at(2, "read", "pending", 71, 75),
		at(0, "drain", "drained", 0, 10),
		at(1, "undrain", "", 5, 20),
	}
	if ok, bad := linearizable(good); !ok {
		t.Errorf("refused:\n%v", bad)
	}
	for name, wrong := range map[string]call{
		"a lost submission":        at(0, "read", absent, 80, 85),
		"a stale read":             at(1, "read", "cancelled", 80, 85),
		"a cancellation undone":    at(2, "submit", "cancelled", 80, 85),
		"a state that nobody made": at(2, "read", "running", 80, 85),
		"a drain that did not":     at(0, "drain", "undrained", 30, 35),
	} {
		if ok, _ := linearizable(append(slices.Clone(good), wrong)); ok {
			t.Errorf("%s is accepted", name)
		}
	}
	// Answers of two calls that change places.
	swapped := slices.Clone(good)
	swapped[3].said, swapped[4].said = swapped[4].said, swapped[3].said
	if ok, _ := linearizable(swapped); ok {
		t.Error("a read that is undone is accepted")
	}
}
