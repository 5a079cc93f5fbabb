package api

// Event is one line of `-o json` and of a job's event log. Event names the kind;
// fields that do not belong to it are absent.
type Event struct {
	Event string `json:"event"` // phase, step, validation, score, checkpoint, note or result
	Job   string `json:"job"`
	// Phase is prepare, calibrate, prune, evaluate, train or export.
	Phase   string   `json:"phase,omitempty"`
	Message string   `json:"message,omitempty"`
	Step    *Step    `json:"step,omitempty"`
	Score   *Score   `json:"score,omitempty"`
	Of      string   `json:"of,omitempty"` // whose score: dense, pruned, repaired, blind or validation
	Done    int      `json:"done,omitempty"`
	Total   int      `json:"total,omitempty"`
	Result  *Result  `json:"-"` // carried inside the process; written as the result line itself
	Layers  []Layer  `json:"layers,omitempty"`
	Seconds *float64 `json:"seconds,omitempty"` // since the job started
}

// Step is what one training step did. Steps are counted from 1.
type Step struct {
	Step       int     `json:"step"`
	Steps      int     `json:"steps"`
	Loss       float64 `json:"loss"`
	CE         float64 `json:"ce"`
	KL         float64 `json:"kl"`
	GradNorm   float64 `json:"grad_norm"`
	LR         float64 `json:"learning_rate"`
	Tokens     int     `json:"tokens"`
	PeakMemory int     `json:"peak_memory_bytes"`
	Seconds    float64 `json:"step_seconds"`
}

// Score is a share of right answers in percent with its 95 % Wilson interval.
type Score struct {
	Score     float64 `json:"score"`
	Low       float64 `json:"low"`
	High      float64 `json:"high"`
	Correct   int     `json:"correct"`
	Questions int     `json:"questions"`
	// Kinds breaks the score down by kind of question, sorted by name.
	Kinds []KindScore `json:"kinds,omitempty"`
}

// KindScore is the score of one kind of question.
type KindScore struct {
	Kind      string  `json:"kind"`
	Score     float64 `json:"score"`
	Questions int     `json:"questions"`
}

// Layer is the sparsity of one pruned linear layer.
type Layer struct {
	Name     string  `json:"name"`
	Tower    string  `json:"tower"`
	Sparsity float64 `json:"sparsity"`
}

// Result is the last line of a job: design §7.
type Result struct {
	Event       string             `json:"event"` // always "result"
	Job         string             `json:"job"`
	State       string             `json:"state"` // succeeded, failed or cancelled
	Error       string             `json:"error,omitempty"`
	Dense       *Score             `json:"dense,omitempty"`
	Pruned      *Score             `json:"pruned,omitempty"`
	Repaired    *Score             `json:"repaired,omitempty"`
	Blind       *Score             `json:"blind,omitempty"`
	Recovery    *float64           `json:"recovery,omitempty"` // (repaired − pruned) / (dense − pruned)
	Sparsity    map[string]float64 `json:"sparsity"`           // by tower, over its pruned layers
	Pattern     string             `json:"pattern"`
	Method      string             `json:"method"`
	Seed        uint64             `json:"seed"`
	Steps       int                `json:"steps"`
	Seconds     float64            `json:"seconds"`
	Generations int                `json:"generations"`
	StepsLost   int                `json:"steps_lost"`
	NumericKind string             `json:"numeric_kind"`
	// RoundedAway is the share of trained updates that rounding to the export
	// dtype left without effect.
	RoundedAway   float64 `json:"rounded_away"`
	PeakMemory    int     `json:"peak_memory_bytes"`
	BaseSHA256    string  `json:"base_sha256"`
	AdapterSHA256 string  `json:"adapter_sha256"`
	Output        string  `json:"output"`
	TraceID       string  `json:"trace_id,omitempty"`
	Ranks         []Rank  `json:"ranks"`
}

// Rank is one process's role in a job.
type Rank struct {
	Node         string `json:"node"`
	PID          int    `json:"pid"`
	Role         string `json:"role"`
	Stage        int    `json:"stage"`
	Replica      int    `json:"replica"`
	Microbatches int    `json:"microbatches"`
	// BeatAge is how many seconds ago its node was heard; absent in a result.
	BeatAge float64 `json:"beat_age,omitempty"`
}

// States of a job.
const (
	Succeeded = "succeeded"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// NamedScore is a score and whose it is.
type NamedScore struct {
	Name string
	Score
}

// Scores returns the scores that there are in the order of a report.
func (r Result) Scores() []NamedScore {
	var out []NamedScore
	for _, s := range []struct {
		name  string
		score *Score
	}{{"dense", r.Dense}, {"pruned", r.Pruned}, {"repaired", r.Repaired}, {"blind", r.Blind}} {
		if s.score != nil {
			out = append(out, NamedScore{s.name, *s.score})
		}
	}
	return out
}
