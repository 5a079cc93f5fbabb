package api

import "fmt"

// Bounds of a profile.
const (
	MaxProfileSteps   = 1000
	MaxProfileSeconds = 300
)

// ProfileRequest asks a node, over the hub, for what its process does while it makes the
// next steps of a job. The reply is a [NodeProfile].
type ProfileRequest struct {
	Job     string `json:"job"`
	Steps   int    `json:"steps"`   // until so many have ended, from the next one on
	Seconds int    `json:"seconds"` // or until this time is over
}

// Check verifies the request.
func (r ProfileRequest) Check() error {
	if r.Steps < 1 || r.Steps > MaxProfileSteps {
		return fmt.Errorf("steps: found %d, want 1 to %d", r.Steps, MaxProfileSteps)
	}
	if r.Seconds < 1 || r.Seconds > MaxProfileSeconds {
		return fmt.Errorf("seconds: found %d, want 1 to %d", r.Seconds, MaxProfileSeconds)
	}
	return nil
}

// Profile is the answer to GET /v1/jobs/ID/profile.
type Profile struct {
	Job     string        `json:"job"`
	Nodes   []NodeProfile `json:"nodes"` // by name
	Missing []Taken       `json:"missing,omitempty"`
}

// NodeProfile is what one node's process did. CPU, Heap and Goroutines are profiles as
// pprof reads them.
type NodeProfile struct {
	Node       string      `json:"node"`
	Seconds    float64     `json:"seconds"`
	FirstStep  int         `json:"first_step"` // of those that ended meanwhile; 0 for none
	LastStep   int         `json:"last_step"`
	Phases     []PhaseTime `json:"phases"` // of these steps, by name
	CPU        []byte      `json:"cpu"`
	Heap       []byte      `json:"heap"`
	Goroutines []byte      `json:"goroutines"`
}

// PhaseTime sums spans of one name.
type PhaseTime struct {
	Name    string  `json:"name"`
	Service string  `json:"service"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes,omitempty"`
}
