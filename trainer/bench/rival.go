package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	kernels "ressa/kernels/cpu/bench"
	gpu "ressa/kernels/cuda/bench"
	"ressa/trainer/bench/pytorch"
)

// rival is gpu.py in a process of its own.
type rival struct {
	child *child
	dir   string
	hello struct {
		Kind   string `json:"kind"`
		Device string `json:"device"`
	}
}

// How long gpu.py may take: to import PyTorch and open the GPU, to compile a case, and
// for anything else.
const (
	importPatience  = 3 * time.Minute
	compilePatience = 3 * time.Minute
	turnPatience    = time.Minute
)

// startRival starts the script on a device of PyTorch's.
func startRival(ctx context.Context, python, device string) (_ *rival, err error) {
	r := &rival{}
	if r.dir, err = os.MkdirTemp("", "ressa-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop(true))
		}
	}()
	script := filepath.Join(r.dir, "gpu.py")
	if err := os.WriteFile(script, pytorch.GPUScript, 0o644); err != nil {
		return nil, err
	}
	if r.child, err = start(ctx, Entrant{Form: "PyTorch", Command: []string{python, script, device}}); err != nil {
		return nil, err
	}
	return r, r.child.hearWithin(importPatience, &r.hello)
}

// stop ends the process, at once where asked.
func (r *rival) stop(now bool) error {
	r.child.stop(now)
	return os.RemoveAll(r.dir)
}

// request is a line for gpu.py.
type request struct {
	Do       string               `json:"do"`
	Name     string               `json:"name,omitempty"`
	Case     *gpu.Case            `json:"case,omitempty"`
	Compiled bool                 `json:"compiled"`
	Least    float64              `json:"least,omitempty"`
	Side     int                  `json:"side,omitempty"`
	Numbers  int                  `json:"numbers,omitempty"`
	Inputs   map[string][]float32 `json:"inputs,omitempty"`
}

// refusal is what gpu.py could not do, while it goes on.
type refusal struct{ text string }

func (e refusal) Error() string { return e.text }

func (r *rival) ask(q request, patience time.Duration, reply any) error {
	line, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if _, err := r.child.in.Write(append(line, '\n')); err != nil {
		return r.child.failed(err)
	}
	var raw json.RawMessage
	if err := r.child.hearWithin(patience, &raw); err != nil {
		return err
	}
	var said struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return fmt.Errorf("PyTorch said %q: %w", raw, err)
	}
	if said.Error != "" {
		return refusal{said.Error}
	}
	if err := json.Unmarshal(raw, reply); err != nil {
		return fmt.Errorf("PyTorch said %q: %w", raw, err)
	}
	return nil
}

// TheirForm is a case in PyTorch.
type TheirForm struct {
	Form     string         `json:"form"` // eager or compiled
	Step     kernels.Spread `json:"step_seconds"`
	Forward  kernels.Spread `json:"forward_seconds"`
	Peak     int64          `json:"peak_bytes"`
	Prepared float64        `json:"prepared_seconds"` // what compiling and the first step took
	Missing  string         `json:"missing,omitempty"`

	turns, forward []float64
}

// The forms that PyTorch has.
const (
	Eager    = "eager"
	Compiled = "compiled"
)

// open makes the case's operands in PyTorch and runs it. A form that cannot be
// measured says why.
func (r *rival) open(f *TheirForm, c gpu.Case, least time.Duration) error {
	var reply struct {
		Peak     int64   `json:"peak"`
		Prepared float64 `json:"prepared"`
	}
	err := r.ask(request{Do: "open", Name: f.Form, Case: &c, Compiled: f.Form == Compiled, Least: least.Seconds()}, compilePatience, &reply)
	f.Peak, f.Prepared = reply.Peak, reply.Prepared
	return f.unless(err)
}

// turn measures the form once more.
func (r *rival) turn(f *TheirForm) error {
	var reply struct {
		Seconds []float64 `json:"seconds"`
	}
	err := r.ask(request{Do: "turn", Name: f.Form}, turnPatience, &reply)
	if err == nil && len(reply.Seconds) != 3 {
		return fmt.Errorf("PyTorch measured %v, want forward, backward and both", reply.Seconds)
	}
	if err == nil {
		f.forward, f.turns = append(f.forward, reply.Seconds[0]), append(f.turns, reply.Seconds[2])
	}
	return f.unless(err)
}

// unless notes a refusal, which is no error of the measurement.
func (f *TheirForm) unless(err error) error {
	if refused := (refusal{}); errors.As(err, &refused) {
		f.Missing = refused.text
		return nil
	}
	return err
}
