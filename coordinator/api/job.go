package api

// Job is a job file: what to repair, how, and where the result goes. Field names
// in YAML are those of the yaml tags, numbers lie in the intervals of the range
// tags; `ressa init` prints a commented example.
type Job struct {
	// Name labels the job in lists and directories: letters, digits, - and _.
	Name string `yaml:"name"`
	// Seed drives initialisation, data order and sampling.
	Seed     uint64   `yaml:"seed" range:"[0,18446744073709551615]"`
	Model    Model    `yaml:"model"`
	Data     Data     `yaml:"data"`
	Prune    Prune    `yaml:"prune"`
	Adapter  Adapter  `yaml:"adapter"`
	Train    Train    `yaml:"train"`
	Distill  Distill  `yaml:"distill"`
	Evaluate Evaluate `yaml:"evaluate"`
	Export   Export   `yaml:"export"`
	Trace    Tracing  `yaml:"trace"`
}

// Model names the dense original.
type Model struct {
	// Path is a Hugging Face folder, or "demo" for the model that Ressa ships.
	Path string `yaml:"path"`
	// SHA256, where given, must be the folder's content hash.
	SHA256 string `yaml:"sha256,omitempty"`
	// Init is "pretrained", or "random" to train from config.json alone.
	Init string `yaml:"init"`
}

// Data names what is trained, validated and evaluated on.
type Data struct {
	Train      Source `yaml:"train"`
	Validation Source `yaml:"validation,omitempty"` // defaults to a share of train
	Test       Source `yaml:"test,omitempty"`       // needed for scores
	// Template is "llava-1.5" or "terse": how turns become a prompt.
	Template string `yaml:"template"`
	// MaxLength bounds a sample in tokens, image tokens included.
	MaxLength int `yaml:"max_length" range:"[2,1048576]"`
}

// Source is one data set.
type Source struct {
	// Format is "fashiongrid" (shipped with Ressa), "llava" or "parquet".
	Format string `yaml:"format,omitempty"`
	Path   string `yaml:"path,omitempty"`                         // JSON or Parquet file; for fashiongrid an optional folder of idx files
	Images string `yaml:"images,omitempty"`                       // image folder of a llava file
	Split  string `yaml:"split,omitempty"`                        // fashiongrid: train, validation or test
	Limit  int    `yaml:"limit,omitempty" range:"[0,2147483647]"` // examples at most; 0 is all
}

// Given reports whether the source is named at all.
func (s Source) Given() bool { return s != Source{} }

// Prune says how the towers are made sparse.
type Prune struct {
	// Method is "wanda", "magnitude", or "none" for a model that stays dense.
	Method string `yaml:"method"`
	// Pattern is "unstructured:R" or "n:m", for both towers.
	Pattern string `yaml:"pattern"`
	// Vision and Language override Pattern for one tower; "dense" leaves it out.
	Vision   string `yaml:"vision,omitempty"`
	Language string `yaml:"language,omitempty"`
	// CalibrationSamples are taken from the training data.
	CalibrationSamples int `yaml:"calibration_samples" range:"[1,1048576]"`
	// Masks is a folder written by `ressa prune`, whose masks are used as they are.
	Masks string `yaml:"masks,omitempty"`
}

// TowerPattern returns the pattern of a tower, "dense" for none.
func (p Prune) TowerPattern(role string) string {
	own := p.Vision
	if role == "language" {
		own = p.Language
	}
	switch {
	case p.Method == "none":
		return Dense
	case own != "":
		return own
	}
	return p.Pattern
}

// TowerKey returns the key of the job file that gives a tower its pattern.
func (p Prune) TowerKey(role string) string {
	own, key := p.Vision, "prune.vision"
	if role == "language" {
		own, key = p.Language, "prune.language"
	}
	if own == "" {
		return "prune.pattern"
	}
	return key
}

// Dense is the pattern of a tower that is not pruned.
const Dense = "dense"

// Adapter says what is trained.
type Adapter struct {
	// Method is "sparselora", "lora-remask", "masked" or "full".
	Method string  `yaml:"method"`
	Rank   int     `yaml:"rank" range:"[1,65536]"`
	Alpha  float64 `yaml:"alpha" range:"(0,1000000]"`
	// VisionRank overrides Rank in the vision tower; 0 does not.
	VisionRank int `yaml:"vision_rank,omitempty" range:"[0,65536]"`
	// Projector trains the projector with plain LoRA.
	Projector bool `yaml:"projector"`
}

// Where a job keeps the state that another generation goes on from.
const (
	KeepMemory      = "memory"      // of its nodes, each step, and in checkpoints
	KeepCheckpoints = "checkpoints" // alone
)

// What a forward leaves for the backward.
const (
	RecomputeNone   = "none"   // everything but norms and activations
	RecomputeMLPs   = "mlps"   // and but what goes into the activations of MLPs
	RecomputeBlocks = "blocks" // the inputs of blocks alone
)

// What [Train.Compute] may be.
const (
	ComputeFP32 = "fp32"
	ComputeBF16 = "bf16"
)

// Train says how long and how fast.
type Train struct {
	Steps int `yaml:"steps" range:"[0,2147483647]"`
	// Batch is the number of samples of a step, Microbatches the units it is cut
	// into. Neither depends on the number of nodes.
	Batch        int     `yaml:"batch" range:"[1,1048576]"`
	Microbatches int     `yaml:"microbatches" range:"[1,1048576]"`
	LR           float64 `yaml:"learning_rate" range:"(0,1000000]"`
	Schedule     string  `yaml:"schedule"`
	Warmup       int     `yaml:"warmup" range:"[0,2147483647]"`
	Floor        float64 `yaml:"floor" range:"[0,1]"`
	Beta1        float64 `yaml:"beta1" range:"[0,0.99999]"`
	Beta2        float64 `yaml:"beta2" range:"[0,0.9999999]"`
	Eps          float64 `yaml:"eps" range:"[1e-30,1]"`
	WeightDecay  float64 `yaml:"weight_decay" range:"[0,100]"`
	ClipNorm     float64 `yaml:"clip_norm" range:"[0,1000000000]"`
	// Wire is what gradients and activations are rounded to between ranks: fp32 or bf16.
	Wire string `yaml:"wire"`
	// Compute is [ComputeFP32], or [ComputeBF16]: products of matrices and attention
	// round their operands to bfloat16 and add up in float32. Only CUDA devices do.
	Compute string `yaml:"compute,omitempty"`
	// Recompute is [RecomputeNone], or saves memory for time: backward computes again
	// what is not kept. It changes no bit.
	Recompute string `yaml:"recompute,omitempty"`
	// CheckpointEvery is in steps; 0 writes one at the end only.
	CheckpointEvery int `yaml:"checkpoint_every" range:"[0,2147483647]"`
	Keep            int `yaml:"keep_checkpoints" range:"[1,1048576]"`
	// KeepState is [KeepMemory], or [KeepCheckpoints] to hold nothing in memory for a
	// generation that comes after the loss of a node.
	KeepState string `yaml:"keep_state"`
	// Store is NodesStore, or the URL of a CheckpointStore.
	Store string `yaml:"checkpoint_store,omitempty"`
	// ValidateEvery is in steps; 0 does not validate.
	ValidateEvery int `yaml:"validate_every" range:"[0,2147483647]"`
	// Patience ends training after so many validations without a better score; 0 does not.
	Patience int `yaml:"patience" range:"[0,2147483647]"`
	// Numerics is "strict" (one numeric kind, same bits) or "relaxed".
	Numerics string `yaml:"numerics"`
}

// Distill is the objective.
type Distill struct {
	Lambda      float64            `yaml:"lambda" range:"[0,1]"`
	Temperature float64            `yaml:"temperature" range:"[0.001,1000]"`
	KLReduction string             `yaml:"kl_reduction"`
	Teachers    map[string]float64 `yaml:"teachers" range:"(0,1000000]"`
}

// Evaluate says how models are scored.
type Evaluate struct {
	Questions       int  `yaml:"questions" range:"[0,2147483647]"`            // of the test split; 0 is all
	Batch           int  `yaml:"batch" range:"[1,65536]"`                     //
	MaxNewTokens    int  `yaml:"max_new_tokens" range:"[1,65536]"`            //
	Blind           bool `yaml:"blind"`                                       // also score with the image zeroed
	ValidationLimit int  `yaml:"validation_questions" range:"[0,2147483647]"` //
}

// Export says what is written.
type Export struct {
	// DType of the linear weights in the student and in the exported folder: bf16 or fp32.
	DType string `yaml:"dtype"`
}

// Tracing says which steps' traces go where. It is no part of the result.
type Tracing struct {
	// Every exports one step in so many, 0 only those that are slow or fail, which are
	// exported always.
	Every int `yaml:"every" range:"[0,2147483647]"`
	// Endpoint is the address of an OpenTelemetry collector, which the nodes reach:
	// http://HOST:PORT, https://…, grpc://… or grpcs://…. Empty leaves it to each
	// node's OTEL_* variables.
	Endpoint string `yaml:"endpoint,omitempty"`
}

// Default returns a job with every default filled in and nothing named.
func Default() Job {
	return Job{
		Name:  "repair",
		Seed:  42,
		Model: Model{Init: "pretrained"},
		Data:  Data{Template: "llava-1.5", MaxLength: 2048},
		Prune: Prune{Method: "wanda", Pattern: "2:4", CalibrationSamples: 128},
		Adapter: Adapter{
			Method: "sparselora", Rank: 8, Alpha: 16, Projector: true,
		},
		Train: Train{
			Steps: 1000, Batch: 32, Microbatches: 8, LR: 1e-4, Schedule: "cosine", Warmup: 10,
			Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, ClipNorm: 1, Wire: "fp32", Compute: ComputeFP32, Recompute: RecomputeNone, CheckpointEvery: 100, Keep: 2, KeepState: KeepMemory, Store: NodesStore, Numerics: "strict",
		},
		Distill:  Distill{Lambda: 0.5, Temperature: 1, KLReduction: "token", Teachers: map[string]float64{"dense-dense": 1}},
		Evaluate: Evaluate{Batch: 128, MaxNewTokens: 16, Blind: true, ValidationLimit: 1000},
		Export:   Export{DType: "bf16"},
		Trace:    Tracing{Every: 1},
	}
}
