package state

import (
	"ressa/coordinator/api"
	"ressa/shard"
)

// Submit adds a job. Where the token of its request is known, the reply is the
// job that has it, if that one was submitted alike, and [ErrConflict] if not.
type Submit struct {
	ID      string         `json:"id"` // 8 characters, drawn by who proposes; a taken one is ErrConflict
	Name    string         `json:"name"`
	Request api.JobRequest `json:"request"`
}

// Inspected says what a node found a pending job to be, or what is wrong with
// it: an Inspection with an error ends the job with its exit code.
type Inspected struct {
	Job        string         `json:"job"`
	Node       string         `json:"node"`
	Inspection api.Inspection `json:"inspection"`
}

// Wait says why pending jobs go on waiting. Jobs that do not wait are skipped.
type Wait struct {
	Jobs []Waiting `json:"jobs"`
}

// Waiting is why one job waits. Its history gets an entry when the code changes.
type Waiting struct {
	Job    string `json:"job"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// Plan starts the next generation of a job on the nodes of a plan: of a pending
// job, or in the place of a generation that cannot go on.
type Plan struct {
	Job         string     `json:"job"`
	Generation  int        `json:"generation"` // the job's plus 1
	Plan        shard.Plan `json:"plan"`
	Kind        string     `json:"kind"`     // numeric kind of all devices; "mixed" for a relaxed job on several
	Devices     []string   `json:"devices"`  // by worker
	Sessions    []string   `json:"sessions"` // of the nodes, by worker, as the plan was made
	Explanation []string   `json:"explanation"`
	StepSeconds float64    `json:"step_seconds"`
	// Step is the highest that the leader saw in the generation before.
	Step int `json:"step"`
	// Passed is a job that has waited longer and is passed over; empty for none.
	Passed string `json:"passed"`
	Reason string `json:"reason"`
}

// Unplan takes a job off its nodes, to wait until it can be planned again.
type Unplan struct {
	Job        string `json:"job"`
	Generation int    `json:"generation"`
	Step       int    `json:"step"` // as in Plan
	Reason     string `json:"reason"`
}

// Started says that workers of a generation are running.
type Started struct {
	Job        string `json:"job"`
	Generation int    `json:"generation"`
	Reason     string `json:"reason"`
}

// Report records how a worker's part of a generation ended. It does not end the
// job: [Finish] does. A repeated report changes nothing.
type Report struct {
	Job    string     `json:"job"`
	Report api.Report `json:"report"`
}

// Finish ends a job. One that succeeds takes the result that worker 0 reported.
type Finish struct {
	Job        string `json:"job"`
	Generation int    `json:"generation"`
	State      string `json:"state"` // succeeded, failed or cancelled
	ExitCode   int    `json:"exit_code"`
	Step       int    `json:"step"` // as in Plan
	Node       string `json:"node"` // where the cause is; empty for none
	Reason     string `json:"reason"`
}

// Cancel asks for a job to be stopped. A pending one is cancelled at once.
type Cancel struct {
	Job    string `json:"job"`
	Reason string `json:"reason"`
}

// Resume makes a job that failed or was cancelled wait for nodes again.
type Resume struct {
	Job    string `json:"job"`
	Reason string `json:"reason"`
}

// Publish commits the manifest of a checkpoint.
type Publish struct {
	Job       string        `json:"job"`
	Published api.Published `json:"published"`
	// Keep is how many of the newest stay listed; 0 is MaxCheckpoints.
	Keep int `json:"keep"`
}

// Register takes up a node with its inventory, or a new process of one.
type Register struct {
	Info   api.NodeInfo `json:"info"`
	Reason string       `json:"reason"`
}

// SetNode changes the state of a node's session to ready, lost or left.
type SetNode struct {
	Name    string `json:"name"`
	Session string `json:"session"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// Drain keeps new jobs off a node, or lets them on again.
type Drain struct {
	Name   string `json:"name"`
	Drain  bool   `json:"drain"`
	Reason string `json:"reason"`
}

// SetMember adds a coordinator or changes what is known of it. Leader and Alive
// are left out.
type SetMember struct {
	Member api.Member `json:"member"`
}

// RemoveMember takes a coordinator out.
type RemoveMember struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func (*Submit) kind() string       { return "submit" }
func (*Inspected) kind() string    { return "inspected" }
func (*Wait) kind() string         { return "wait" }
func (*Plan) kind() string         { return "plan" }
func (*Unplan) kind() string       { return "unplan" }
func (*Started) kind() string      { return "started" }
func (*Report) kind() string       { return "report" }
func (*Finish) kind() string       { return "finish" }
func (*Cancel) kind() string       { return "cancel" }
func (*Resume) kind() string       { return "resume" }
func (*Publish) kind() string      { return "publish" }
func (*Register) kind() string     { return "register" }
func (*SetNode) kind() string      { return "node" }
func (*Drain) kind() string        { return "drain" }
func (*SetMember) kind() string    { return "member" }
func (*RemoveMember) kind() string { return "remove-member" }
