package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/kernels/cpu/bench"
	"ressa/kernels/cpu/openblas"
)

// withoutOpenBLAS says what to do where there is nothing to compare with.
const withoutOpenBLAS = "OpenBLAS was not found, so our side stands alone; install it by `apt-get install libopenblas0-pthread`"

// kernelReport is what `ressa bench kernels -o json` prints.
type kernelReport struct {
	Kind    string      `json:"numeric_kind"`
	Threads int         `json:"threads"`
	Core    string      `json:"openblas_core,omitempty"` // whose kernels it chose
	Build   string      `json:"openblas_build,omitempty"`
	Note    string      `json:"note,omitempty"`
	Rows    []kernelRow `json:"rows"`
	Memory  *memory     `json:"memory,omitempty"`
}

// kernelRow is the measurement of one operation at one size. Rates count the
// dense product alone: 2·rows·out·in.
type kernelRow struct {
	Op       string  `json:"op"`
	Rows     int     `json:"rows"`
	Out      int     `json:"out"`
	In       int     `json:"in"`
	Rank     int     `json:"rank,omitempty"`
	Ours     float64 `json:"gflops"`
	OpenBLAS float64 `json:"openblas_gflops,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"` // ours / OpenBLAS
}

// BenchCommand returns the verb bench.
func BenchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure this machine", Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(benchKernels(), benchCollective(), benchStep())
	return cmd
}

func benchKernels() *cobra.Command {
	var m machine
	var names []string
	var turns int
	var withMemory bool
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Time the kernels beside OpenBLAS, and the memory of a repair step beside the naive form",
		Long: "Times matrix products and the operations of a SparseLoRA layer, ours and OpenBLAS's\n" +
			"in turns on the same numbers and threads. OpenBLAS knows neither mask nor adapter:\n" +
			"beside those operations stands its dense product alone. All figures are medians over\n" +
			"the turns, the ratio too: it is that of sides which ran one after the other.\n\n" +
			"Shapes are names or sizes: cube (1024×1024×1024), large (2048×4096×4096, a layer of\n" +
			"a 7B model), demo (the layers of the shipped model), or ROWSxOUTxIN.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.check(); err != nil {
				return err
			}
			if turns < 1 {
				return api.Invalid(fmt.Errorf("--turns: found %d, want 1 or more", turns))
			}
			shapes, err := parseShapes(names)
			if err != nil {
				return api.Invalid(fmt.Errorf("--shapes: %w", err))
			}
			r, err := measureKernels(cmd.Context(), bench.Options{Threads: m.threads, Turns: turns}, shapes)
			if err != nil {
				return err
			}
			if withMemory {
				if r.Memory, err = stepMemory(cmd.Context(), &m, m.log(cmd)); err != nil {
					return err
				}
			}
			return m.print(cmd.OutOrStdout(), r, r.table)
		},
	}
	m.register(cmd)
	cmd.Flags().StringSliceVar(&names, "shapes", []string{"cube", "large", "demo"}, "names or sizes, separated by commas")
	cmd.Flags().IntVar(&turns, "turns", 5, "measurements of each side, of which the median counts")
	cmd.Flags().BoolVar(&withMemory, "memory", true, "also run one step of the shipped model for its peak memory")
	return cmd
}

// layerRank is the rank of the adapters that are measured.
const layerRank = 16

// parseShapes returns all operations at each of the named sizes.
func parseShapes(names []string) ([]bench.Shape, error) {
	var out []bench.Shape
	for _, name := range names {
		switch name {
		case "demo":
			out = append(out, bench.Demo()...)
			continue
		case "large":
			out = append(out, bench.Large()...)
			continue
		case "cube":
			name = "1024x1024x1024"
		}
		s := bench.Shape{}
		var rest string
		if n, _ := fmt.Sscanf(name+" .", "%dx%dx%d %s", &s.Rows, &s.Out, &s.In, &rest); n != 4 || rest != "." {
			return nil, fmt.Errorf("found %q, want cube, large, demo or ROWSxOUTxIN", name)
		}
		if smallest, largest := min(s.Rows, s.Out, s.In), max(s.Rows, s.Out, s.In); smallest < 1 || largest > 1<<16 {
			return nil, fmt.Errorf("found %q, want sizes of 1 to %d", name, 1<<16)
		}
		for _, op := range []bench.Op{bench.GemmNT, bench.GemmNN, bench.GemmTN, bench.Forward, bench.Input, bench.Adapter, bench.Weighted} {
			s.Op, s.Rank = op, 0
			if op == bench.Forward || op == bench.Input || op == bench.Adapter {
				s.Rank = min(layerRank, s.Out, s.In)
			}
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("found none")
	}
	return out, nil
}

func measureKernels(ctx context.Context, o bench.Options, shapes []bench.Shape) (*kernelReport, error) {
	r := &kernelReport{Threads: o.Threads}
	if r.Threads == 0 {
		r.Threads = processors()
		o.Threads = r.Threads
	}
	if lib, err := openblas.Load(); err == nil {
		r.Core, r.Build = lib.Core(), lib.Config()
	} else {
		r.Note = withoutOpenBLAS
	}
	o.Turn = 20 * time.Millisecond
	rows, err := bench.Compare(ctx, o, shapes)
	if err != nil {
		return nil, err
	}
	for _, x := range rows {
		r.Kind = x.Kind
		r.Rows = append(r.Rows, kernelRow{Op: string(x.Shape.Op), Rows: x.Shape.Rows, Out: x.Shape.Out, In: x.Shape.In, Rank: x.Shape.Rank,
			Ours: x.Ours, OpenBLAS: x.OpenBLAS, Ratio: x.Ratio})
	}
	return r, nil
}

func (r *kernelReport) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"operation", "rows × out × in", "rank", "GFLOP/s", "OpenBLAS", "ratio"})
	configs := make([]table.ColumnConfig, 0, 5)
	for n := 2; n <= 6; n++ {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for _, x := range r.Rows {
		row := table.Row{x.Op, fmt.Sprintf("%d × %d × %d", x.Rows, x.Out, x.In), "", fmt.Sprintf("%.1f", x.Ours), "–", "–"}
		if x.Rank > 0 {
			row[2] = x.Rank
		}
		if x.OpenBLAS > 0 {
			row[4], row[5] = fmt.Sprintf("%.1f", x.OpenBLAS), fmt.Sprintf("%.2f", x.Ratio)
		}
		t.AppendRow(row)
	}
	t.Render()
	fmt.Fprintf(w, "%s, %d threads", r.Kind, r.Threads)
	if r.Core != "" {
		fmt.Fprintf(w, "; OpenBLAS on core %s (%s)", r.Core, strings.TrimSpace(r.Build))
	}
	fmt.Fprintln(w)
	if r.Note != "" {
		fmt.Fprintln(w, r.Note)
	}
	if r.Memory != nil {
		r.Memory.print(w)
	}
}
