package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"ressa/trainer/bench"
)

// reserve is the time of the check that is left for the benchmark to end in: the case
// that it has begun, and the page.
const reserve = 40 * time.Second

// pytorch says why an interpreter's PyTorch cannot be compared with; empty where it can.
func pytorch(ctx context.Context, c *check) string {
	if _, err := exec.LookPath(c.python); err != nil {
		return fmt.Sprintf("PyTorch was not found (%v)", err)
	}
	said, err := execute(ctx, c.python, "-c", "import torch; print(torch.cuda.is_available())")
	switch {
	case err != nil:
		return fmt.Sprintf("PyTorch was not found (%s: %s)", c.python, said.last())
	case c.torchDevice == "" && strings.TrimSpace(string(said.stdout)) != "True":
		return "PyTorch is here, but says that it has no GPU"
	}
	return ""
}

// benchmark times ours beside PyTorch, or alone where there is none.
func benchmark(ctx context.Context, c *check, o *Outcome) error {
	why := pytorch(ctx, c)
	args := []string{"bench", "gpu", "--quick", "--device", c.gpu(), "-o", "json"}
	if why == "" {
		args = append(args, "--python", c.python, "--torch-device", c.torchDevice)
	} else {
		args = append(args, "--against", "none")
	}
	if deadline, ok := ctx.Deadline(); ok {
		args = append(args, "--within", max(time.Second, time.Until(deadline)-reserve).Round(time.Second).String())
	}
	if c.short {
		args = append(args, "--shapes", "32x64", "--tokens", "20", "--ranks", "3", "--attention", "12x2x16", "--loss", "4x100", "--memory", "8x32", "--turns", "2",
			"--turn", "1us", "--peak-side", "32")
	}
	said, err := c.own(ctx, "ressa", args...)
	if err != nil {
		return err
	}
	var r bench.GPUReport
	if err := json.Unmarshal(said.stdout, &r); err != nil {
		return fmt.Errorf("read the benchmark: %w", err)
	}
	o.Data = json.RawMessage(said.stdout)
	if why != "" {
		o.Lines = append(o.Lines, why+"; ours alone:")
	} else {
		o.Lines = append(o.Lines, r.PyTorch+": eager and compiled time ÷ ours, ours' peak of memory ÷ eager's")
	}
	for _, x := range r.Cases {
		o.Lines = append(o.Lines, summarise(x)...)
	}
	for _, text := range r.LeftOut {
		o.Lines = append(o.Lines, text+": left out, the time was over")
	}
	o.Lines = append(o.Lines, fmt.Sprintf("peaks measured: %.1f TFLOP/s, %.0f GB/s", r.Measured.Flops/1e12, r.Measured.Bytes/1e9))
	return nil
}

// summarise makes a line of a case: the last form of ours, which is bfloat16 where it
// was measured, for every mask.
func summarise(x bench.GPUCase) (said []string) {
	compute := x.Ours[len(x.Ours)-1].Compute
	text := x.Case.String() + ", " + compute + ":"
	for _, f := range x.Ours {
		if f.Compute != compute {
			continue
		}
		text += fmt.Sprintf(" %s %.3g ms", strings.TrimPrefix(f.Pattern, "unstructured:"), 1e3*f.Step.Median)
		for _, form := range []string{bench.Eager, bench.Compiled} {
			if ratio, ok := f.Ratios[form]; ok {
				text += fmt.Sprintf(" %.2f×", ratio.Median)
			}
		}
		if part, ok := f.PeakRatios[bench.Eager]; ok {
			text += fmt.Sprintf(" mem %.2f", part)
		}
		text += ";"
	}
	return []string{strings.ReplaceAll(strings.TrimSuffix(text, ";"), "  ", " ")}
}
