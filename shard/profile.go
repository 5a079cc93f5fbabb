package shard

// Profile is what the planner knows of a job's model: what each block of each
// tower costs for one microbatch. All figures are for the job's own microbatch
// size and longest sample.
type Profile struct {
	Towers []Tower `json:"towers"` // vision, then language
	// CutBytes cross between the towers for a microbatch in one direction, at 4
	// bytes an element: the features of one flow.
	CutBytes int64 `json:"cut_bytes"`
	// Flows is how many feature sets cross forward: the student's and those of
	// teachers with a vision tower of their own. One gradient comes back.
	Flows int `json:"flows"`
}

// Tower is the profile of one tower.
type Tower struct {
	Role string `json:"role"`
	// Blocks hold the costs of the transformer blocks. What comes before the first
	// is added to it, what follows the last to that one.
	Blocks []Block `json:"blocks"`
	// HiddenBytes cross a cut inside the tower for a microbatch and flow, at 4 bytes
	// an element.
	HiddenBytes int64 `json:"hidden_bytes"`
	Flows       int   `json:"flows"` // forward runs of a microbatch: student and teachers
}

// Block is what one block costs.
type Block struct {
	Forward     float64 `json:"forward"`     // flops of one forward of a microbatch
	Backward    float64 `json:"backward"`    // flops of the student's backward
	Weights     int64   `json:"weights"`     // bytes of frozen weights and masks
	Trained     int64   `json:"trained"`     // trained elements: 16 bytes each (value, gradient, two moments)
	Activations int64   `json:"activations"` // bytes kept for the backward of one microbatch
}

// Node is what the planner knows of a node.
type Node struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`      // numeric kind
	Speed     float64 `json:"speed"`     // measured flop/s of a dense product
	Memory    int64   `json:"memory"`    // free bytes of the device
	Bandwidth float64 `json:"bandwidth"` // measured bytes/s to a peer; 0 is unknown
	Latency   float64 `json:"latency"`   // seconds one way
}
