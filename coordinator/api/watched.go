package api

import "time"

// Watched is one event of GET /v1/watch: what is new since the event before, or
// everything in the first one.
type Watched struct {
	At    time.Time `json:"at"` // by the leader's clock
	First bool      `json:"first,omitempty"`
	// Cluster is there when the coordinators have changed.
	Cluster *Cluster `json:"cluster,omitempty"`
	// Jobs are those that have changed, in the order of GET /v1/jobs, without their
	// specifications, stages, ranks and beat ages; Gone are forgotten.
	Jobs []JobRecord `json:"jobs,omitempty"`
	Gone []string    `json:"gone,omitempty"`
	// Nodes are those that have changed, without their beat ages; NodesGone are forgotten.
	Nodes     []NodeRecord `json:"nodes,omitempty"`
	NodesGone []string     `json:"nodes_gone,omitempty"`
	// Heard is how many seconds ago each node was heard that is not lost or left.
	Heard map[string]float64 `json:"heard,omitempty"`
	// Decisions are the cluster's newest.
	Decisions []Decision `json:"decisions,omitempty"`
	// Job is the one that was asked for, whole but for its specification and beat ages,
	// and History what was decided about it, when either has changed.
	Job     *JobRecord `json:"job,omitempty"`
	History *History   `json:"history,omitempty"`
}

// HeaderPage is on every request of the dashboard that changes something.
const HeaderPage = "Ressa-Page"
