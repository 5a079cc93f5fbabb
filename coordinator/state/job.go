package state

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/shard"
)

// Job is what the cluster knows of a job. Like everything that a [State] holds it
// is immutable: readers share it and must not change it.
type Job struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"` // label of its file
	Request api.JobRequest `json:"request"`

	State  string `json:"state"` // of package api: Pending, Starting, Running, Cancelling, Succeeded, Failed, Cancelled
	Reason string `json:"reason"`
	// Wait is the code of why a pending job waits, since WaitSince. Placeable says
	// that it has been found to fit the cluster's nodes, free or not.
	Wait      string    `json:"wait"`
	WaitSince time.Time `json:"wait_since"`
	Placeable bool      `json:"placeable"`
	// Passed counts the later jobs that started while this one waited.
	Passed int `json:"passed"`

	Order     uint64    `json:"order"` // place in the queue: index of its submission, or of its last resume
	Submitted time.Time `json:"submitted"`
	Started   time.Time `json:"started"` // first worker running; zero before
	Ended     time.Time `json:"ended"`
	EndOrder  uint64    `json:"end_order"` // index of its end
	Cancelled time.Time `json:"cancelled"` // when that was asked for

	// Inspection is nil until a node has inspected the job. Its profile is dropped
	// when the job ends.
	Inspection *api.Inspection `json:"inspection"`

	// Generation is that of the plan, or of the last plan there was; 0 before.
	Generation  int        `json:"generation"`
	Plan        shard.Plan `json:"plan"` // zero while the job waits
	PlannedAt   time.Time  `json:"planned_at"`
	Kind        string     `json:"kind"` // numeric kind; a strict job keeps it
	Devices     []string   `json:"devices"`
	Sessions    []string   `json:"sessions"`
	Explanation []string   `json:"explanation"`
	StepSeconds float64    `json:"step_seconds"` // by the cost model
	Chief       string     `json:"chief"`        // node of the last worker 0, whose disk holds the run's folder
	Widest      int        `json:"widest"`       // most workers that it has had

	Step      int  `json:"step"`      // highest known when its last generation was over
	Progress  bool `json:"progress"`  // a checkpoint was published in this generation
	Stalled   int  `json:"stalled"`   // generations since the last that made progress
	Replanned int  `json:"replanned"` // generations that replaced a broken one

	// Reports are those of this generation in order of arrival, one a worker.
	Reports []Received `json:"reports"`

	ExitCode    int             `json:"exit_code"`
	FailedNode  string          `json:"failed_node"` // where the cause of its end is
	Result      *api.Result     `json:"result"`
	Checkpoints []api.Published `json:"checkpoints"` // in order of their commitment
	History     []api.Decision  `json:"history"`

	// Changes are those of generation in which training went on, in their order. They
	// are of version 2.
	Changes []api.Change `json:"changes,omitempty"`
}

// Received is a worker's report and when it was committed.
type Received struct {
	Index  uint64     `json:"index"`
	At     time.Time  `json:"at"` // by the clock of the leader
	Report api.Report `json:"report"`
}

// Active reports whether the job has a plan and holds its nodes.
func (j *Job) Active() bool {
	return j.State == api.Starting || j.State == api.Running || j.State == api.Cancelling
}

// Over reports whether the job ended.
func (j *Job) Over() bool {
	return j.State == api.Succeeded || j.State == api.Failed || j.State == api.Cancelled
}

// Report returns worker w's report of this generation; nil for none.
func (j *Job) Report(w int) *api.Report {
	for i := range j.Reports {
		if j.Reports[i].Report.Worker == w {
			return &j.Reports[i].Report
		}
	}
	return nil
}

// Checkpoint returns the checkpoint that was published last; zero for none.
func (j *Job) Checkpoint() api.Published {
	if len(j.Checkpoints) == 0 {
		return api.Published{}
	}
	return j.Checkpoints[len(j.Checkpoints)-1]
}

// Steps returns how many steps the job takes; 0 before it is inspected.
func (j *Job) Steps() int {
	if j.Inspection == nil {
		return 0
	}
	return j.Inspection.Steps
}

func planPrefix(generation int) string { return fmt.Sprintf("generation %d: ", generation) }

// actionPlanned is the decision that gives a job a plan.
const actionPlanned = "planned"

// Record returns the job as the API shows it, as far as the state knows it: the
// phase, the step and the ranks' processes come from beats.
func (j *Job) Record() api.JobRecord {
	r := api.JobRecord{
		ID: j.ID, Name: j.Name, Request: j.Request, Reason: j.Reason, Plan: j.Plan, Submitted: j.Submitted, Started: j.Started, Ended: j.Ended,
		ExitCode: j.ExitCode, Result: j.Result, Checkpoint: j.Checkpoint(),
		Status: api.Status{Job: j.ID, State: j.State, Step: j.Step, Steps: j.Steps(), Generation: j.Generation, Ranks: []api.Rank{}},
	}
	if j.State == api.Failed {
		r.Status.Error = j.Reason
	}
	for _, d := range slices.Backward(j.History) {
		if d.Action == actionPlanned && len(j.Plan.Nodes) > 0 {
			r.Planned = strings.TrimPrefix(d.Reason, planPrefix(j.Generation))
			break
		}
	}
	for w, node := range j.Plan.Nodes {
		for _, role := range j.Plan.Roles(w) {
			r.Status.Ranks = append(r.Status.Ranks, api.Rank{Node: node, Role: role.Tower, Stage: role.Stage, Replica: role.Replica})
		}
	}
	if j.Result != nil {
		r.Status.Ranks = append([]api.Rank{}, j.Result.Ranks...)
		r.Status.Step = max(r.Status.Step, j.Result.Steps)
	}
	return r
}
