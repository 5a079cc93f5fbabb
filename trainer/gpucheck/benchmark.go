package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	gpu "ressa/kernels/cuda/bench"
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
	if err != nil && len(said.stdout) == 0 {
		return err
	}
	failure := err // what was measured before it is told too
	var r bench.GPUReport
	if err := json.Unmarshal(said.stdout, &r); err != nil {
		return errors.Join(failure, fmt.Errorf("read the benchmark: %w", err))
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
	return failure
}

// summarise makes a line of a case, of a layer one for each compute, with every mask. Of
// other cases it is the last compute, bfloat16 where that was measured.
func summarise(x bench.GPUCase) (said []string) {
	for i, f := range x.Ours {
		if i > 0 && f.Compute == x.Ours[i-1].Compute || x.Suite != gpu.Layer && i < len(x.Ours)-1 {
			continue
		}
		said = append(said, x.Case.String()+", "+f.Compute+":"+inMasks(x.Ours, f.Compute))
	}
	if x.Suite == gpu.Layer {
		slices.Sort(said)
		said = slices.Compact(said)
	}
	return said
}

// inMasks are the times of a compute, beside PyTorch's where those are there.
func inMasks(forms []bench.OurForm, compute string) (text string) {
	for _, f := range forms {
		if f.Compute != compute {
			continue
		}
		if text != "" {
			text += ";"
		}
		if f.Pattern != "" {
			text += " " + strings.TrimPrefix(f.Pattern, "unstructured:")
		}
		text += fmt.Sprintf(" %.3g ms", 1e3*f.Step.Median)
		for _, form := range []string{bench.Eager, bench.Compiled} {
			if ratio, ok := f.Ratios[form]; ok {
				text += fmt.Sprintf(" %.2f×", ratio.Median)
			}
		}
		if part, ok := f.PeakRatios[bench.Eager]; ok {
			text += fmt.Sprintf(" mem %.2f", part)
		}
	}
	return text
}
