package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"ressa/coordinator/api"
	"ressa/kernels/cpu"
	"ressa/trainer/bench"
)

// tracePairs is how many pairs of steps count, unless --turns says so.
const tracePairs = 31

// traceReport is what `ressa bench step --traces -o json` prints.
type traceReport struct {
	Threads  int        `json:"threads"`
	Endpoint string     `json:"endpoint,omitempty"`
	Tasks    []traceRow `json:"tasks"`
}

type traceRow struct {
	bench.Task
	bench.TraceCost
}

// traceCost measures what it costs to record and to export every step of the models.
func (f *formChoice) traceCost(ctx context.Context, pairs int, endpoint string, log *slog.Logger, progress io.Writer) (*traceReport, error) {
	if err := api.CheckThreads(f.threads); err != nil {
		return nil, err
	}
	if endpoint != "" {
		if err := api.CheckCollector(endpoint); err != nil {
			return nil, api.Invalid(fmt.Errorf("--endpoint: %w", err))
		}
	}
	if len(f.models) == 0 {
		return nil, api.Invalid(errors.New("--models: found none, want one or more"))
	}
	r := &traceReport{Threads: f.threads, Endpoint: endpoint}
	if r.Threads == 0 {
		r.Threads = processors()
	}
	for _, model := range f.models {
		t, err := bench.DefaultTask(model)
		if err != nil {
			return nil, api.Invalid(fmt.Errorf("--models: %w", err))
		}
		t.Pattern = "2:4"
		fmt.Fprintf(progress, "%s: %d pairs of steps\n", model, pairs)
		c, err := costOf(ctx, t, r.Threads, pairs, endpoint, log)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", model, err)
		}
		r.Tasks = append(r.Tasks, traceRow{t, c})
	}
	return r, nil
}

// costOf measures one task in a folder of its own.
func costOf(ctx context.Context, t bench.Task, threads, pairs int, endpoint string, log *slog.Logger) (c bench.TraceCost, err error) {
	dir, err := os.MkdirTemp("", "ressa-bench-")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := cpu.Open(cpu.Options{})
	if err != nil {
		return c, err
	}
	if err := errors.Join(bench.Prepare(ctx, d, dir, t), d.Close()); err != nil {
		return c, err
	}
	return bench.Traced(ctx, ourSolver(dir, threads, log), pairs, endpoint)
}

func (r *traceReport) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"model", "pairs", "spans a step", "ms plain", "ms recorded", "× wall (95 %)", "× processor, with delivery (95 %)", "dropped"})
	ratio := func(x bench.Ratio) string { return fmt.Sprintf("%.4f (%.4f–%.4f)", x.Median, x.Low, x.High) }
	for _, x := range r.Tasks {
		t.AppendRow(table.Row{x.Model, x.Pairs, fmt.Sprintf("%.0f", x.Spans), fmt.Sprintf("%.2f", x.Plain.Median*1e3), fmt.Sprintf("%.2f", x.Recorded.Median*1e3), ratio(x.Wall), ratio(x.Processor), x.Dropped})
	}
	t.Render()
	to := "a collector in this process, whose own time counts too"
	if r.Endpoint != "" {
		to = r.Endpoint
	}
	fmt.Fprintf(w, "%d threads; a pair is %d steps of each; every step recorded and exported to %s\n", r.Threads, r.Tasks[0].Steps, to)
}
