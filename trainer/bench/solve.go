package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"time"

	"ressa/kernels"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/checkpoint/safetensors"
	"ressa/trainer/data"
	"ressa/trainer/model/llava"
	"ressa/trainer/prune"
	"ressa/trainer/step"
)

// Solver is how a task is solved in this process.
type Solver struct {
	Dir     string // of the task
	Form    string // Ours or OpenBLAS
	Threads int
	// Open opens the form's device for weights of so many bytes, and says how many
	// microbatches to compute at the same time.
	Open func(weights int64, microbatches int) (kernels.Device, int, error)
}

// The forms that [Solve] knows.
const (
	Ours     = "ours"
	OpenBLAS = "openblas"
	PyTorch  = "pytorch" // a process of its own
)

// ready is what a form says first.
type ready struct {
	Kind     string `json:"kind"`
	Lanes    int    `json:"lanes"`
	Baseline int64  `json:"baseline_bytes"` // resident before the model is opened
	Loaded   int64  `json:"loaded_bytes"`   // resident with model, adapters and batches
}

// made is what a form says after each step.
type made struct {
	Seconds     float64 `json:"seconds"`
	Processor   float64 `json:"processor_seconds"` // of all threads
	Loss        float64 `json:"loss"`
	Peak        int64   `json:"peak_bytes"` // highest resident size since the model was loaded
	Activations int64   `json:"activation_bytes,omitempty"`
}

// Solve opens the task, writes a line when it is ready, and makes a step for every
// line of in, until that ends. It is the child's side of [Contest].
func Solve(ctx context.Context, s Solver, in io.Reader, out io.Writer) error {
	return s.open(ctx, func(o opened) error {
		forgetPeak()
		answers := json.NewEncoder(out)
		if err := answers.Encode(o.ready); err != nil {
			return err
		}
		lines := bufio.NewScanner(in)
		for n := 0; lines.Scan(); n++ {
			start, before := time.Now(), processorTime()
			r, err := o.engine.Step(ctx, n, o.batches)
			if err != nil {
				return err
			}
			if err := answers.Encode(made{time.Since(start).Seconds(), (processorTime() - before).Seconds(), r.Loss, peakResident(), int64(o.ready.Lanes) * int64(r.PeakMemory)}); err != nil {
				return err
			}
		}
		return lines.Err()
	})
}

// opened is a task with everything loaded.
type opened struct {
	engine  *step.Engine
	batches []*data.Batch
	ready   ready
}

// open opens the task, has it used, and gives everything back.
func (s Solver) open(ctx context.Context, use func(opened) error) (err error) {
	t, err := readTask(s.Dir)
	if err != nil {
		return err
	}
	first := ready{Baseline: resident()}
	folder := filepath.Join(s.Dir, narrowModel)
	if s.Form == OpenBLAS {
		folder = filepath.Join(s.Dir, wideModel)
	}
	batches, err := readBatches(filepath.Join(s.Dir, batchFile), t.Microbatches)
	if err != nil {
		return err
	}
	d, lanes, err := s.Open(weightBytes(folder), t.Microbatches)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	m, err := llava.Open(ctx, d, folder, llava.Options{MaxPositions: longest(batches)})
	if err != nil {
		return err
	}
	defer m.Close()
	masks, err := prune.Load(filepath.Join(s.Dir, masksFile), nil)
	if err != nil {
		return err
	}
	applied, err := masks.Apply(ctx, d, towers(m)...)
	if err != nil {
		return err
	}
	defer applied.Release()
	e, attachments, err := t.engine(ctx, d, m, s.Form, lanes)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, e.Close())
		for _, a := range attachments {
			a.Detach()
		}
	}()
	if err := t.loadAdapters(ctx, d, e, s.Dir); err != nil {
		return err
	}
	masks = nil
	debug.FreeOSMemory()
	first.Kind, first.Lanes, first.Loaded = d.Kind(), lanes, resident()
	return use(opened{e, batches, first})
}

// loadAdapters sets the engine's values to those of the task.
func (t Task) loadAdapters(ctx context.Context, d kernels.Device, e *step.Engine, dir string) (err error) {
	f, err := safetensors.Open(filepath.Join(dir, adapterFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stream, err := d.NewStream()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	for node := range 2 {
		v := e.Vector(node)
		for _, slot := range v.Layout.Slots {
			x, err := f.Tensor(slot.Name)
			if err != nil {
				return err
			}
			if len(x.Data) != 4*slot.Len() {
				return fmt.Errorf("%s: %s has %d bytes, want %d", adapterFile, slot.Name, len(x.Data), 4*slot.Len())
			}
			stream.Upload(slot.View(v.Values), x.Data)
		}
	}
	return stream.Synchronize(ctx)
}

// weightBytes returns the bytes of a folder's tensors; 0 where it has none.
func weightBytes(dir string) (n int64) {
	f, err := hf.Open(dir)
	if err != nil {
		return 0
	}
	defer f.Close()
	for _, name := range f.Names() {
		if t, err := f.Tensor(name); err == nil {
			n += int64(len(t.Data))
		}
	}
	return n
}
