//go:build cgo && linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cpu "ressa/kernels/cpu/bench"
	gpu "ressa/kernels/cuda/bench"
	"ressa/kernels/cuda/shim"
	"ressa/trainer/bench"
)

// built are the binaries that `make gpu-check-binaries` builds.
func built(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the binaries")
	}
	dir := t.TempDir()
	for _, args := range [][]string{
		{"build", "-o", filepath.Join(dir, "ressa"), "ressa"}, {"test", "-c", "-o", filepath.Join(dir, "cuda.test"), "ressa/kernels/cuda"},
		{"build", "-o", filepath.Join(dir, "gpu-check"), "ressa/trainer/gpucheck"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// driverFolder has the shim where programs look for the driver.
func driverFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(shim.Build(t), filepath.Join(dir, "libcuda.so.1")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// checked runs the program and returns its page, its report and how it ended.
func checked(t *testing.T, binaries, driver string, args ...string) (page string, r Report, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.Command(filepath.Join(binaries, "gpu-check"), append([]string{"-short", "-json", file, "-python", "/nowhere/python"}, args...)...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+driver)
	out, err := cmd.CombinedOutput()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out), r, cmd.ProcessState.ExitCode()
}

// status returns each step's.
func status(r Report) map[string]string {
	all := map[string]string{}
	for _, o := range r.Steps {
		all[o.Step] = o.Status
	}
	return all
}

// The whole check on the shim: every step but the sanitizer's, whose tool finds no GPU,
// and PyTorch's side of the benchmark.
func TestCheckOnShim(t *testing.T) {
	driver := driverFolder(t)
	patient := []string{"-within", "1h"} // on a machine that is busy with other tests
	for _, name := range names() {
		patient = append(patient, "-limit", name+"=10m")
	}
	page, r, code := checked(t, built(t), driver, patient...)
	t.Log("\n" + page)
	if code != allPassed || !r.Passed || r.GPU != "shim" || len(r.Steps) != len(steps()) {
		t.Errorf("exit code %d, GPU %q, %d steps", code, r.GPU, len(r.Steps))
	}
	for step, s := range status(r) {
		if want := map[bool]string{true: absent, false: passed}[step == "sanitizer"]; s != want {
			t.Errorf("%s: %s, want %s", step, s, want)
		}
	}
	for _, want := range []string{
		"shim, compute capability 8.0", "kind cuda-sm80/", " operations against the reference, each case twice", "losses at most", "two nodes on the same GPU gave adapter",
		"a second run gave adapter", "compute-sanitizer: not found", "PyTorch was not found", "layer 20 × 32 × 64, r = 3, bf16: 0.5 ", "10 of 11 steps passed, 1 absent; ",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if n := strings.Count(page, "\n"); n > 60 {
		t.Errorf("the page has %d lines", n)
	}
}

// A stand-in for a binary, as a script.
func standIn(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// fakes is a folder with the program and stand-ins that do everything right.
func fakes(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(program, filepath.Join(dir, "gpu-check")); err != nil {
		t.Fatal(err)
	}
	standIn(t, dir, "cuda.test", "echo '--- PASS: TestOnLibrary (0.1s)'; echo '        --- PASS: TestOnLibrary/fp32/Gemm (0.1s)'")
	standIn(t, dir, "ressa", rightRepair)
	return dir
}

// rightRepair answers like ressa, with the same bits on every device of a kind.
const rightRepair = `
case "$*" in
*bench*) echo '{"cases":[]}'; exit;;
*cpu*) kind=cpu-avx512/3; loss=0.5;;
*) kind=cuda-sm80/1; loss=${LOSS:-0.5000001};;
esac
ranks='{"node":"t1"}'
case "$*" in *--local*) ranks='{"node":"t1"},{"node":"t2"}'; adapter=$NODES;; esac
case "$*" in *gpu-again*) adapter=$AGAIN;; esac
echo '{"event":"step","job":"x","step":{"step":1,"loss":'$loss'}}'
echo '{"event":"result","job":"x","state":"succeeded","numeric_kind":"'$kind'","adapter_sha256":"'${adapter:-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}'","ranks":['$ranks']}'
`

// program builds only the check itself.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gpu-check")
	if out, err := exec.Command("go", "build", "-o", path, "ressa/trainer/gpucheck").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// What is wrong is said plainly, fails its step alone, and the exit code.
func TestFailuresAreSaid(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	driver, gpucheck := driverFolder(t), program(t)
	other := strings.Repeat("b", 64)
	for _, c := range []struct {
		name   string
		change func(dir string)
		args   []string
		failed map[string]string // the steps that fail, and a word of why
	}{
		{"nothing", func(string) {}, nil, nil},
		{"wrong bits of a second run", func(string) { t.Setenv("AGAIN", other) }, nil, map[string]string{"same-bits": "a second run gave other bits: adapter bbbbbbbbbbbb"}},
		{"wrong bits of two nodes", func(string) { t.Setenv("NODES", other) }, nil, map[string]string{"two-nodes": "two nodes on the same GPU gave other bits"}},
		{"wrong losses", func(string) { t.Setenv("LOSS", "0.51") }, nil, map[string]string{"losses": "the loss of step 1 is 0.51 on cuda-sm80/1 and 0.5 on cpu-avx512/3: 2.0e-02 apart, want at most 1e-05"}},
		{"a loss that is no number", func(string) { t.Setenv("LOSS", "null") }, nil, map[string]string{"losses": "the loss of step 1 is 0", "losses-bf16": "the loss of step 1"}},
		{"a wrong kernel", func(dir string) {
			standIn(t, dir, "cuda.test", `
echo '        --- PASS: TestOnLibrary/fp32/Add (0.1s)'
echo '        --- FAIL: TestOnLibrary/fp32/Gemm (0.1s)'
echo '            run.go:70: Gemm/nt: C: 3 of 9 elements differ'
echo '--- PASS: TestA (0.1s)'
exit 1`)
		}, nil, map[string]string{"kernels-fp32": "1 of 2 operations", "kernels-bf16": "Gemm/nt: C: 3 of 9 elements differ", "kernels-ptx": "Gemm", "streams": "cuda.test: exit status 1"}},
		{"a step that hangs", func(dir string) {
			standIn(t, dir, "cuda.test", "case \"$*\" in *small-bf16*) (sleep 300; echo late) & sleep 300;; esac\necho '--- PASS: A ('; echo '        --- PASS: A/b/c ('")
		}, []string{"-limit", "kernels-bf16=1s"}, map[string]string{"kernels-bf16": "not done within 1s, and ended"}},
		{"a missing binary", func(dir string) {
			if err := os.Remove(filepath.Join(dir, "cuda.test")); err != nil {
				t.Fatal(err)
			}
		}, nil, map[string]string{"kernels-fp32": "cuda.test is missing: make gpu-check-binaries builds it", "kernels-bf16": "missing", "kernels-ptx": "missing", "streams": "missing"}},
		{"a crash of ressa", func(dir string) { standIn(t, dir, "ressa", "echo 'ressa: cuda: the GPU fell off the bus' >&2; exit 1") }, nil,
			map[string]string{"losses": "ressa: exit status 1", "losses-bf16": "the GPU fell off the bus", "same-bits": "fell off", "two-nodes": "fell off", "benchmark": "fell off"}},
		{"a benchmark that ends early", func(dir string) {
			standIn(t, dir, "ressa", "case \"$*\" in *bench*) echo '{\"left_out\":[\"what was measured\"]}'; echo 'ressa: loss 1 × 2: no memory' >&2; exit 1;; esac\n"+rightRepair)
		}, nil, map[string]string{"benchmark": "what was measured: left out"}},
		{"nonsense of ressa", func(dir string) { standIn(t, dir, "ressa", "echo hello") }, nil,
			map[string]string{"losses": "read its events", "losses-bf16": "repair cpu, --device cpu", "same-bits": "repair gpu, --device cuda:0", "two-nodes": "events", "benchmark": "read the benchmark"}},
		{"the whole time is over", func(dir string) { standIn(t, dir, "cuda.test", "sleep 300") }, []string{"-within", "3s"},
			map[string]string{"kernels-fp32": "the check's time is over"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, variable := range []string{"AGAIN", "NODES", "LOSS"} {
				t.Setenv(variable, "")
			}
			dir := fakes(t, gpucheck)
			c.change(dir)
			began := time.Now()
			page, r, code := checked(t, dir, driver, append([]string{"-binaries", dir}, c.args...)...)
			if took := time.Since(began); took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
			if (code == failed) != (len(c.failed) > 0) || r.Passed == (len(c.failed) > 0) {
				t.Errorf("exit code %d\n%s", code, page)
			}
			over := slices.Contains(c.args, "-within")
			for step, s := range status(r) {
				why, ok := c.failed[step]
				if s == failing != ok || s == skipped && !over {
					t.Errorf("%s: %s\n%s", step, s, page)
				}
				if ok && !strings.Contains(page, why) {
					t.Errorf("%s: no %q in\n%s", step, why, page)
				}
			}
		})
	}
}

// A stand-in for the sanitizer that is found in PATH, with and without something found.
func TestSanitizerIsAsked(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	driver, gpucheck := driverFolder(t), program(t)
	for script, want := range map[string]string{
		`shift; shift; shift; shift; "$@"; echo '========= ERROR SUMMARY: 0 errors'`:                                                                     "memcheck: 1 operations, 0 errors",
		`echo '========= COMPUTE-SANITIZER'; echo '========= Invalid __global__ read of size 4 bytes'; echo '========= ERROR SUMMARY: 1 error'; exit 99`: "memcheck: exit status 99: Invalid __global__ read of size 4 bytes",
		`echo nothing`: "racecheck: no test ran: nothing",
	} {
		dir := fakes(t, gpucheck)
		tools := t.TempDir()
		standIn(t, tools, "compute-sanitizer", script)
		t.Setenv("PATH", tools+":/usr/bin:/bin")
		page, r, _ := checked(t, dir, driver, "-binaries", dir)
		if good := strings.HasSuffix(want, "0 errors"); (status(r)["sanitizer"] == passed) != good || !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

func TestWithoutAGPUNothingElseRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	dir := fakes(t, program(t))
	page, r, code := checked(t, dir, t.TempDir(), "-binaries", dir, "-library", "libno-such-cuda.so.1")
	if code != failed || !strings.Contains(page, "libno-such-cuda.so.1: cannot open shared object file") || !strings.Contains(page, "0 of 11 steps passed, 1 failed, 10 not run") {
		t.Errorf("exit code %d\n%s", code, page)
	}
	for step, s := range status(r) {
		if (step == "device") != (s == failing) || (step != "device") != (s == skipped) {
			t.Errorf("%s: %s", step, s)
		}
	}
}

// A layer has a line for each compute, with all masks.
func TestBenchmarkIsSummarised(t *testing.T) {
	form := func(compute, pattern string, seconds float64) bench.OurForm {
		return bench.OurForm{Compute: compute, Pattern: pattern, Step: cpu.Spread{Median: seconds}, Ratios: map[string]cpu.Spread{bench.Eager: {Median: 1.5}, bench.Compiled: {Median: 1.25}},
			PeakRatios: map[string]float64{bench.Eager: 0.4}}
	}
	layer := bench.GPUCase{Case: gpu.Case{Suite: gpu.Layer, Tokens: 1, Out: 2, In: 4, Rank: 3},
		Ours: []bench.OurForm{form("fp32", "unstructured:0.5", 1), form("bf16", "unstructured:0.5", 2), form("fp32", "2:4", 3), form("bf16", "2:4", 4)}}
	const rest = " 1.50× 1.25× mem 0.40"
	want := []string{"layer 1 × 2 × 4, r = 3, bf16: 0.5 2e+03 ms" + rest + "; 2:4 4e+03 ms" + rest, "layer 1 × 2 × 4, r = 3, fp32: 0.5 1e+03 ms" + rest + "; 2:4 3e+03 ms" + rest}
	if got := summarise(layer); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	loss := bench.GPUCase{Case: gpu.Case{Suite: gpu.Loss, Tokens: 1, Vocabulary: 2}, Ours: []bench.OurForm{form("fp32", "", 1), {Compute: "bf16", Step: cpu.Spread{Median: 2}}}}
	if got := summarise(loss); !slices.Equal(got, []string{"loss 1 × 2, bf16: 2e+03 ms"}) {
		t.Errorf("got %q", got)
	}
}

// Each bound of the curves counts.
func TestCurvesAreCompared(t *testing.T) {
	curve := func(losses ...float64) made { return made{Losses: losses} }
	bounds := tolerance{first: 0.1, step: 0.3, mean: 0.01}
	for _, c := range []struct {
		a, b made
		want string
	}{
		{curve(1, 1.05), curve(1, 1.04), ""},
		{curve(1.05, 0.95), curve(1, 1), ""},
		{curve(1.05, 1.05), curve(1, 1), "the mean loss"},
		{curve(1, 1.2), curve(1, 1), "the loss of step 2"},
		{curve(1, math.NaN()), curve(1, 1), "the loss of step 2"},
		{curve(1, 1, 1, 1, 1.2, 0.8), curve(1, 1, 1, 1, 1, 1), ""},
		{curve(1, 1, 1, 1, 1.4, 0.6), curve(1, 1, 1, 1, 1, 1), "the loss of step 5"},
		{curve(1), curve(1, 1), "1 steps on"},
	} {
		_, _, err := apart(c.a, c.b, bounds)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v beside %v: %v, want %q", c.a.Losses, c.b.Losses, err, c.want)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{{"-gpu", "-1"}, {"what"}, {"-limit", "kernel=2s"}, {"-limit", "losses"}, {"-limit", "losses=-2s"}, {"-within", "0s"}, {"-nothing"}, {"-json", "/nowhere/report.json"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != invalid || out.Len() > 0 || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, errs.String())
		}
	}
}

// The page stays a page whatever a step has to say.
func TestPageIsBounded(t *testing.T) {
	var page bytes.Buffer
	var said []string
	for i := range 100 {
		said = append(said, fmt.Sprint(i, strings.Repeat("é", 500)))
	}
	Outcome{Step: "kernels-fp32", Status: failing, Lines: said}.write(&page)
	if n := strings.Count(page.String(), "\n"); n != mostLines+1 || !strings.Contains(page.String(), "(88 more lines") {
		t.Errorf("%d lines\n%s", n, page.String())
	}
	for line := range strings.Lines(page.String()) {
		if n := len([]rune(line)); n > mostLetter+32 {
			t.Errorf("a line of %d letters", n)
		}
	}
}
