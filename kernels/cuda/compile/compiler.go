package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"ressa/kernels/cuda/source"
)

// compiler is what build needs of NVRTC and ptxas.
type compiler interface {
	// ptx compiles CUDA C++ for a virtual architecture (compute_80, compute_90a).
	ptx(ctx context.Context, architecture string, u unit) (ptx []byte, warnings []string, err error)
	// cubin assembles PTX for an architecture (sm_80, …).
	cubin(ctx context.Context, architecture string, ptx []byte) (cubin []byte, log string, err error)
	// tools say what compiles, with which options.
	tools() (nvrtc, ptxas source.Tool)
}

// unit is one source and all headers that it may include.
type unit struct {
	Name    string            `json:"name"`
	Text    string            `json:"text"`
	Headers map[string]string `json:"headers"`
	Options []string          `json:"options"`
}

//go:embed nvrtc.py
var nvrtcScript string

//go:embed requirements.txt
var requirements string

var versionIn = regexp.MustCompile(`release [\d.]+, V([\d.]+)`)

// installed is the compiler in a Python environment with requirements.txt.
type installed struct {
	python, assembler string
	nvrtc, ptxas      source.Tool
}

func open(ctx context.Context, folder string) (*installed, error) {
	c := &installed{python: filepath.Join(folder, "bin", "python")}
	found, _ := filepath.Glob(filepath.Join(folder, "lib", "python3*", "site-packages", "nvidia", "cuda_nvcc", "bin", "ptxas"))
	if _, err := os.Stat(c.python); err != nil || len(found) != 1 {
		return nil, fmt.Errorf("no compiler in %s (-compiler): make cuda-compiler installs it", folder)
	}
	c.assembler = found[0]
	c.nvrtc.Options = []string{"-std=c++17", "--fmad=false"}
	c.ptxas.Options = []string{"-O3", "--fmad=false"}

	out, err := run(exec.CommandContext(ctx, c.assembler, "--version"))
	if err != nil {
		return nil, err
	}
	if c.ptxas.Version, err = pinned("nvidia-cuda-nvcc-cu12", out); err != nil {
		return nil, err
	}
	// NVRTC names itself in what it makes.
	ptx, _, err := c.ptx(ctx, source.PTX, unit{Name: "version.cu", Text: `extern "C" __global__ void version() {}`, Headers: map[string]string{}})
	if err != nil {
		return nil, err
	}
	c.nvrtc.Version, err = pinned("nvidia-cuda-nvrtc-cu12", ptx)
	return c, err
}

// pinned finds the version that a tool states, and requires that it is the pinned one.
func pinned(name string, text []byte) (string, error) {
	m := versionIn.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s does not state its version: %s", name, text)
	}
	version := string(m[1])
	if !strings.Contains(requirements, name+"=="+version+" ") {
		return "", fmt.Errorf("%s is of version %s, which requirements.txt does not pin: make cuda-compiler installs the pinned one", name, version)
	}
	return version, nil
}

func (c *installed) tools() (nvrtc, ptxas source.Tool) { return c.nvrtc, c.ptxas }

func (c *installed) ptx(ctx context.Context, architecture string, u unit) ([]byte, []string, error) {
	u.Options = append([]string{"-arch=" + architecture}, c.nvrtc.Options...)
	job, err := json.Marshal(u)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", u.Name, err)
	}
	cmd := exec.CommandContext(ctx, c.python, "-I", "-c", nvrtcScript)
	cmd.Stdin = bytes.NewReader(job)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("compile %s for %s: %w\n%s", u.Name, architecture, err, &log)
	}
	var warnings []string
	if text := strings.TrimSpace(log.String()); text != "" {
		warnings = []string{text}
	}
	return out, warnings, nil
}

// cubin runs in a folder of its own under names that are always the same.
func (c *installed) cubin(ctx context.Context, architecture string, ptx []byte) (object []byte, log string, err error) {
	dir, err := os.MkdirTemp("", "ressa-ptxas-")
	if err != nil {
		return nil, "", fmt.Errorf("make a folder for ptxas: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "in.ptx"), ptx, 0o600); err != nil {
		return nil, "", fmt.Errorf("write PTX for ptxas: %w", err)
	}
	cmd := exec.CommandContext(ctx, c.assembler, append([]string{"-arch=" + architecture, "-v", "-o", "out.cubin", "in.ptx"}, c.ptxas.Options...)...)
	cmd.Dir = dir
	out, err := run(cmd)
	if err != nil {
		return nil, "", err
	}
	if object, err = os.ReadFile(filepath.Join(dir, "out.cubin")); err != nil {
		return nil, "", fmt.Errorf("read what ptxas wrote: %w", err)
	}
	return object, string(out), nil
}

// run returns all output; an error holds it too.
func run(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return out, nil
}
