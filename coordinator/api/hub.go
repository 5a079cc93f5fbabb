package api

import "time"

// What coordinators and nodes say to each other over the hub: the NATS servers
// of the coordinators, core messaging only. No message is larger than
// [MaxHubPayload].

// MaxHubPayload is the largest message that the hub takes, in bytes.
const MaxHubPayload = 8 << 20

// MaxPiece is the largest piece of a file in one reply to a [FileRequest].
const MaxPiece = 512 << 10

// Headers of a reply to a [FileRequest].
const (
	HeaderSize  = "Ressa-Size"  // bytes of the whole file
	HeaderError = "Ressa-Error" // why there is nothing else in the reply
	HeaderBusy  = "Ressa-Busy"  // set: not the reply yet, but a sign of life, at least every [BusyEvery]
)

// LogSubject is where the workers of a job send a [LogLine] a message. Every
// coordinator listens on LogSubject("*").
func LogSubject(job string) string { return "ressa.job." + job + ".log" }

// EventSubject is where the workers of a job send its events, each a [LogLine]
// with Event set.
func EventSubject(job string) string { return "ressa.job." + job + ".event" }

// NudgeSubject is where a node listens for empty messages: beat now.
func NudgeSubject(node string) string { return "ressa.node." + node + ".nudge" }

// BusyEvery is how often a node that works on a reply says so.
const BusyEvery = time.Second

// InspectSubject is where a node answers an [Inspect] with an [Inspection], after any
// number of replies with [HeaderBusy].
func InspectSubject(node string) string { return "ressa.node." + node + ".inspect" }

// FilesSubject is where a node answers a [FileRequest].
func FilesSubject(node string) string { return "ressa.node." + node + ".files" }

// TraceSubject is where a node answers a [TraceRequest], ProfileSubject where it answers
// a [ProfileRequest] after any number of replies with [HeaderBusy]. Where there is no
// answer, [HeaderError] says why.
func TraceSubject(node string) string { return "ressa.node." + node + ".trace" }

// ProfileSubject is described beside [TraceSubject].
func ProfileSubject(node string) string { return "ressa.node." + node + ".profile" }

// FileRequest asks the node of a job's worker 0 for the job's output: without a
// path for its [Files]; with one for at most Limit bytes of that file from
// Offset, which are the reply, under [HeaderSize].
type FileRequest struct {
	Job    string `json:"job"`
	Path   string `json:"path,omitempty"` // as in [Files]
	Offset int64  `json:"offset,omitempty"`
	Limit  int    `json:"limit,omitempty"` // at most [MaxPiece]
}

// Files is the output of a job: the answer to GET /v1/jobs/ID/output.
type Files struct {
	Files []File `json:"files"`
}

// File is one file of a job's output.
type File struct {
	Path   string `json:"path"` // relative, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal
}
