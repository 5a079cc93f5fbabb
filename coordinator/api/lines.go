package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
)

// Lines are a reliable multicast by negative acknowledgements: a worker sends each
// line once and keeps it for a while; a coordinator that lacks some, by the number of
// the next or by a [LineMark], asks the node for them with a [LineRequest].

// LineKind says which of a worker's lines are meant: each kind is counted for itself.
type LineKind string

// The kinds of lines.
const (
	EventLines LineKind = "events"
	LogLines   LineKind = "log"
)

// MaxLine bounds a line as it is sent, in bytes: a reply holds at least one.
const MaxLine = MaxHubPayload / 4

// maxAsk bounds a mark and a request in bytes.
const maxAsk = 4 << 10

// MarkSubject is where the workers of a job send a [LineMark] of each kind now and
// then. Every coordinator listens on MarkSubject("*").
func MarkSubject(job string) string { return "ressa.job." + job + ".mark" }

// LinesSubject is where a node answers a [LineRequest] with a [LineReply], or with
// [HeaderError].
func LinesSubject(node string) string { return "ressa.node." + node + ".lines" }

// LineSource is who says lines: a worker in a generation, on its node.
type LineSource struct {
	Job        string   `json:"job"`
	Generation int      `json:"generation"`
	Node       string   `json:"node"`
	Worker     int      `json:"worker"`
	Kind       LineKind `json:"kind"`
}

// LineMark tells which lines there are: those from First to Last can be asked for.
// First is Last+1 where there is none.
type LineMark struct {
	LineSource
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Ended bool   `json:"ended,omitempty"` // the worker says no more
}

// LineRequest asks for the lines of a source from number From on.
type LineRequest struct {
	LineSource
	From uint64 `json:"from"`
}

// LineReply has lines one after the other, the first the one that was asked for or,
// where that is gone, number First; as many as a message may hold. Unknown says that
// the node has nothing of the source, or no more.
type LineReply struct {
	Unknown bool              `json:"unknown,omitempty"`
	First   uint64            `json:"first"`
	Last    uint64            `json:"last"`
	Ended   bool              `json:"ended,omitempty"`
	Lines   []json.RawMessage `json:"lines"` // each a [LogLine]
}

var (
	lineJob  = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
	lineNode = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
)

// Check says what is wrong with a source: its names become parts of paths and subjects.
func (s LineSource) Check() error {
	switch {
	case !lineJob.MatchString(s.Job):
		return fmt.Errorf("job %.80q is no ID", s.Job)
	case !lineNode.MatchString(s.Node):
		return fmt.Errorf("node %.80q is no name", s.Node)
	case s.Generation < 0 || s.Worker < 0:
		return fmt.Errorf("generation %d, worker %d: want none below 0", s.Generation, s.Worker)
	case s.Kind != EventLines && s.Kind != LogLines:
		return fmt.Errorf("kind %.80q: want %s or %s", s.Kind, EventLines, LogLines)
	}
	return nil
}

// ParseLineMark reads a mark and refuses what cannot be one.
func ParseLineMark(raw []byte) (LineMark, error) {
	var m LineMark
	if err := parseAsk(raw, &m); err != nil {
		return LineMark{}, fmt.Errorf("mark of lines: %w", err)
	}
	if err := m.Check(); err != nil {
		return LineMark{}, fmt.Errorf("mark of lines: %w", err)
	}
	if m.First < 1 || m.First-1 > m.Last {
		return LineMark{}, fmt.Errorf("mark of lines: from %d to %d: want numbers from 1", m.First, m.Last)
	}
	return m, nil
}

// ParseLineRequest reads a request and refuses what cannot be one.
func ParseLineRequest(raw []byte) (LineRequest, error) {
	var r LineRequest
	if err := parseAsk(raw, &r); err != nil {
		return LineRequest{}, fmt.Errorf("request for lines: %w", err)
	}
	if err := r.Check(); err != nil {
		return LineRequest{}, fmt.Errorf("request for lines: %w", err)
	}
	if r.From < 1 {
		return LineRequest{}, fmt.Errorf("request for lines: from %d: want a number from 1", r.From)
	}
	return r, nil
}

func parseAsk(raw []byte, v any) error {
	if len(raw) > maxAsk {
		return fmt.Errorf("%d bytes, want at most %d", len(raw), maxAsk)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
