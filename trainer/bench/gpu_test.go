//go:build cgo && linux

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ressa/kernels"
	gpu "ressa/kernels/cuda/bench"
	"ressa/kernels/cuda/shim"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
)

// asRival makes this program stand for an interpreter with gpu.py: its value says what
// is wrong with it.
const asRival = "RESSA_BENCH_RIVAL"

func TestMain(m *testing.M) {
	if how, ok := os.LookupEnv(asRival); ok {
		if err := standIn(how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// standIn speaks gpu.py's protocol, with results of the reference and times of its own.
func standIn(how string) error {
	if how == "no PyTorch" {
		return fmt.Errorf("ModuleNotFoundError: No module named 'torch'")
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(map[string]string{"kind": "stand-in", "device": os.Args[2]}); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q request
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		var reply any = struct{}{}
		switch q.Do {
		case "open":
			if q.Case.Suite == gpu.Loss && q.Compiled {
				reply = map[string]string{"error": "BackendCompilerFailed: no compiler"}
			} else {
				reply = map[string]float64{"peak": 1 << 20, "prepared": 2}
			}
		case "turn":
			if how == "it ends" {
				return fmt.Errorf("CUDA error: an illegal memory access")
			}
			reply = map[string][]float64{"seconds": {1, 2, 3}}
		case "peaks":
			reply = gpu.Peak{Flops: 1e15, Bytes: 1e12}
		case "compute":
			results, err := gpu.Compute(context.Background(), reference.Open(), *q.Case, q.Inputs)
			if err != nil {
				return err
			}
			if how == "wrong" && q.Case.Suite == gpu.Layer {
				results["dA"][3] += 0.5
			}
			reply = map[string]any{"outputs": results}
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
	}
	return lines.Err()
}

func smallGPU(t *testing.T) GPUOptions {
	t.Helper()
	half, err := sparse.ParsePattern("2:4")
	if err != nil {
		t.Fatal(err)
	}
	return GPUOptions{
		Library: shim.Build(t), Computes: []kernels.DType{kernels.F32, kernels.BF16}, Patterns: []sparse.Pattern{half}, Turns: 3, Turn: time.Microsecond,
		Side: 32, Numbers: 1 << 10, Progress: func(string) {}, Torch: "cpu",
		Cases: []gpu.Case{
			{Suite: gpu.Layer, Tokens: 20, Out: 32, In: 64, Rank: 3}, {Suite: gpu.Attention, Tokens: 12, Heads: 2, HeadDim: 16, Causal: true},
			{Suite: gpu.Loss, Tokens: 4, Vocabulary: 100}, {Suite: gpu.Memory, Tokens: 8, In: 32},
		},
	}
}

func TestGPUBenchComparesFormsInTurns(t *testing.T) {
	o := smallGPU(t)
	t.Setenv(asRival, "")
	o.Python = os.Args[0]
	r, err := RunGPU(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.GPU != "shim" || r.PyTorch != "stand-in" || len(r.Kinds) != 2 || len(r.Cases) != 4 || r.Measured.Flops != 1e15 || r.Measured.Bytes != max(r.OurPeak.Bytes, 1e12) {
		t.Fatalf("%+v", r)
	}
	if len(r.Agreement) != 3 || !(r.Agreement[gpu.Layer] < 1e-5) {
		t.Errorf("agreement %v", r.Agreement)
	}
	for _, c := range r.Cases {
		if len(c.Ours) != 2 || (len(c.Theirs) == 2) != (c.Suite != gpu.Memory) || c.Activations < 1 {
			t.Fatalf("%v: %d forms of ours, %d of PyTorch's", c.Case, len(c.Ours), len(c.Theirs))
		}
		for _, f := range c.Ours {
			if !(f.Step.Median > 0) || f.Peak < 1<<10 || len(f.Parts) == 0 || (c.Suite == gpu.Layer) != (f.Pattern == "2:4") {
				t.Errorf("%v: %+v", c.Case, f)
			}
			for form, ratio := range f.Ratios {
				if ratio.Min < 3/f.Step.Max*0.99 || ratio.Max > 3/f.Step.Min*1.01 || f.PeakRatios[form] != float64(f.Peak)/(1<<20) {
					t.Errorf("%v, %s: a ratio of %+v for 3 s and %+v", c.Case, form, ratio, f.Step)
				}
			}
			for _, p := range f.Parts {
				if !(p.Seconds.Median > 0) || !(p.Share > 0) || p.OfSheet != 0 {
					t.Errorf("%v: part %+v", c.Case, p)
				}
			}
		}
	}
	loss := r.Cases[2]
	if loss.Theirs[1].Missing != "BackendCompilerFailed: no compiler" || len(loss.Ours[0].Ratios) != 1 {
		t.Errorf("a form that cannot be compiled: %+v", loss.Theirs)
	}
}

func TestGPUBenchWithoutPyTorch(t *testing.T) {
	o := smallGPU(t)
	o.Cases = o.Cases[2:]
	o.Within = time.Nanosecond
	r, err := RunGPU(t.Context(), o)
	if err != nil || r.Missing == "" || len(r.Cases) != 0 || len(r.LeftOut) != 2 || !strings.Contains(r.LeftOut[0], "loss 4 × 100") {
		t.Errorf("%+v, %v; want that two cases are left out", r, err)
	}
}

func TestGPUBenchSaysWhatIsWrong(t *testing.T) {
	o := smallGPU(t)
	o.Cases, o.Python = o.Cases[:1], os.Args[0]
	for how, want := range map[string]string{
		"wrong":      "layer 12 × 24 × 32, r = 4: both sides do not compute the same dA",
		"it ends":    "PyTorch: it ended: exit status 1: CUDA error: an illegal memory access",
		"no PyTorch": "No module named 'torch'",
	} {
		t.Setenv(asRival, how)
		r, err := RunGPU(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", how, err, want)
		}
		if how == "it ends" && (r == nil || r.Measured.Flops != 1e15) {
			t.Errorf("%s: what was measured before is lost: %+v", how, r)
		}
	}
	o.Library = "/nowhere.so"
	if _, err := RunGPU(t.Context(), o); err == nil || !strings.Contains(err.Error(), "/nowhere.so") {
		t.Errorf("no driver gave %v", err)
	}
}

// Where `make bench-pytorch` has made its environment, gpu.py itself is held to what the
// reference computes, and runs every suite.
func TestGPUScriptDoesTheSameWork(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	o := smallGPU(t)
	o.Python = filepath.Join(cache, "ressa", "pytorch", "bin", "python")
	if _, err := os.Stat(o.Python); err != nil {
		t.Skip("make bench-pytorch makes the environment: ", err)
	}
	if testing.Short() {
		t.Skip("imports PyTorch")
	}
	r, err := startRival(t.Context(), o.Python, "cpu")
	if err != nil {
		t.Fatal(err)
	}
	report := GPUReport{Agreement: map[string]float64{}}
	if err := report.agree(t.Context(), reference.Open(), r); err != nil || len(report.Agreement) != 3 {
		t.Errorf("agreement %v, %v", report.Agreement, err)
	}
	for _, c := range o.Cases[:3] {
		f := TheirForm{Form: Eager}
		if err := r.open(&f, c, time.Microsecond); err != nil || f.Missing != "" {
			t.Fatalf("%v: %v, %s", c, err, f.Missing)
		}
		if err := r.turn(&f); err != nil || len(f.turns) != 1 || !(f.turns[0] > f.forward[0]) {
			t.Errorf("%v: %v, %+v", c, err, f)
		}
	}
	f := TheirForm{Form: Eager}
	if err := r.open(&f, o.Cases[3], time.Microsecond); err != nil || !strings.Contains(f.Missing, "suite 'memory' is not known") {
		t.Errorf("an unknown suite: %v, %q", err, f.Missing)
	}
	if err := r.stop(false); err != nil {
		t.Error(err)
	}
}
