package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ressa/coordinator/api"
	"ressa/trainer/demo"
)

// Shape of the job of `ressa bench step`.
const (
	stepMicrobatches = 8
	stepSize         = 16 // samples of a microbatch
)

// stepReport is what `ressa bench step -o json` prints.
type stepReport struct {
	Processors int       `json:"processors"`
	Rows       []stepRow `json:"rows"`
	Adapter    string    `json:"adapter_sha256"` // the same for all rows
}

// stepRow is the job on one number of nodes, or with one way to keep its state.
type stepRow struct {
	Nodes   int       `json:"nodes"`
	Keeps   string    `json:"keeps,omitempty"`
	Threads int       `json:"threads"`      // of each node
	Seconds float64   `json:"step_seconds"` // median of the turns
	Turns   []float64 `json:"turns"`        // mean step of each turn, without the first step
	// Ratio is the step time divided by that of the first row, the median over the
	// turns of what was measured in the same turn.
	Ratio float64 `json:"ratio"`

	args   []string
	change func(*api.Train)
}

// keepRows are rows that differ in what they keep of the trained state, on two nodes
// each of which holds one tower alone: whose buddy the other is.
func keepRows(every int) []stepRow {
	apart := []string{"--vision-replicas", "1", "--language-replicas", "1"}
	row := func(keeps, state string, every int) stepRow {
		return stepRow{Nodes: 2, Threads: max(1, processors()/2), Keeps: keeps, args: apart,
			change: func(t *api.Train) { t.KeepState, t.CheckpointEvery = state, every }}
	}
	return []stepRow{row("nothing", api.KeepCheckpoints, 0), row("every step, in memory", api.KeepMemory, 0),
		row(fmt.Sprintf("that, and a checkpoint every %d steps", every), api.KeepMemory, every)}
}

func benchStep() *cobra.Command {
	var m machine
	var forms formChoice
	var nodes []int
	var turns, steps, width, every int
	var keeps, traces bool
	var endpoint string
	cmd := &cobra.Command{
		Use:   "step",
		Short: "Time a repair's steps on several nodes, or beside other forms of the step",
		Long: "Repairs a random LLaVA-shaped model, larger than the demo's, on clusters of real\n" +
			"processes on this machine, which share its processors evenly: one number of nodes\n" +
			"after the other, in turns. What several nodes need more than the first number is what\n" +
			"distribution costs here. All of them must give the same adapter.\n\n" +
			"With --keeps the rows differ in what is kept of the trained state instead, on two nodes\n" +
			"of one tower each: nothing, every step on both nodes, and checkpoints beside that.\n\n" +
			"With --traces steps that are recorded and exported alternate with steps that are not, in\n" +
			"this process.\n\n" +
			"With --against the whole step, student and teacher forward, loss, backward and AdamW, is\n" +
			"timed on one node beside the published form of SparseLoRA, which writes W_eff and dW out\n" +
			"whole: on the same engine with OpenBLAS, or in PyTorch. Each form is a process of its own\n" +
			"that makes a step in turn; all start from the same files, and how far their losses are\n" +
			"apart is reported. Models are the demo's with its own job, and a random one of the size of\n" +
			"SmolVLM-256M, whose language tower gets a token for every patch of the image.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.check(); err != nil {
				return err
			}
			if endpoint != "" && !traces {
				return api.Invalid(errors.New("--endpoint: found without --traces, want both or neither"))
			}
			if traces {
				if err := alone(cmd, "traces", "endpoint", "models", "threads", "turns", "output-format"); err != nil {
					return err
				}
				if !cmd.Flags().Changed("turns") {
					turns = tracePairs
				}
				if turns < 1 {
					return api.Invalid(fmt.Errorf("--turns: found %d, want 1 or more", turns))
				}
				report, err := forms.traceCost(cmd.Context(), turns, endpoint, m.log(cmd), cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				return m.print(cmd.OutOrStdout(), report, report.table)
			}
			r := &stepReport{Processors: processors()}
			if len(forms.against) > 0 {
				for _, other := range []string{"nodes", "keeps", "every", "steps", "width"} {
					if cmd.Flags().Changed(other) {
						return api.Invalid(fmt.Errorf("--against: found with --%s, want one of them", other))
					}
				}
				if turns < 1 {
					return api.Invalid(fmt.Errorf("--turns: found %d, want 1 or more", turns))
				}
				report, err := forms.measure(cmd.Context(), turns, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				if err := m.print(cmd.OutOrStdout(), report, report.table); err != nil {
					return err
				}
				return forms.picture(report)
			}
			for _, other := range []string{"models", "patterns", "threads", "samples", "microbatches", "pixels", "text", "answers", "dtype", "recompute", "python", "plot"} {
				if cmd.Flags().Changed(other) {
					return api.Invalid(fmt.Errorf("--%s: found without --against, want both or neither", other))
				}
			}
			if turns < 1 || steps < 3 || steps > 10000 || width < 1 || width > 64 || every < 1 {
				return api.Invalid(fmt.Errorf("--turns %d, --steps %d, --width %d, --every %d: want turns from 1, 3 to 10000 steps, widths from 1 to 64, checkpoints every 1 or more steps", turns, steps, width, every))
			}
			if keeps {
				r.Rows, nodes = keepRows(every), nil
			}
			for _, n := range nodes {
				if n < 1 || n > r.Processors || n > stepMicrobatches {
					return api.Invalid(fmt.Errorf("--nodes: found %d, want 1 to %d: a processor and a microbatch for each", n, min(r.Processors, stepMicrobatches)))
				}
				r.Rows = append(r.Rows, stepRow{Nodes: n, Threads: r.Processors / n})
			}
			if len(r.Rows) == 0 {
				return api.Invalid(errors.New("--nodes: found none, want numbers of nodes, separated by commas"))
			}
			if err := r.measure(cmd.Context(), turns, steps, width, cmd.ErrOrStderr()); err != nil {
				return err
			}
			return m.print(cmd.OutOrStdout(), r, r.table)
		},
	}
	forms.register(cmd)
	cmd.Flags().IntSliceVar(&nodes, "nodes", []int{1, 2}, "numbers of nodes, separated by commas; ratios compare with the first")
	cmd.Flags().BoolVar(&keeps, "keeps", false, "compare what is kept of the trained state, on two nodes")
	cmd.Flags().BoolVar(&traces, "traces", false, "compare steps that are recorded and exported with steps that are not, in pairs (31, or --turns)")
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "with --traces: the collector, as trace.endpoint of a job; empty takes one in this process")
	cmd.Flags().IntVar(&every, "every", 4, "steps from one checkpoint to the next, with --keeps")
	cmd.Flags().IntVar(&turns, "turns", 3, "measurements of each, of which the median counts")
	cmd.Flags().IntVar(&steps, "steps", 12, "steps of a measurement")
	cmd.Flags().IntVar(&width, "width", 6, "attention heads of 64 channels of the language tower; the vision tower has two thirds of them")
	cmd.Flags().StringVarP(&m.form, "output-format", "o", "table", "table or json (one object)")
	return cmd
}

// alone refuses flags that were set and are none of those that go with the first.
func alone(cmd *cobra.Command, with ...string) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(with, f.Name) && err == nil {
			err = api.Invalid(fmt.Errorf("--%s: found with --%s, want one of them", f.Name, with[0]))
		}
	})
	return err
}

// measure runs the job in turns.
func (r *stepReport) measure(ctx context.Context, turns, steps, width int, progress io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "ressa-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	job, err := stepJob(ctx, dir, steps, width)
	if err != nil {
		return err
	}
	paths := make([]string, len(r.Rows))
	for i, row := range r.Rows {
		j := job
		if row.change != nil {
			row.change(&j.Train)
		}
		paths[i] = filepath.Join(dir, fmt.Sprintf("job-%d.yaml", i))
		if err := writeYAML(paths[i], j); err != nil {
			return err
		}
	}
	for turn := range turns {
		for i := range r.Rows {
			row := &r.Rows[i]
			out := filepath.Join(dir, fmt.Sprintf("run-%d-%d", turn, i))
			args := append([]string{"repair", paths[i], "--output", out, "-o", "json", "--local", strconv.Itoa(row.Nodes), "--threads", strconv.Itoa(row.Threads)}, row.args...)
			seconds, adapter, err := timeSteps(ctx, args...)
			if err != nil {
				return fmt.Errorf("%d nodes: %w", row.Nodes, err)
			}
			if r.Adapter != "" && adapter != r.Adapter {
				return fmt.Errorf("%d nodes gave the adapter %s, before it was %s", row.Nodes, adapter, r.Adapter)
			}
			r.Adapter = adapter
			row.Turns = append(row.Turns, seconds)
			fmt.Fprintf(progress, "turn %d of %d, %d nodes of %d threads%s: %.3f s a step\n", turn+1, turns, row.Nodes, row.Threads, row.kept(), seconds)
			if err := os.RemoveAll(out); err != nil {
				return err
			}
		}
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		ratios := make([]float64, len(row.Turns))
		for t, s := range row.Turns {
			ratios[t] = s / r.Rows[0].Turns[t]
		}
		row.Seconds, row.Ratio = middle(row.Turns), middle(ratios)
	}
	return nil
}

func (r stepRow) kept() string {
	if r.Keeps == "" {
		return ""
	}
	return ", keeping " + r.Keeps
}

// middle returns the median of a few numbers.
func middle(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// stepJob makes a random model and returns the job that repairs it.
func stepJob(ctx context.Context, dir string, steps, width int) (j api.Job, err error) {
	shape := filepath.Join(dir, "shape")
	if err := demo.Write(shape); err != nil {
		return j, err
	}
	if err := os.Remove(filepath.Join(shape, "model.safetensors")); err != nil {
		return j, err
	}
	if err := widen(filepath.Join(shape, "config.json"), width); err != nil {
		return j, err
	}
	d, err := api.ParseJob("demo job", strings.NewReader(api.DemoJob()))
	if err != nil {
		return j, err
	}
	j = d
	j.Name, j.Model = "random", api.Model{Path: shape, Init: "random"}
	j.Prune.Method = "none"
	j.Adapter.Method = "full"
	j.Distill.Lambda = 0
	j.Train.Steps, j.Train.Warmup, j.Train.Microbatches, j.Train.Batch = 1, 0, stepMicrobatches, stepMicrobatches
	j.Evaluate.Questions, j.Evaluate.Batch, j.Evaluate.Blind = 8, 8, false
	path := filepath.Join(dir, "job.yaml")
	if err := writeYAML(path, j); err != nil {
		return j, err
	}
	if _, _, err := timeSteps(ctx, "repair", path, "--output", filepath.Join(dir, "random"), "-o", "json"); err != nil {
		return j, fmt.Errorf("make a random model: %w", err)
	}
	j.Name, j.Model = "bench", api.Model{Path: filepath.Join(dir, "random", "output"), Init: "pretrained"}
	j.Prune, j.Adapter, j.Distill = d.Prune, d.Adapter, d.Distill
	j.Prune.Method = "magnitude"
	j.Train.Steps, j.Train.Batch = steps, stepMicrobatches*stepSize
	return j, nil
}

// widen makes the model of a config.json larger.
func widen(path string, width int) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	language, _ := config["text_config"].(map[string]any)
	vision, _ := config["vision_config"].(map[string]any)
	if language == nil || vision == nil {
		return fmt.Errorf("%s: no text_config or vision_config", path)
	}
	heads := func(tower map[string]any, n int) {
		tower["hidden_size"], tower["num_attention_heads"], tower["num_hidden_layers"] = 64*n, n, 6
	}
	heads(language, width)
	language["num_key_value_heads"], language["head_dim"], language["intermediate_size"] = width, 64, (64*width*8/3+31)/32*32
	small := max(1, width*2/3)
	heads(vision, small)
	vision["projection_dim"], vision["intermediate_size"] = 64*small, 4*64*small
	return writeJSON(path, config)
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

func writeYAML(path string, v any) error {
	raw, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

// timeSteps runs a verb of this program that prints a job's events, and returns the
// mean time of a step after the first one and the adapter's hash.
func timeSteps(ctx context.Context, args ...string) (seconds float64, adapter string, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, "", err
	}
	var out, complaints bytes.Buffer
	c := exec.CommandContext(ctx, self, args...)
	c.Stdout, c.Stderr = &out, &complaints
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) } // it cleans up
	c.WaitDelay = 30 * time.Second
	if err := c.Run(); err != nil {
		return 0, "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	var times []float64
	for d := json.NewDecoder(&out); ; {
		var e struct {
			Event   string  `json:"event"`
			Seconds float64 `json:"seconds"`
			Adapter string  `json:"adapter_sha256"`
		}
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, "", err
		}
		switch e.Event {
		case "step":
			times = append(times, e.Seconds)
		case "result":
			adapter = e.Adapter
		}
	}
	if n := len(times) - 1; n > 0 {
		seconds = (times[n] - times[0]) / float64(n)
	}
	return seconds, adapter, nil
}

func (r *stepReport) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"nodes", "threads each", "s a step", "ms a microbatch", "× first", "keeps"})
	configs := []table.ColumnConfig{{Number: 6, Hidden: r.Rows[0].Keeps == ""}}
	for n := 1; n <= 5; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for _, x := range r.Rows {
		t.AppendRow(table.Row{x.Nodes, x.Threads, fmt.Sprintf("%.3f", x.Seconds), fmt.Sprintf("%.0f", x.Seconds/stepMicrobatches*1e3), fmt.Sprintf("%.3f", x.Ratio), x.Keeps})
	}
	t.Render()
	fmt.Fprintf(w, "%d processors; %d microbatches a step, their time is a step's divided by their number; adapter %s everywhere\n", r.Processors, stepMicrobatches, r.Adapter)
}
