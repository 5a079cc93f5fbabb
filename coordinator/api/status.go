package api

// Status is what `ressa status` prints: design §7.
type Status struct {
	Job        string  `json:"job" yaml:"job"`
	State      string  `json:"state" yaml:"state"` // running, interrupted, succeeded, failed or cancelled
	Phase      string  `json:"phase" yaml:"phase"`
	Step       int     `json:"step" yaml:"step"`
	Steps      int     `json:"steps" yaml:"steps"`
	Generation int     `json:"generation" yaml:"generation"`
	Leader     string  `json:"leader" yaml:"leader"`
	Error      string  `json:"error,omitempty" yaml:"error,omitempty"`
	Ranks      []Rank  `json:"ranks" yaml:"ranks"`
	BeatAge    float64 `json:"beat_age" yaml:"beat_age"` // seconds since the run last wrote its state
	// Stalled says why a job that runs does not get on; empty while it does.
	Stalled string `json:"stalled,omitempty" yaml:"stalled,omitempty"`
}

// States of a run that has not ended.
const (
	Running     = "running"
	Interrupted = "interrupted"
)
