package api

// JobList is the answer to GET /v1/jobs, newest first.
type JobList struct {
	Jobs []JobRecord `json:"jobs"`
}

// History is the answer to GET /v1/jobs/ID/history, oldest first.
type History struct {
	Decisions []Decision `json:"decisions"`
	Changes   []Change   `json:"changes"` // of generation
}

// Explanation is the answer to GET /v1/jobs/ID/explain: first cause first.
type Explanation struct {
	Lines   []string `json:"lines"`
	Changes []Change `json:"changes"` // of generation, with their causes and what they cost
}

// NodeList is the answer to GET /v1/nodes, by name.
type NodeList struct {
	Nodes []NodeRecord `json:"nodes"`
}

// Drain is the body of POST /v1/nodes/NAME/drain.
type Drain struct {
	Drain bool `json:"drain"`
}

// Cluster is the answer to GET /v1/cluster and to a change of the members.
type Cluster struct {
	Members []Member `json:"members"`
	Leader  string   `json:"leader"` // empty while there is none
}

// Restored is the answer to PUT /v1/cluster/snapshot.
type Restored struct {
	Index uint64 `json:"index"` // of the state as it is now
	Jobs  int    `json:"jobs"`  // in it
	// Again are jobs that had a plan, which was dropped: they are planned again.
	Again []string `json:"again"`
}

// EndOfStream is the last event of a stream of a job: its name on the wire, with
// the JobRecord as data.
const EndOfStream = "end"
