package api

import (
	"fmt"
	"strings"
	"time"
)

// Where training went on from.
const (
	FromMemory     = "memory"     // of the generation's workers
	FromCheckpoint = "checkpoint" // on a node's disk
	FromStart      = "start"
)

// Origin is where training went on in a generation, and what it cost to come there.
type Origin struct {
	From   string `json:"from"`             // memory, checkpoint or start
	Step   int    `json:"step"`             // how many steps that holds
	Holder string `json:"holder,omitempty"` // node whose disk has the checkpoint
	// StepsLost are steps that had been made and are made once more.
	StepsLost int `json:"steps_lost"`
	// Pause is the seconds between the last step before that anybody knows of and the
	// first one after; 0 where nobody knows, or where no step was left to make.
	Pause float64 `json:"pause"`
}

// Change is how a job came to a generation after its first, and what that cost. Its
// origin is empty until training has gone on.
type Change struct {
	Generation int       `json:"generation"`
	Cause      string    `json:"cause"`
	Node       string    `json:"node,omitempty"`   // where the cause is
	CausedAt   time.Time `json:"caused_at"`        // when it was first known
	Planned    time.Time `json:"planned"`          // when the plan was committed
	WentOn     time.Time `json:"went_on,omitzero"` // when the leader heard that training went on
	Origin
}

// String says it in one line.
func (c Change) String() string {
	if c.From == "" {
		return fmt.Sprintf("generation %d: %s; training has not gone on in it", c.Generation, c.Cause)
	}
	return fmt.Sprintf("generation %d: %s; %s", c.Generation, c.Cause, c.Origin)
}

// String says it in one line. Histories keep it, so it changes only with the version
// of package state's commands.
func (o Origin) String() string {
	where := "went on from the start"
	switch o.From {
	case FromMemory:
		where = fmt.Sprintf("went on after step %d, from memory", o.Step)
	case FromCheckpoint:
		where = fmt.Sprintf("went on from the checkpoint of step %d on node %s", o.Step, o.Holder)
	}
	pause := "an unknown time"
	if o.Pause > 0 {
		pause = fmt.Sprintf("%.1f s", o.Pause)
	}
	return fmt.Sprintf("%s; cost %s without steps and %s", where, pause, steps(o.StepsLost))
}

func steps(n int) string {
	if n == 1 {
		return "1 step made again"
	}
	return fmt.Sprintf("%d steps made again", n)
}

// Cost sums changes up in one line; empty for none.
func Cost(changes []Change) string {
	if len(changes) == 0 {
		return ""
	}
	pause, lost, open := 0.0, 0, 0
	for _, c := range changes {
		pause, lost = pause+c.Pause, lost+c.StepsLost
		if c.From == "" {
			open++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d changes of generation", len(changes))
	if len(changes) == 1 {
		b.Reset()
		b.WriteString("1 change of generation")
	}
	fmt.Fprintf(&b, " cost %.1f s without steps and %s", pause, steps(lost))
	if open > 0 {
		fmt.Fprintf(&b, "; in %d of them training has not gone on", open)
	}
	return b.String()
}
