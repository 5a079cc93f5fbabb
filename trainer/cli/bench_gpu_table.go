package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	cpu "ressa/kernels/cpu/bench"
	gpu "ressa/kernels/cuda/bench"
	"ressa/trainer/bench"
)

// gpuTables writes a measurement as Markdown.
func gpuTables(w io.Writer, r *bench.GPUReport) {
	fmt.Fprintf(w, "%s; ours %s; ", r.GPU, strings.Join(r.Kinds, ", "))
	if r.PyTorch != "" {
		fmt.Fprintf(w, "%s; ", r.PyTorch)
	} else {
		fmt.Fprintf(w, "without PyTorch (%s); ", r.Missing)
	}
	fmt.Fprintf(w, "%d turns, %.0f s. Medians; ratios are PyTorch's time divided by ours in the same turn, with quartiles.\n\n", r.Turns, r.Seconds)
	gpuRatios(w, r)
	gpuFloors(w, r)
	fmt.Fprintf(w, "\nPeaks: product ours %s, PyTorch %s, data sheet %s TFLOP/s; copy ours %s, PyTorch %s, data sheet %s GB/s.\n",
		tera(r.OurPeak.Flops), tera(r.Theirs.Flops), tera(r.Sheet.Flops), giga(r.OurPeak.Bytes), giga(r.Theirs.Bytes), giga(r.Sheet.Bytes))
	for _, suite := range []string{gpu.Layer, gpu.Attention, gpu.Loss} {
		if d, ok := r.Agreement[suite]; ok {
			fmt.Fprintf(w, "%s: both sides agree on the same numbers within %.1e of the greatest.\n", suite, d)
		}
	}
	for _, c := range r.Cases {
		for _, f := range c.Theirs {
			if f.Missing != "" {
				fmt.Fprintf(w, "%v, %s: not measured: %s\n", c.Case, f.Form, strings.Join(strings.Fields(f.Missing), " "))
			}
		}
	}
	for _, text := range r.LeftOut {
		fmt.Fprintf(w, "%s: left out, the time was over\n", text)
	}
}

// gpuRatios has a row for each form of ours that PyTorch is compared with.
func gpuRatios(w io.Writer, r *bench.GPUReport) {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"case", "mask", "ours", "ms", "eager ms", "ratio", "compiled ms", "ratio", "peak, eager MiB", "part", "without activations", "part"})
	for _, c := range r.Cases {
		if c.Suite == gpu.Memory {
			continue
		}
		for _, f := range c.Ours {
			row := table.Row{c.Case.String(), strings.TrimPrefix(f.Pattern, "unstructured:"), f.Compute, duration(f.Step.Median)}
			peaks := table.Row{mebi(f.Peak), "–", mebi(f.Peak - 4*c.Activations), "–"}
			for _, form := range []string{bench.Eager, bench.Compiled} {
				seconds, ratio := "–", "–"
				for _, x := range c.Theirs {
					if x.Form != form || x.Missing != "" {
						continue
					}
					seconds, ratio = duration(x.Step.Median), quartiles(f.Ratios[form])
					if form == bench.Eager && x.Peak > 0 {
						ours, theirs := f.Peak-4*c.Activations, x.Peak-2*c.Activations
						peaks = table.Row{mebi(f.Peak) + ", " + mebi(x.Peak), fmt.Sprintf("%.2f", f.PeakRatios[form]), "–", "–"}
						if c.Suite == gpu.Layer {
							peaks[2], peaks[3] = mebi(ours)+", "+mebi(theirs), fmt.Sprintf("%.2f", float64(ours)/float64(theirs))
						}
					}
				}
				row = append(row, seconds, ratio)
			}
			t.AppendRow(append(row, peaks...))
		}
	}
	if t.Length() > 0 {
		fmt.Fprintln(w, t.RenderMarkdown())
	}
}

// gpuFloors has a row for each operation of ours, of a layer with its last mask.
func gpuFloors(w io.Writer, r *bench.GPUReport) {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"operation", "case", "ours", "ms", "quartiles", "of the measured floor", "of the data sheet's"})
	for _, c := range r.Cases {
		for _, f := range c.Ours {
			if f.Pattern != c.Ours[len(c.Ours)-1].Pattern {
				continue
			}
			for _, p := range f.Parts {
				sheet := "–"
				if p.OfSheet > 0 {
					sheet = fmt.Sprintf("%.0f %%", 100*p.OfSheet)
				}
				t.AppendRow(table.Row{p.Name, c.Case.String(), f.Compute, duration(p.Seconds.Median), duration(p.Seconds.Q1) + "–" + duration(p.Seconds.Q3), fmt.Sprintf("%.0f %%", 100*p.Share), sheet})
			}
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, t.RenderMarkdown())
}

func quartiles(s cpu.Spread) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Q1, s.Q3)
}

func mebi(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }

func tera(v float64) string { return known(v/1e12, "%.0f") }
func giga(v float64) string { return known(v/1e9, "%.0f") }

// known writes a dash for what was not measured.
func known(v float64, form string) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf(form, v)
}
