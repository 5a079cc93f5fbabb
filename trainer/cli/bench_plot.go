package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ressa/kernels/cpu/bench"
	"ressa/trainer/report"
)

// checkPlot reports a file that no picture can become.
func checkPlot(path string) error {
	if path != "" {
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return fmt.Errorf("--plot: found %q, want a file in a folder that is there", path)
		}
	}
	if ext := filepath.Ext(path); path != "" && ext != ".png" && ext != ".svg" {
		return fmt.Errorf("--plot: found %q, want a name that ends in .png or .svg", path)
	}
	return nil
}

// plotKernels draws the ratios of products and layers, and the share of the floor
// of the rest.
func plotKernels(r *bench.Report, path string) ([]byte, error) {
	var products, layers, others report.Panel
	products.Title, products.Axis, products.Mark = "Products: OpenBLAS / ours, time", "more than 1 is faster than OpenBLAS", 1
	layers.Title, layers.Axis, layers.Mark = "Step of a SparseLoRA layer: published form / ours, time", "more than 1 is faster than the published form on OpenBLAS", 1
	others.Title, others.Axis, others.Mark = "Other operations: share of the floor", "1 is what the processor or its memory allows", 1
	for _, x := range r.Rows {
		b := report.Bar{Label: x.Op + "  " + x.Size, Value: x.Share, Low: x.Share * x.Seconds.Median / x.Seconds.Q3, High: x.Share * x.Seconds.Median / x.Seconds.Q1}
		if x.Ratio != nil {
			b.Value, b.Low, b.High = x.Ratio.Median, x.Ratio.Q1, x.Ratio.Q3
		}
		switch {
		case x.Suite == "ops":
			b.Group = x.Bound
			others.Bars = append(others.Bars, b)
		case x.Ratio == nil:
		case x.Suite == "gemm":
			b.Group, b.Label = strings.TrimPrefix(x.Op, "gemm "), x.Size
			products.Bars = append(products.Bars, b)
		case x.Op == "step":
			b.Group, b.Label = x.Pattern, fmt.Sprintf("%s  r%d", x.Size, x.Rank)
			layers.Bars = append(layers.Bars, b)
		}
	}
	var panels []report.Panel
	for _, p := range []report.Panel{products, layers, others} {
		if len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	title := fmt.Sprintf("%s, %d threads", r.Kind, r.Threads)
	if r.Core != "" {
		title += "; OpenBLAS on core " + r.Core
	}
	return report.Bars(title, panels, filepath.Ext(path) == ".svg")
}

// draw draws how much longer a step takes in the other forms, and how much more
// memory.
func (r *formReport) draw(svg bool) ([]byte, error) {
	time := report.Panel{Title: "Time of a repair step: other form / ours", Axis: "more than 1 is slower than ours", Mark: 1}
	memory := report.Panel{Title: "Peak memory of the process: other form / ours", Axis: "more than 1 is more than ours", Mark: 1}
	for _, x := range r.Tasks {
		for _, f := range x.Forms[1:] {
			label := x.Model + "  " + x.Pattern
			time.Bars = append(time.Bars, report.Bar{Label: label, Group: f.Form, Value: f.Ratio.Median, Low: f.Ratio.Q1, High: f.Ratio.Q3})
			memory.Bars = append(memory.Bars, report.Bar{Label: label, Group: f.Form, Value: f.PeakRatio, Low: f.PeakRatio, High: f.PeakRatio})
		}
	}
	return report.Bars(fmt.Sprintf("%s, %d threads", r.Tasks[0].Forms[0].Kind, r.Threads), []report.Panel{time, memory}, svg)
}
