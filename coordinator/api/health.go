package api

// Severities of a [Finding].
const (
	Warn  = "warn"  // shown
	Fatal = "fatal" // the device must not be used
)

// MaxFindings is how many findings of a node are kept.
const MaxFindings = 64

// Finding is something that is wrong with a device of a node's machine. A node of
// which a fatal finding concerns a device that it computes on is unfit.
type Finding struct {
	// Device is the name among the node's devices; empty for one beside them, that the
	// node does not compute on.
	Device   string `json:"device,omitempty"`
	UUID     string `json:"uuid,omitempty"` // of the GPU; empty where it is about none alone
	Severity string `json:"severity"`
	Reason   string `json:"reason"` // a sentence that names the device
}
