package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels/cuda/shim"
)

// onShim makes commands find the shim where they look for the driver.
func (s scenario) onShim() {
	s.Helper()
	dir := s.TempDir()
	s.check(os.Symlink(shim.Build(s.T), filepath.Join(dir, "libcuda.so.1")))
	s.Setenv("LD_LIBRARY_PATH", dir)
}

func TestBenchGPU(t *testing.T) {
	s := newScenario(t)
	s.onShim()
	tiny := []string{"bench", "gpu", "--against", "none", "--shapes", "32x64", "--tokens", "20", "--ranks", "3", "--attention", "12x2x16", "--loss", "4x100", "--memory", "8x32",
		"--turns", "2", "--turn", "1us", "--peak-side", "32"}
	var r struct {
		GPU   string `json:"gpu"`
		Cases []struct {
			Suite string `json:"suite"`
			Ours  []struct {
				Compute string `json:"compute"`
				Step    struct {
					Median float64 `json:"median"`
				} `json:"step_seconds"`
			} `json:"ours"`
		} `json:"cases"`
	}
	s.check(json.Unmarshal([]byte(s.succeed(append(tiny, "-o", "json")...)), &r))
	if r.GPU != "shim" || len(r.Cases) != 5 || len(r.Cases[0].Ours) != 6 || r.Cases[0].Suite != "layer" || !(r.Cases[0].Ours[5].Step.Median > 0) {
		t.Errorf("report %+v", r)
	}
	table := s.succeed(append(tiny, "--suites", "layer", "--compute", "bf16")...)
	for _, want := range []string{"| layer 20 × 32 × 64, r = 3 | 2:4 | bf16 |", "| dA, dB | layer 20 × 32 × 64, r = 3 | bf16 |", "without PyTorch (not asked for)"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	for _, c := range [][]string{
		{"--device", "cpu"}, {"--against", "jax"}, {"--python", "/nowhere/python"}, {"--suites", "gemm"}, {"--shapes", "32"}, {"--shapes", "32x63"}, {"--attention", "1x2"},
		{"--loss", "0x5"}, {"--patterns", "half"}, {"--compute", "fp8"}, {"--turns", "0"}, {"--turn", "0s"}, {"--within", "-1s"}, {"--peak-side", "-5"},
	} {
		args := append([]string{}, tiny...)
		if c[0] == "--python" {
			c = append(c, "--against", "pytorch")
		}
		o := s.run(append(args, c...)...)
		want := c[0]
		if c[1] == "32x63" {
			want = "--patterns"
		}
		if o.code != api.ExitInvalid || !strings.Contains(o.stderr, want) || o.stdout != "" {
			t.Errorf("%v: exit %d, %q", c, o.code, o.stderr)
		}
	}
}
