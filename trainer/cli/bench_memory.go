package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/job"
)

// memory compares the memory of a repair step with that of the naive form, which
// writes out in float32, for every masked layer, B·A and W_eff in forward, and dW
// and masked dW in backward.
type memory struct {
	Measured int `json:"measured_peak_bytes"` // activations and scratch of the fullest lane
	// Saved is Σ out·in·4 B: W_eff of each masked layer, kept until backward.
	Saved int `json:"naive_kept_bytes"`
	// Transient is 2·4 B·max(out·in): dW and masked dW of the largest layer. B·A is
	// freed within forward and never alive beside both.
	Transient int `json:"naive_transient_bytes"`
	Naive     int `json:"naive_peak_bytes"` // the sum of the three
	// Layer is 4·4 B·out·in of one 4096×4096 layer: all that the naive form writes.
	Layer   int    `json:"naive_bytes_of_a_4096_layer"`
	Formula string `json:"formula"`
}

const memoryFormula = "naive = measured + sum(4 B * out*in) for W_eff kept until backward + 2 * 4 B * max(out*in) for dW and masked dW"

// stepMemory runs one step of the demo's job, without scores, in a temporary
// folder.
func stepMemory(ctx context.Context, m *machine, log *slog.Logger) (_ *memory, err error) {
	dir, err := os.MkdirTemp("", "ressa-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	j, err := api.ParseJob("demo job", strings.NewReader(api.DemoJob()))
	if err != nil {
		return nil, err
	}
	j.Train.Steps, j.Train.Warmup, j.Prune.Method = 1, 0, "magnitude"
	j.Data.Test, j.Data.Validation, j.Evaluate.Blind = api.Source{}, api.Source{}, false
	d, lanes, err := openDevice(m.device, m.threads, 0, j.Train.Microbatches, log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	result, err := job.Run(ctx, j, job.Options{Dir: dir, Device: d, Lanes: lanes, Emit: func(api.Event) {}, Log: log, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("memory of a step: %w", err)
	}
	f, err := hf.Open(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := &memory{Measured: result.PeakMemory, Layer: 4 * 4 * 4096 * 4096, Formula: memoryFormula}
	largest := 0
	for _, name := range f.MaskNames() {
		_, rows, cols, err := f.Mask(name)
		if err != nil {
			return nil, err
		}
		out.Saved += 4 * rows * cols
		largest = max(largest, rows*cols)
	}
	out.Transient = 2 * 4 * largest
	out.Naive = out.Measured + out.Saved + out.Transient
	return out, nil
}

func (m *memory) print(w io.Writer) {
	mib := func(n int) float64 { return float64(n) / (1 << 20) }
	fmt.Fprintf(w, "memory of a repair step of the demo (one microbatch): %.2f MiB measured, %.2f MiB in the naive form (+%.2f MiB of W_eff, dW and masked dW)\n",
		mib(m.Measured), mib(m.Naive), mib(m.Saved+m.Transient))
	fmt.Fprintf(w, "one 4096 × 4096 layer: the naive form writes %.0f MiB of B·A, W_eff, dW and masked dW; ours none of them whole\n%s\n", mib(m.Layer), m.Formula)
}

// processors is the number of threads that 0 stands for.
func processors() int { return runtime.NumCPU() }
