package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"ressa/kernels/cuda"
	"ressa/kernels/cuda/source"
)

// gpuDescription is what is said of a GPU.
type gpuDescription struct {
	Name         string `json:"name"`
	UUID         string `json:"uuid"`
	Capability   string `json:"capability"`
	Memory       int64  `json:"memory"`
	Kind         string `json:"kind"`
	Driver       string `json:"driver"`
	Architecture string `json:"architecture"` // of the objects that are loaded
	Reason       string `json:"reason,omitempty"`
	Compiler     string `json:"compiler"` // of the embedded objects
}

// describe is a process of its own, since a driver that hangs takes its process along.
func describe(c *check, stdout, stderr io.Writer) int {
	var g gpuDescription
	objects := func(major, minor int) (source.Images, error) {
		images, err := source.Load(major, minor)
		g.Architecture, g.Reason = images.Architecture, images.Reason
		return images, err
	}
	d, err := cuda.Open(cuda.Options{Library: c.library, Device: c.device, Objects: objects})
	if err != nil {
		fmt.Fprintln(stderr, err)
		return failed
	}
	about, _ := cuda.Describe(d)
	g.Name, g.UUID, g.Capability, g.Memory, g.Kind = about.Name, about.UUID, about.Capability, about.Memory, d.Kind()
	if m, err := source.Read(); err == nil {
		g.Compiler = fmt.Sprintf("NVRTC %s, ptxas %s", m.NVRTC.Version, m.PTXAS.Version)
	}
	g.Driver, err = driverVersion(c.library)
	if err == nil {
		err = d.Close()
	}
	if err == nil {
		err = json.NewEncoder(stdout).Encode(g)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return failed
	}
	return allPassed
}

// describeGPU says what computes and what was chosen for it.
func describeGPU(ctx context.Context, c *check, o *Outcome) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	said, err := execute(ctx, self, "-describe", "-library", c.library, "-gpu", fmt.Sprint(c.device))
	if err != nil {
		return fmt.Errorf("%s", said.last())
	}
	var g gpuDescription
	if err := json.Unmarshal(said.stdout, &g); err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	o.Data = g
	chosen := fmt.Sprintf("cubins for %s, by %s", g.Architecture, g.Compiler)
	if g.Reason != "" {
		chosen = fmt.Sprintf("PTX, which the driver compiles: %s", g.Reason)
	}
	o.Lines = []string{
		fmt.Sprintf("%s, compute capability %s, %.1f GiB, driver %s, %s", g.Name, g.Capability, float64(g.Memory)/(1<<30), g.Driver, g.UUID),
		fmt.Sprintf("kind %s: %s", g.Kind, chosen),
	}
	if !strings.Contains(g.Kind, "+jit") && g.Reason != "" {
		return fmt.Errorf("kind %s does not say that the driver compiles", g.Kind)
	}
	return nil
}
