package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/objective"
	"ressa/trainer/optim"
	"ressa/trainer/prune"
	"ressa/trainer/step"
)

// Task is what all forms compute. It is task.json in the task's folder.
type Task struct {
	Model        string  `json:"model"` // demo or smolvlm
	Pattern      string  `json:"pattern"`
	Microbatches int     `json:"microbatches"`
	Samples      int     `json:"samples"` // of a microbatch
	Pixels       int     `json:"pixels"`  // of a side of an image; smolvlm only
	Text         int     `json:"text"`    // tokens of a sample beside the image's; smolvlm only
	Answers      int     `json:"answers"` // of them; smolvlm only
	Rank         int     `json:"rank"`
	Alpha        float64 `json:"alpha"`
	Lambda       float64 `json:"lambda"`
	Temperature  float64 `json:"temperature"`
	LR           float64 `json:"learning_rate"`
	ClipNorm     float64 `json:"clip_norm"`
	Seed         uint64  `json:"seed"`
	// Recompute is what ours computes again in backward: nothing, or mlps as the demo's job
	// says. The published form keeps everything.
	Recompute string `json:"recompute"`
	// DType is what W_eff is rounded to, fp32 or bf16. The published form does not round.
	DType string `json:"dtype"`
}

// Models are the models that there are tasks for.
func Models() []string { return []string{"demo", "smolvlm"} }

// DefaultTask returns the setting of a model: that of the demo's own job, and a
// step of one sample of a model of the size of SmolVLM-256M.
func DefaultTask(name string) (Task, error) {
	t := Task{Model: name, Microbatches: 8, Samples: 16, Rank: 16, Alpha: 32, Lambda: 0.5, Temperature: 1, LR: 3e-3, ClipNorm: 1, Seed: 42, DType: "fp32", Recompute: api.RecomputeMLPs}
	switch name {
	case "demo":
	case "smolvlm":
		t.Microbatches, t.Samples, t.LR = 1, 1, 1e-3
		t.Pixels, t.Text, t.Answers = 512, 64, 32
	default:
		return t, fmt.Errorf("model %q, want one of %v", name, Models())
	}
	return t, nil
}

// Check reports the first value that cannot be.
func (t Task) Check() error {
	if _, err := sparse.ParsePattern(t.Pattern); err != nil {
		return err
	}
	if _, err := model.ParseRecompute(t.Recompute); err != nil {
		return err
	}
	if t.DType != "fp32" && t.DType != "bf16" {
		return fmt.Errorf("dtype %q, want fp32 or bf16", t.DType)
	}
	if t.Microbatches < 1 || t.Samples < 1 || t.Microbatches*t.Samples > 1<<12 {
		return fmt.Errorf("%d microbatches of %d samples, want 1 or more of each and at most %d samples", t.Microbatches, t.Samples, 1<<12)
	}
	if t.Model == "smolvlm" && (t.Pixels < patch || t.Pixels > 1024 || t.Pixels%patch != 0) {
		return fmt.Errorf("images of %d pixels, want a multiple of %d up to 1024", t.Pixels, patch)
	}
	if t.Model == "smolvlm" && (t.Answers < 1 || t.Text <= t.Answers || t.Text > 2048) {
		return fmt.Errorf("%d text tokens with %d answers, want 1 or more answers and more tokens, up to 2048", t.Text, t.Answers)
	}
	return nil
}

// The files of a task. Both model folders hold the same numbers.
const (
	taskFile    = "task.json"
	narrowModel = "model"      // bf16, as checkpoints are published
	wideModel   = "model-fp32" // what the published form computes with
	masksFile   = "masks.safetensors"
	adapterFile = "adapter.safetensors"
	batchFile   = "batches.safetensors"
)

// Prepare writes a task into a folder that is there.
func Prepare(ctx context.Context, d kernels.Device, dir string, t Task) (err error) {
	if err := t.Check(); err != nil {
		return err
	}
	m, batches, err := t.open(ctx, d, dir)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := d.NewStream()
	if err != nil {
		return err
	}
	pool := model.NewPool(d)
	defer func() { pool.Close(); err = errors.Join(err, s.Close()) }()
	lane := &model.Lane{Stream: s, Pool: pool}
	if err := t.writeMasks(ctx, lane, m, filepath.Join(dir, masksFile)); err != nil {
		return err
	}
	var factors []safetensors.Entry
	for _, tower := range towers(m) {
		a, err := adapter.Attach(ctx, d, tower, t.adapter())
		if err != nil {
			return err
		}
		for _, slot := range a.Layout.Slots {
			values := make([]float32, slot.Len()) // B is zero
			if slot.Rows == t.Rank {
				values = adapter.KaimingUniform(slot, t.Seed)
			}
			factors = append(factors, safetensors.NewEntry(slot.Name, safetensors.Tensor{DType: safetensors.F32, Shape: []int{slot.Rows, slot.Cols}, Data: kernels.EncodeF32(values)}))
		}
		a.Detach()
	}
	if _, err := safetensors.Write(ctx, filepath.Join(dir, adapterFile), factors, nil); err != nil {
		return err
	}
	if _, err := safetensors.Write(ctx, filepath.Join(dir, batchFile), batchEntries(batches), nil); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, taskFile), raw)
}

// writeMasks prunes by magnitude.
func (t Task) writeMasks(ctx context.Context, l *model.Lane, m *llava.Model, path string) error {
	p, err := sparse.ParsePattern(t.Pattern)
	if err != nil {
		return err
	}
	var masks prune.Masks
	for _, tower := range towers(m) {
		more, err := prune.Compute(ctx, l, tower, prune.Options{Method: prune.Magnitude, Pattern: p})
		if err != nil {
			return err
		}
		masks = append(masks, more...)
	}
	_, err = masks.Save(ctx, path, nil, nil)
	return err
}

// readTask reads task.json.
func readTask(dir string) (t Task, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, taskFile))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("%s: %w", taskFile, err)
	}
	return t, t.Check()
}

func towers(m *llava.Model) []model.Tower { return []model.Tower{m.Vision, m.Language} }

func (t Task) adapter() adapter.Options {
	o := adapter.Options{Method: adapter.SparseLoRA, Rank: t.Rank, Alpha: t.Alpha, Projector: true, Round: kernels.F32}
	if t.DType == "bf16" {
		o.Round = kernels.BF16
	}
	return o
}

func (t Task) objective() (objective.Config, error) {
	teacher, err := objective.NewTeacher("dense-dense", 1)
	return objective.Config{Lambda: t.Lambda, Temperature: t.Temperature, Reduction: objective.TokenMean, Teachers: []objective.Teacher{teacher}}, err
}

// engine returns what computes the steps of a model that is loaded and pruned.
func (t Task) engine(ctx context.Context, d kernels.Device, m *llava.Model, form string, lanes int) (*step.Engine, []*adapter.Attachment, error) {
	o, err := t.objective()
	if err != nil {
		return nil, nil, err
	}
	again, err := model.ParseRecompute(t.Recompute)
	if err != nil {
		return nil, nil, err
	}
	if form != Ours {
		again = model.RecomputeNothing
	}
	var attachments []*adapter.Attachment
	var layouts []*model.Layout
	for _, tower := range towers(m) {
		a, err := adapter.Attach(ctx, d, tower, t.adapter())
		if err != nil {
			return nil, nil, err
		}
		attachments, layouts = append(attachments, a), append(layouts, a.Layout)
	}
	e, err := step.NewEngine(d, step.Config{
		Graph: step.Graph{
			Towers: []string{step.Vision, step.Language}, Inputs: [][]int{nil, {0}},
			Nodes: []step.Node{
				&step.TowerNode{Role: step.Vision, Tower: m.Vision, Flows: step.VisionFlows(o)},
				&step.TowerNode{Role: step.Language, Tower: m.Language, Flows: step.LanguageFlows(o), InputGradient: true, Loss: &step.Loss{Language: m.Language, Config: o}},
			},
		},
		Layouts: layouts, Objective: o, Lanes: lanes, Wire: kernels.F32, Recompute: again,
		Optimiser: optim.Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, ClipNorm: t.ClipNorm},
		Schedule:  optim.Schedule{Kind: "constant", Base: t.LR, Steps: 1 << 30},
	})
	return e, attachments, err
}
