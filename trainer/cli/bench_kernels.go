package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/kernels/cpu/bench"
	"ressa/kernels/sparse"
	"ressa/trainer/checkpoint/durable"
)

// withoutOpenBLAS says what to do where there is nothing to compare with.
const withoutOpenBLAS = "OpenBLAS was not found, so our side stands alone; install it by `apt-get install libopenblas0-pthread`"

// kernelChoice holds the flags that choose what is measured.
type kernelChoice struct {
	suites, shapes, patterns []string
	tokens, widths, ranks    []int
	turns                    int
	plot                     string
}

func benchKernels() *cobra.Command {
	var m machine
	var k kernelChoice
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Time the kernels beside OpenBLAS and beside the processor's floor",
		Long: "Times operations, ours and OpenBLAS's in turns on the same numbers and threads:\n\n" +
			"  gemm   plain products in the three forms of a linear layer, beside sgemm. Shapes are\n" +
			"         cube (1024×1024×1024), large (2048×4096×4096, a layer of a 7B model), demo,\n" +
			"         smolvlm, decode (a token at a time), or ROWSxOUTxIN\n" +
			"  layer  a SparseLoRA layer's step with random masks, beside the published form of the\n" +
			"         same step on sgemm: W_eff and dW written out whole\n" +
			"  ops    attention, norms, loss, optimiser and activations, which have no other side\n\n" +
			"Times are medians over the turns, with quartiles; a ratio is OpenBLAS's time divided by\n" +
			"ours in the same turn. Flops are those that the mask leaves. The floor, measured first,\n" +
			"is the rate of multiply-adds in registers, and of moving memory where the operands\n" +
			"exceed the last-level cache. With --threads 1 times are processor time.",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.check(); err != nil {
				return err
			}
			if m.device != "auto" && m.device != "cpu" {
				return api.Invalid(fmt.Errorf("--device: found %q, want auto or cpu: what is measured are the kernels of the processor", m.device))
			}
			groups, err := k.groups()
			if err != nil {
				return api.Invalid(err)
			}
			o := bench.Options{Threads: m.threads, Turns: k.turns}
			if m.verbose {
				o.Progress = func(group string) { fmt.Fprintln(cmd.ErrOrStderr(), group) }
			}
			if o.Threads == 0 {
				o.Threads = processors()
			}
			r, err := bench.Run(cmd.Context(), o, groups)
			if err != nil {
				return err
			}
			if err := m.print(cmd.OutOrStdout(), r, func(w io.Writer) { kernelTable(w, r) }); err != nil || k.plot == "" {
				return err
			}
			picture, err := plotKernels(r, k.plot)
			if err != nil {
				return err
			}
			if err := durable.WriteFile(k.plot, picture); err != nil {
				return fmt.Errorf("write the plot: %w", err)
			}
			return nil
		},
	}
	m.register(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&k.suites, "suites", []string{"gemm", "layer", "ops"}, "what to measure")
	f.StringSliceVar(&k.shapes, "shapes", []string{"cube", "large", "demo", "smolvlm", "decode"}, "gemm: names or sizes")
	f.StringSliceVar(&k.patterns, "patterns", []string{"unstructured:0.7", "2:4", "4:8", "unstructured:0.5"}, "layer: what the masks are like")
	f.IntSliceVar(&k.tokens, "tokens", []int{512, 2048}, "layer: tokens")
	f.IntSliceVar(&k.widths, "widths", []int{2048, 4096}, "layer: inputs and outputs")
	f.IntSliceVar(&k.ranks, "ranks", []int{8, 16}, "layer: ranks of the adapter")
	f.IntVar(&k.turns, "turns", 5, "measurements of each side, of which the median counts")
	f.StringVar(&k.plot, "plot", "", "also draw the figures into this file, .png or .svg")
	return cmd
}

// groups returns what the flags choose, or says which flag is wrong.
func (k *kernelChoice) groups() ([]bench.Group, error) {
	if k.turns < 1 {
		return nil, fmt.Errorf("--turns: found %d, want 1 or more", k.turns)
	}
	if err := checkPlot(k.plot); err != nil {
		return nil, err
	}
	shapes, err := parseShapes(k.shapes)
	if err != nil {
		return nil, fmt.Errorf("--shapes: %w", err)
	}
	var patterns []sparse.Pattern
	for _, text := range k.patterns {
		p, err := sparse.ParsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("--patterns: %w", err)
		}
		for _, width := range k.widths {
			if err := p.Fits(width); err != nil {
				return nil, fmt.Errorf("--widths: %w", err)
			}
		}
		patterns = append(patterns, p)
	}
	for _, list := range []struct {
		flag   string
		values []int
		most   int
	}{{"--tokens", k.tokens, 1 << 16}, {"--widths", k.widths, 1 << 14}, {"--ranks", k.ranks, 1 << 10}} {
		if len(list.values) == 0 || slices.Min(list.values) < 1 || slices.Max(list.values) > list.most {
			return nil, fmt.Errorf("%s: found %v, want numbers from 1 to %d", list.flag, list.values, list.most)
		}
	}
	var groups []bench.Group
	for _, suite := range k.suites {
		switch suite {
		case "gemm":
			groups = append(groups, bench.Gemms(shapes)...)
		case "layer":
			groups = append(groups, bench.Layers(patterns, k.tokens, k.widths, k.ranks)...)
		case "ops":
			groups = append(groups, bench.Others()...)
		default:
			return nil, fmt.Errorf("--suites: found %q, want gemm, layer or ops", suite)
		}
	}
	if len(groups) == 0 {
		return nil, errors.New("--suites: found none, want gemm, layer or ops")
	}
	return groups, nil
}

// parseShapes returns the three products at each of the named sizes.
func parseShapes(names []string) ([]bench.Shape, error) {
	known := map[string]func() []bench.Shape{"cube": bench.Cube, "large": bench.Large, "demo": bench.Demo, "smolvlm": bench.SmolVLM, "decode": bench.Decode}
	var out []bench.Shape
	for _, name := range names {
		if f, ok := known[name]; ok {
			out = append(out, f()...)
			continue
		}
		var rows, width, in int
		var rest string
		if n, _ := fmt.Sscanf(name+" .", "%dx%dx%d %s", &rows, &width, &in, &rest); n != 4 || rest != "." {
			return nil, fmt.Errorf("found %q, want cube, large, demo, smolvlm, decode or ROWSxOUTxIN", name)
		}
		products := bench.Products(rows, width, in)
		if err := products[0].Check(); err != nil {
			return nil, fmt.Errorf("found %q: %w", name, err)
		}
		out = append(out, products...)
	}
	if len(out) == 0 {
		return nil, errors.New("found none")
	}
	return out, nil
}

func kernelTable(w io.Writer, r *bench.Report) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"operation", "size", "pattern", "rank", "ms", "±", "GFLOP/s", "GB/s", "floor", "OpenBLAS", "ratio", "quartiles"})
	var configs []table.ColumnConfig
	for _, n := range []int{2, 4, 5, 6, 7, 8, 9, 10, 11, 12} {
		configs = append(configs, table.ColumnConfig{Number: n, Align: text.AlignRight})
	}
	layers := slices.ContainsFunc(r.Rows, func(x bench.Row) bool { return x.Suite == "layer" })
	configs = append(configs, table.ColumnConfig{Number: 3, Hidden: !layers})
	configs[1].Hidden = !layers
	t.SetColumnConfigs(configs)
	for i, x := range r.Rows {
		if i > 0 && x.Suite != r.Rows[i-1].Suite {
			t.AppendSeparator()
		}
		row := table.Row{x.Op, x.Size, strings.TrimPrefix(x.Pattern, "unstructured:"), "", duration(x.Seconds.Median), fmt.Sprintf("%.0f %%", 50*(x.Seconds.Q3-x.Seconds.Q1)/x.Seconds.Median),
			fmt.Sprintf("%.1f", x.GFLOPS), fmt.Sprintf("%.1f", x.GBps), fmt.Sprintf("%.0f %% %s", 100*x.Share, x.Bound[:1]), "–", "–", ""}
		if x.Rank > 0 {
			row[3] = x.Rank
		}
		if x.Ratio != nil {
			row[9], row[10], row[11] = duration(x.Theirs.Median), fmt.Sprintf("%.2f", x.Ratio.Median), fmt.Sprintf("%.2f–%.2f", x.Ratio.Q1, x.Ratio.Q3)
		}
		t.AppendRow(row)
	}
	t.Render()
	fmt.Fprintf(w, "%s, %d threads, %d turns, %s time; ± is half the distance of the quartiles\n", r.Kind, r.Threads, r.Turns, r.Clock)
	fmt.Fprintf(w, "floor: a, arithmetic, %.0f GFLOP/s; m, memory, %.1f GB/s, for operands larger than the cache of %.0f MiB\n", r.Floor.GFLOPS, r.Floor.GBps, r.Floor.Cache/(1<<20))
	if r.Core != "" {
		fmt.Fprintf(w, "OpenBLAS on core %s (%s)\n", r.Core, strings.TrimSpace(r.Build))
	} else {
		fmt.Fprintf(w, "%s (%s)\n", withoutOpenBLAS, r.Missing)
	}
}

// duration writes seconds as milliseconds with three digits.
func duration(seconds float64) string {
	ms := 1e3 * seconds
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	case ms >= 1:
		return fmt.Sprintf("%.2f", ms)
	}
	return fmt.Sprintf("%.4f", ms)
}
