package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/cpu/dense"
	"ressa/kernels/cpu/openblas"
	"ressa/trainer/bench"
	"ressa/trainer/bench/pytorch"
	"ressa/trainer/checkpoint/durable"
)

// formChoice holds the flags of `ressa bench step --against`.
type formChoice struct {
	against, models, patterns                            []string
	threads, samples, microbatches, pixels, text, answer int
	python, plot, dtype, recompute                       string
}

// formReport is what `ressa bench step --against -o json` prints.
type formReport struct {
	Threads int       `json:"threads"`
	Turns   int       `json:"turns"`
	Core    string    `json:"openblas_core,omitempty"`
	Build   string    `json:"openblas_build,omitempty"`
	Tasks   []formRow `json:"tasks"`
}

// formRow is one model with one pattern.
type formRow struct {
	bench.Task
	Forms []bench.Result `json:"forms"`
}

func (f *formChoice) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.against, "against", nil, "instead of nodes: compare a step in this process with other forms of it, openblas or pytorch")
	flags.StringSliceVar(&f.models, "models", bench.Models(), "with --against or --traces: demo or smolvlm")
	flags.StringSliceVar(&f.patterns, "patterns", []string{"2:4", "unstructured:0.7"}, "with --against: of the masks")
	flags.IntVar(&f.threads, "threads", 0, "with --against or --traces: of every form; 0 uses all processors")
	flags.IntVar(&f.samples, "samples", 0, "with --against: samples of a microbatch; 0 is the model's default")
	flags.IntVar(&f.microbatches, "microbatches", 0, "with --against: of a step; 0 is the model's default")
	flags.IntVar(&f.pixels, "pixels", 0, "with --against: side of smolvlm's images; 0 is 512")
	flags.IntVar(&f.text, "text", 0, "with --against: text tokens of smolvlm's samples; 0 is 64")
	flags.IntVar(&f.answer, "answers", 0, "with --against: of them answers; 0 is 32")
	flags.StringVar(&f.dtype, "dtype", "fp32", "with --against: what W_eff is rounded to, fp32 or bf16; the published form does not round")
	flags.StringVar(&f.recompute, "recompute", api.RecomputeMLPs, "with --against: what ours computes again in backward: none, mlps or blocks")
	flags.StringVar(&f.python, "python", "", "with --against pytorch: the interpreter that has what trainer/bench/pytorch/requirements.txt pins")
	flags.StringVar(&f.plot, "plot", "", "with --against: also draw the figures into this file, .png or .svg")
}

// tasks returns what the flags ask for, or says which flag is wrong.
func (f *formChoice) tasks() (out []bench.Task, err error) {
	for _, form := range f.against {
		if form != bench.OpenBLAS && form != bench.PyTorch {
			return nil, fmt.Errorf("--against: found %q, want %s or %s", form, bench.OpenBLAS, bench.PyTorch)
		}
	}
	if wants := slices.Contains(f.against, bench.PyTorch); wants != (f.python != "") {
		return nil, fmt.Errorf("--python: found %q, want the path of an interpreter with --against pytorch and no other; `make bench-pytorch` makes one", f.python)
	}
	if f.python != "" {
		if _, err := exec.LookPath(f.python); err != nil {
			return nil, fmt.Errorf("--python: %w", err)
		}
	}
	if f.dtype != "fp32" && f.dtype != "bf16" {
		return nil, fmt.Errorf("--dtype: found %q, want fp32 or bf16", f.dtype)
	}
	if err := checkPlot(f.plot); err != nil {
		return nil, err
	}
	if (f.pixels != 0 || f.text != 0 || f.answer != 0) && !slices.Contains(f.models, "smolvlm") {
		return nil, fmt.Errorf("--pixels %d, --text %d, --answers %d: found with --models %s, want smolvlm among them: the demo has its own data", f.pixels, f.text, f.answer, strings.Join(f.models, ","))
	}
	for _, model := range f.models {
		for _, pattern := range f.patterns {
			t, err := bench.DefaultTask(model)
			if err != nil {
				return nil, fmt.Errorf("--models: %w", err)
			}
			t.Pattern, t.DType, t.Recompute = pattern, f.dtype, f.recompute
			set := map[*int]int{&t.Samples: f.samples, &t.Microbatches: f.microbatches}
			if t.Pixels > 0 { // else the model comes with its data
				set[&t.Pixels], set[&t.Text], set[&t.Answers] = f.pixels, f.text, f.answer
			}
			for value, flag := range set {
				if flag != 0 {
					*value = flag
				}
			}
			if err := t.Check(); err != nil {
				return nil, fmt.Errorf("--patterns, --dtype, --recompute, --microbatches, --samples, --pixels, --text or --answers: %w", err)
			}
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("--models, --patterns: found none, want one or more of each")
	}
	return out, nil
}

// measure runs every task in all forms.
func (f *formChoice) measure(ctx context.Context, turns int, progress io.Writer) (r *formReport, err error) {
	tasks, err := f.tasks()
	if err == nil {
		err = api.CheckThreads(f.threads)
	}
	if err != nil {
		return nil, api.Invalid(err)
	}
	r = &formReport{Threads: f.threads, Turns: turns}
	if r.Threads == 0 {
		r.Threads = processors()
	}
	if slices.Contains(f.against, bench.OpenBLAS) {
		lib, err := openblas.Load()
		if err != nil {
			return nil, fmt.Errorf("--against openblas: %w", err)
		}
		r.Core, r.Build = lib.Core(), lib.Config()
	}
	for _, t := range tasks {
		row := formRow{Task: t}
		if row.Forms, err = f.contest(ctx, t, r.Threads, turns, progress); err != nil {
			return nil, fmt.Errorf("%s %s: %w", t.Model, t.Pattern, err)
		}
		r.Tasks = append(r.Tasks, row)
	}
	return r, nil
}

// picture draws what was measured into the file that is asked for.
func (f *formChoice) picture(r *formReport) error {
	if f.plot == "" {
		return nil
	}
	picture, err := r.draw(filepath.Ext(f.plot) == ".svg")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(f.plot, picture); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// contest runs one task in a folder of its own.
func (f *formChoice) contest(ctx context.Context, t bench.Task, threads, turns int, progress io.Writer) (_ []bench.Result, err error) {
	dir, err := os.MkdirTemp("", "ressa-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(progress, "%s %s: making the task\n", t.Model, t.Pattern)
	d, err := cpu.Open(cpu.Options{})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(bench.Prepare(ctx, d, dir, t), d.Close()); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	solve := func(form string) bench.Entrant {
		return bench.Entrant{Form: form, Command: []string{self, "bench", "solve", dir, "--form", form, "--threads", strconv.Itoa(threads)}}
	}
	entrants := []bench.Entrant{solve(bench.Ours)}
	for _, form := range f.against {
		if form == bench.OpenBLAS {
			entrants = append(entrants, solve(form))
			continue
		}
		script := filepath.Join(dir, "step.py")
		if err := os.WriteFile(script, pytorch.Script, 0o644); err != nil {
			return nil, err
		}
		python, err := exec.LookPath(f.python)
		if err != nil {
			return nil, api.Invalid(fmt.Errorf("--python: %w", err))
		}
		env := []string{"OMP_NUM_THREADS=" + strconv.Itoa(threads)}
		if os.Getenv("OMP_WAIT_POLICY") == "" {
			// Threads that wait for each other by spinning lose whole time slices where other
			// programs run, and take the processors from the other forms.
			env = append(env, "OMP_WAIT_POLICY=PASSIVE")
		}
		entrants = append(entrants, bench.Entrant{Form: form, Command: []string{python, script, dir, strconv.Itoa(threads)}, Env: env})
	}
	return bench.Contest(ctx, entrants, turns, func(form string, turn int, seconds float64) {
		what := fmt.Sprintf("turn %d of %d", turn, turns)
		if turn == 0 {
			what = "warm-up"
		}
		fmt.Fprintf(progress, "%s %s, %s, %s: %.3f s\n", t.Model, t.Pattern, what, form, seconds)
	})
}

// benchSolve is the verb that the forms of ours run as.
func benchSolve() *cobra.Command {
	var form string
	var threads int
	cmd := &cobra.Command{Use: "solve TASK", Hidden: true, Short: "Make a step of a benchmark's task for every line of stdin", Args: exactly("TASK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if form != bench.Ours && form != bench.OpenBLAS {
				return api.Invalid(fmt.Errorf("--form: found %q, want %s or %s", form, bench.Ours, bench.OpenBLAS))
			}
			if err := api.CheckThreads(threads); err != nil {
				return err
			}
			s := ourSolver(args[0], threads, (&machine{}).log(cmd))
			if form == bench.OpenBLAS {
				s.Form, s.Open = form, func(weights int64, microbatches int) (kernels.Device, int, error) {
					lanes, inner := layOut(threads, weights/2, microbatches) // float32, where ours are bf16
					d, err := dense.Open(dense.Options{Threads: inner})
					return d, lanes, err
				}
			}
			return bench.Solve(cmd.Context(), s, cmd.InOrStdin(), cmd.OutOrStdout())
		}}
	cmd.Flags().StringVar(&form, "form", bench.Ours, "ours or openblas")
	cmd.Flags().IntVar(&threads, "threads", 0, "processor threads; 0 uses all")
	return cmd
}

// ourSolver solves a task on the processor.
func ourSolver(dir string, threads int, log *slog.Logger) bench.Solver {
	return bench.Solver{Dir: dir, Form: bench.Ours, Threads: threads, Open: func(weights int64, microbatches int) (kernels.Device, int, error) {
		o, err := openDevice(api.DeviceChoice{GPU: -1}, threads, work{weights, microbatches, api.ComputeFP32}, log)
		if err != nil {
			return nil, 0, err
		}
		return o.Device, o.Lanes, nil
	}}
}

func (r *formReport) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"model", "pattern", "form", "s a step", "× ours", "quartiles", "cpu s", "× ours", "start", "peak", "× ours", "above", "× ours", "loss off by"})
	var configs []table.ColumnConfig
	for n := 4; n <= 14; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	mib := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }
	for i, x := range r.Tasks {
		if i > 0 {
			t.AppendSeparator()
		}
		for _, f := range x.Forms {
			t.AppendRow(table.Row{x.Model, strings.TrimPrefix(x.Pattern, "unstructured:"), f.Form, fmt.Sprintf("%.3f", f.Seconds.Median), fmt.Sprintf("%.2f", f.Ratio.Median), fmt.Sprintf("%.2f–%.2f", f.Ratio.Q1, f.Ratio.Q3),
				fmt.Sprintf("%.3f", f.Processor.Median), fmt.Sprintf("%.2f", f.ProcessorRatio.Median),
				mib(f.Baseline), mib(f.Peak), fmt.Sprintf("%.2f", f.PeakRatio), mib(f.Peak - f.Baseline), fmt.Sprintf("%.2f", f.AboveRatio), fmt.Sprintf("%.1e", f.Difference)})
		}
	}
	t.Render()
	fmt.Fprintf(w, "%d threads, %d turns; cpu is the processor time of all threads; memory is the resident size in MiB: before the\nmodel is opened, at most during the steps, and how far that is above the start\n", r.Threads, r.Turns)
	for _, x := range r.Tasks {
		if x.Pattern != r.Tasks[0].Pattern {
			continue
		}
		fmt.Fprintf(w, "%s: %d microbatches of %d samples a step", x.Model, x.Microbatches, x.Samples)
		if x.Pixels > 0 {
			fmt.Fprintf(w, ", images of %d × %d pixels, %d text tokens of which %d are answers", x.Pixels, x.Pixels, x.Text, x.Answers)
		}
		fmt.Fprintln(w)
		for _, f := range x.Forms {
			fmt.Fprintf(w, "  %s: %s, %d lanes\n", f.Form, f.Kind, f.Lanes)
		}
	}
	if r.Core != "" {
		fmt.Fprintf(w, "OpenBLAS on core %s (%s)\n", r.Core, strings.TrimSpace(r.Build))
	}
}
