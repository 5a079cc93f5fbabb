package api

import (
	"encoding/json"
	"time"

	"ressa/shard"
)

// JobRequest asks for a job to be run on the cluster: the body of POST /v1/jobs
// and /v1/plan.
type JobRequest struct {
	// Spec is the text of the job file.
	Spec string `json:"spec"`
	// Nodes is how many nodes the job wants; 0 leaves it to the planner.
	Nodes int `json:"nodes,omitempty"`
	// VisionReplicas and LanguageReplicas fix how many workers hold each tower; 0
	// leaves it to the planner.
	VisionReplicas   int `json:"vision_replicas,omitempty"`
	LanguageReplicas int `json:"language_replicas,omitempty"`
	// Token makes a repeated submission answer with the first one's job.
	Token string `json:"token,omitempty"`
}

// JobRecord is what the cluster knows of a job: the answer to GET /v1/jobs/ID.
type JobRecord struct {
	ID         string     `json:"id"`   // 8 characters
	Name       string     `json:"name"` // label of its file
	Request    JobRequest `json:"request"`
	Status     Status     `json:"status"`
	Reason     string     `json:"reason"` // why the job is in its state, in words
	Plan       shard.Plan `json:"plan,omitzero"`
	Planned    string     `json:"planned,omitempty"` // why the plan was made
	Submitted  time.Time  `json:"submitted"`
	Started    time.Time  `json:"started,omitzero"`
	Ended      time.Time  `json:"ended,omitzero"`
	ExitCode   int        `json:"exit_code"` // of a job that ended
	Result     *Result    `json:"result,omitempty"`
	Checkpoint Published  `json:"checkpoint,omitzero"` // the newest
}

// Published is a checkpoint whose manifest is committed.
type Published struct {
	Generation int      `json:"generation"`
	Step       int      `json:"step"`
	SHA256     string   `json:"sha256"`          // of the manifest
	Nodes      []string `json:"nodes"`           // that hold it
	Store      string   `json:"store,omitempty"` // URL of the store that holds it too, without secrets
}

// States of a job on a cluster, beside [Running] and those of an end.
const (
	Pending    = "pending"    // waits for nodes
	Starting   = "starting"   // planned; its workers are being started
	Cancelling = "cancelling" // its workers are being stopped
)

// Decision is one entry of a job's or the cluster's history.
type Decision struct {
	Index  uint64    `json:"index"` // of the Raft log
	At     time.Time `json:"at"`
	Job    string    `json:"job,omitempty"`
	Node   string    `json:"node,omitempty"`
	Action string    `json:"action"` // submitted, planned, started, node-lost, …
	Reason string    `json:"reason"`
}

// NodeInfo is a node's inventory, which it registers with.
type NodeInfo struct {
	Name    string   `json:"name"`
	Session string   `json:"session"` // random, of the process
	PID     int      `json:"pid"`
	Version string   `json:"version"` // of Ressa; nodes of a cluster run one protocol
	Devices []Device `json:"devices"`
	Tensors []string `json:"tensors"` // NATS URLs where the node's own server can be dialled
	Threads int      `json:"threads"`
	// Bandwidth and Latency are measured to the hub: bytes/s and seconds.
	Bandwidth float64 `json:"bandwidth"`
	Latency   float64 `json:"latency"`
}

// Device is what computes on a node.
type Device struct {
	Name    string  `json:"name"`              // cpu, cuda:0, …
	Kind    string  `json:"kind"`              // numeric kind
	Compute string  `json:"compute,omitempty"` // [ComputeBF16], or empty for [ComputeFP32]
	Speed   float64 `json:"speed"`             // flop/s of a dense product, measured when the node starts
	Memory  int64   `json:"memory"`            // free bytes when the node starts
	// Apart says that this memory is not the host's, and Stream how much of it each
	// stream of work takes for itself.
	Apart  bool   `json:"apart,omitempty"`
	Stream int64  `json:"stream,omitempty"`
	Note   string `json:"note,omitempty"`
}

// Node states.
const (
	NodeReady    = "ready"
	NodeDraining = "draining" // gets no new job
	NodeUnfit    = "unfit"    // a device that it computes on has failed: gets no job, and its job goes on without it
	NodeLost     = "lost"     // its lease ended
	NodeLeft     = "left"     // said goodbye
)

// NodeRecord is what the cluster knows of a node.
type NodeRecord struct {
	NodeInfo
	State    string   `json:"state"`
	Reason   string   `json:"reason,omitempty"`
	Draining bool     `json:"draining,omitempty"` // gets no new job, also when it is back
	Jobs     []string `json:"jobs"`               // that have a worker on it
	BeatAge  float64  `json:"beat_age"`           // seconds, as its leader sees it
	// Reach is how each peer's server was reached: direct, reverse or hub.
	Reach map[string]string `json:"reach,omitempty"`
	// Health is what is wrong with the devices of its machine, as it said last.
	Health []Finding `json:"health,omitempty"`
}

// Beat is a node's heartbeat: the body of POST /v1/nodes/NAME/beat. The first of
// a session, and one that the leader asked for, carries the inventory.
type Beat struct {
	Session string            `json:"session"`
	Info    *NodeInfo         `json:"info,omitempty"`
	Tasks   []Task            `json:"tasks"`
	Reach   map[string]string `json:"reach,omitempty"`
	Health  []Finding         `json:"health,omitempty"` // all that is wrong at the moment
	Leaving bool              `json:"leaving,omitempty"`
}

// Task is how a worker of a job is doing, as its node tells it.
type Task struct {
	Job          string `json:"job"`
	Generation   int    `json:"generation"`
	Worker       int    `json:"worker"`
	PID          int    `json:"pid"`
	State        string `json:"state"` // starting, running, succeeded, failed, cancelled
	Phase        string `json:"phase"`
	Step         int    `json:"step"`
	Microbatches []int  `json:"microbatches"` // done by each of the worker's roles, in the order of plan.Roles
	Error        string `json:"error,omitempty"`
	// Activity grows with everything that begins or ends in the worker. Doing is what
	// has gone on for longest without waiting for another worker, for DoingSeconds;
	// empty where all there is waits. Waits are the workers waited for.
	Activity     uint64  `json:"activity,omitempty"`
	Doing        string  `json:"doing,omitempty"`
	DoingSeconds float64 `json:"doing_seconds,omitempty"`
	Waits        []int   `json:"waits,omitempty"`
	// Origin is told by worker 0 once training has gone on in its generation.
	Origin *Origin `json:"origin,omitempty"`
}

// BeatReply is what a node is to do.
type BeatReply struct {
	Leader string `json:"leader"`
	// LeaseSeconds is how long the node may be silent.
	LeaseSeconds float64 `json:"lease_seconds"`
	Register     bool    `json:"register"` // the next beat must carry the inventory
	// Assignments are all jobs that the node works on; what it runs beside them ends.
	Assignments []Assignment `json:"assignments"`
	// Hub are the NATS URLs of the coordinators.
	Hub []string `json:"hub"`
}

// Assignment is one worker's part in one generation of a job.
type Assignment struct {
	Job        string     `json:"job"`
	Generation int        `json:"generation"`
	Worker     int        `json:"worker"`
	Spec       string     `json:"spec"`
	Plan       shard.Plan `json:"plan"`
	Kind       string     `json:"kind"`   // numeric kind that a strict job runs on
	Device     string     `json:"device"` // of the node
	Peers      []Peer     `json:"peers"`  // by worker
	Cancel     bool       `json:"cancel"` // stop and report cancelled
}

// Peer is where a worker's tensors are received.
type Peer struct {
	Node    string   `json:"node"`
	Tensors []string `json:"tensors"` // NATS URLs
}

// Report is how a worker's part of a generation ended: the body of POST
// /v1/jobs/ID/report. A node repeats it until it is accepted.
type Report struct {
	Node       string    `json:"node"`
	Worker     int       `json:"worker"`
	Generation int       `json:"generation"`
	State      string    `json:"state"` // succeeded, failed or cancelled
	ExitCode   int       `json:"exit_code"`
	Error      string    `json:"error,omitempty"`
	Broken     []int     `json:"broken,omitempty"` // workers whom an exchange with failed: the cause is elsewhere; itself: a fault that may pass
	Result     *Result   `json:"result,omitempty"` // from worker 0
	At         time.Time `json:"at"`
}

// Inspect asks a node what a job needs, over the hub. The reply is an Inspection.
type Inspect struct {
	Spec string `json:"spec"`
}

// Inspection is a job as a node sees it: its cost, or what is wrong with it.
type Inspection struct {
	Profile shard.Profile `json:"profile"`
	Name    string        `json:"name"`
	Steps   int           `json:"steps"`
	Strict  bool          `json:"strict"`
	// Microbatches of a step.
	Microbatches int    `json:"microbatches"`
	Wire         string `json:"wire"`              // fp32 or bf16
	Compute      string `json:"compute,omitempty"` // [ComputeBF16], or empty for [ComputeFP32]
	Error        string `json:"error,omitempty"`
	ExitCode     int    `json:"exit_code,omitempty"`
}

// Member is one coordinator.
type Member struct {
	ID      string `json:"id"`
	Addr    string `json:"addr"` // HTTP and Raft
	Hub     string `json:"hub"`  // NATS URL for clients
	Routes  string `json:"routes"`
	Version string `json:"version"`
	Leader  bool   `json:"leader"`
	Alive   bool   `json:"alive"`
}

// LogLine is one line of a job's log, or one of its events.
type LogLine struct {
	// Seq counts a worker's lines of one generation from 1.
	Job        string    `json:"job"`
	Generation int       `json:"generation"`
	Node       string    `json:"node"`
	Worker     int       `json:"worker"`
	Seq        uint64    `json:"seq"`
	At         time.Time `json:"at"`
	Level      string    `json:"level,omitempty"` // of a log line
	Text       string    `json:"text,omitempty"`
	// Event is set instead of Level and Text for an event of the job.
	Event json.RawMessage `json:"event,omitempty"`
}

// Error is the body of every answer that is not a success.
type Error struct {
	Message  string `json:"error"`
	ExitCode int    `json:"exit_code"` // what a CLI ends with
	Leader   string `json:"leader,omitempty"`
}

// PlanReply is the answer to POST /v1/plan.
type PlanReply struct {
	Plan shard.Plan `json:"plan"`
	// Explanation says in words why the plan is as it is, a line each.
	Explanation []string `json:"explanation"`
	StepSeconds float64  `json:"step_seconds"` // by the cost model
	// Memory is the bytes that each worker needs and has.
	Memory []WorkerMemory `json:"memory"`
}

// WorkerMemory is what a worker needs of its node's memory.
type WorkerMemory struct {
	Node   string `json:"node"`
	Needs  int64  `json:"needs"`
	Free   int64  `json:"free"`
	Roles  string `json:"roles"` // in words
	Layers string `json:"layers"`
}
