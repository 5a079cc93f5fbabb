package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"ressa/coordinator/api"
)

//go:embed job.yaml
var jobFile string

// job returns the repair that is made on every device: short is one of seconds for a
// device that is a thousand times slower than a GPU.
func (c *check) job(compute string) string {
	text := strings.Replace(jobFile, "COMPUTE", compute, 1)
	if c.short {
		text = strings.NewReplacer("steps: 30", "steps: 3", "warmup: 5", "warmup: 0", "batch: 64", "batch: 4", "microbatches: 8", "microbatches: 2", "questions: 1000", "questions: 4",
			"calibration_samples: 64", "calibration_samples: 4", "limit: 4096", "limit: 64").Replace(text)
	}
	return text
}

// made is what a repair did.
type made struct {
	Losses  []float64 `json:"losses"`
	Kind    string    `json:"numeric_kind"`
	Adapter string    `json:"adapter_sha256"`
	Seconds float64   `json:"seconds"`
	Nodes   int       `json:"nodes"` // that took part
}

// repair runs the job on a device, by so many nodes of this machine, or in one process
// for none. What was made is kept under its name, so that steps can share it.
func (c *check) repair(ctx context.Context, name, device, compute string, nodes int) (m made, err error) {
	kept := filepath.Join(c.folder, name+".json")
	if raw, err := os.ReadFile(kept); err == nil {
		return m, json.Unmarshal(raw, &m)
	}
	spec := filepath.Join(c.folder, name+".yaml")
	if err := os.WriteFile(spec, []byte(c.job(compute)), 0o644); err != nil {
		return m, err
	}
	args := []string{"repair", spec, "--device", device, "--output", filepath.Join(c.folder, name), "-o", "json"}
	if nodes > 0 {
		args = append(args, "--local", fmt.Sprint(nodes))
	}
	said, err := c.own(ctx, "ressa", args...)
	if err != nil {
		return m, fmt.Errorf("repair %s, --device %s: %w", name, device, err)
	}
	if m, err = read(said.stdout); err != nil {
		return m, fmt.Errorf("repair %s, --device %s: %w", name, device, err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	return m, os.WriteFile(kept, raw, 0o644)
}

// read takes the losses and the result from the lines of `-o json`.
func read(stdout []byte) (m made, err error) {
	decoder := json.NewDecoder(bytes.NewReader(stdout))
	var result api.Result
	for decoder.More() {
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return m, fmt.Errorf("read its events: %w", err)
		}
		var e api.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			return m, fmt.Errorf("read its events: %w", err)
		}
		if e.Step != nil {
			m.Losses = append(m.Losses, e.Step.Loss)
		}
		if e.Event == "result" {
			if err := json.Unmarshal(raw, &result); err != nil {
				return m, fmt.Errorf("read its result: %w", err)
			}
		}
	}
	if result.State != api.Succeeded || len(m.Losses) == 0 || len(result.AdapterSHA256) != 64 {
		return m, fmt.Errorf("it ended as %q after %d steps with adapter %q", result.State, len(m.Losses), result.AdapterSHA256)
	}
	seen := map[string]bool{}
	for _, r := range result.Ranks {
		seen[r.Node] = true
	}
	m.Kind, m.Adapter, m.Seconds, m.Nodes = result.NumericKind, result.AdapterSHA256, result.Seconds, len(seen)
	return m, nil
}

// tolerance is how far losses may be apart, in parts of the loss: of each of the first
// firstSteps, of each step behind, and of the mean of all.
type tolerance struct{ first, step, mean float64 }

const firstSteps = 4

// Float32 products differ by roundings, some 1e-7. From the fourth step or so training
// carries them on, since W_eff is rounded to bfloat16: the processor's kernels are up to
// 3e-4 from the reference in this job. Bfloat16 products round operands to 2⁻⁸, which
// shows in a step of few samples.
func tolerances(compute string) tolerance {
	if compute == api.ComputeBF16 {
		return tolerance{0.2, 0.2, 0.05}
	}
	return tolerance{1e-5, 1e-2, 1e-3}
}

// apart compares two curves and returns the greatest difference of a step, and that of
// the means.
func apart(a, b made, t tolerance) (worst, mean float64, err error) {
	if len(a.Losses) != len(b.Losses) {
		return 0, 0, fmt.Errorf("%d steps on %s, %d on %s", len(a.Losses), a.Kind, len(b.Losses), b.Kind)
	}
	sumA, sumB := 0.0, 0.0
	for i, x := range a.Losses {
		y := b.Losses[i]
		sumA, sumB = sumA+x, sumB+y
		d := math.Abs(x-y) / math.Abs(y)
		most := t.step
		if i < firstSteps {
			most = t.first
		}
		if !(d <= most) { // NaN too
			return d, d, fmt.Errorf("the loss of step %d is %.6g on %s and %.6g on %s: %.1e apart, want at most %.0e", i+1, x, a.Kind, y, b.Kind, d, most)
		}
		worst = max(worst, d)
	}
	if mean = math.Abs(sumA-sumB) / math.Abs(sumB); mean > t.mean {
		return worst, mean, fmt.Errorf("the mean loss on %s and on %s is %.1e apart, want at most %.0e", a.Kind, b.Kind, mean, t.mean)
	}
	return worst, mean, nil
}

func (c *check) gpu() string { return fmt.Sprintf("cuda:%d", c.device) }

// losses repairs on the GPU and on the processor.
func losses(ctx context.Context, c *check, o *Outcome) error {
	return c.compare(ctx, o, "gpu", api.ComputeFP32)
}

func lossesBF16(ctx context.Context, c *check, o *Outcome) error {
	return c.compare(ctx, o, "gpu-bf16", api.ComputeBF16)
}

func (c *check) compare(ctx context.Context, o *Outcome, name, compute string) error {
	host, err := c.repair(ctx, "cpu", "cpu", api.ComputeFP32, 0)
	if err != nil {
		return err
	}
	m, err := c.repair(ctx, name, c.gpu(), compute, 0)
	if err != nil {
		return err
	}
	o.Data = map[string]made{"cpu": host, name: m}
	if !strings.HasPrefix(m.Kind, "cuda-") {
		return fmt.Errorf("it was computed on %s, not on the GPU", m.Kind)
	}
	t := tolerances(compute)
	worst, mean, err := apart(m, host, t)
	if err != nil {
		return err
	}
	o.Lines = []string{
		fmt.Sprintf("%d steps: losses at most %.1e apart (allowed: %d of %.0e, then %.0e), their mean %.1e (%.0e); %.4f to %.4f", len(m.Losses), worst,
			firstSteps, t.first, t.step, mean, t.mean, m.Losses[0], m.Losses[len(m.Losses)-1]),
		fmt.Sprintf("%s in %.1f s, %s in %.1f s", m.Kind, m.Seconds, host.Kind, host.Seconds),
	}
	return nil
}

// sameBits repairs on the GPU a second time.
func sameBits(ctx context.Context, c *check, o *Outcome) error {
	return c.repeat(ctx, o, "gpu-again", 0, "a second run")
}

// twoNodes repairs by two processes on the GPU, which need not share its bits by luck.
func twoNodes(ctx context.Context, c *check, o *Outcome) error {
	return c.repeat(ctx, o, "gpu-nodes", 2, "two nodes on the same GPU")
}

func (c *check) repeat(ctx context.Context, o *Outcome, name string, nodes int, who string) error {
	first, err := c.repair(ctx, "gpu", c.gpu(), api.ComputeFP32, 0)
	if err != nil {
		return err
	}
	again, err := c.repair(ctx, name, c.gpu(), api.ComputeFP32, nodes)
	if err != nil {
		return err
	}
	o.Data = map[string]made{"first": first, name: again}
	if again.Nodes != max(1, nodes) {
		return fmt.Errorf("%d nodes took part, want %d", again.Nodes, max(1, nodes))
	}
	if first.Adapter != again.Adapter || first.Kind != again.Kind {
		return fmt.Errorf("%s gave other bits: adapter %.12s on %s, first %.12s on %s", who, again.Adapter, again.Kind, first.Adapter, first.Kind)
	}
	o.Lines = []string{fmt.Sprintf("%s gave adapter %.12s…, as the first run; %.1f s", who, again.Adapter, again.Seconds)}
	return nil
}
