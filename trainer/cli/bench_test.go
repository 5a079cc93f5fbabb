package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/kernels/cpu/openblas"
)

func TestBenchKernels(t *testing.T) {
	s := newScenario(t)
	var r struct {
		Kind    string `json:"numeric_kind"`
		Core    string `json:"openblas_core"`
		Missing string `json:"openblas_missing"`
		Floor   struct {
			Rate float64 `json:"gflops"`
		} `json:"floor"`
		Rows []struct {
			Suite string  `json:"suite"`
			Op    string  `json:"op"`
			Ours  float64 `json:"gflops"`
			Share float64 `json:"share_of_floor"`
			Ratio *struct {
				Median float64 `json:"median"`
				Q1     float64 `json:"q1"`
			} `json:"ratio"`
		} `json:"rows"`
	}
	picture := filepath.Join(t.TempDir(), "p.png")
	s.check(json.Unmarshal([]byte(s.succeed("bench", "kernels", "--suites", "gemm,layer", "--shapes", "20x24x70", "--patterns", "2:4", "--tokens", "5",
		"--widths", "64", "--ranks", "4", "--turns", "1", "-o", "json", "--plot", picture)), &r))
	if len(r.Rows) != 3+4 || r.Kind == "" || !(r.Floor.Rate > 0) {
		t.Errorf("report %+v", r)
	}
	for _, row := range r.Rows {
		if !(row.Ours > 0) || !(row.Share > 0) || (r.Core != "") != (row.Ratio != nil && row.Ratio.Median > 0 && row.Ratio.Q1 > 0) {
			t.Errorf("row %+v with OpenBLAS on %q", row, r.Core)
		}
	}
	if (r.Core == "") != strings.Contains(r.Missing, "install") {
		t.Errorf("OpenBLAS on %q, missing %q", r.Core, r.Missing)
	}
	if raw, err := os.ReadFile(picture); err != nil || !bytes.HasPrefix(raw, []byte("\x89PNG")) {
		t.Errorf("the plot: %v, %d bytes", err, len(raw))
	}
	s.succeed("bench", "kernels", "--suites", "ops", "--turns", "1")
}

func TestBenchCollective(t *testing.T) {
	s := newScenario(t)
	var r struct {
		Reach map[string]string `json:"reach"`
		Floor []string          `json:"floor"`
		Rows  []struct {
			Kind  string  `json:"kind"`
			Ranks int     `json:"ranks"`
			Bytes int     `json:"bytes"`
			Rate  float64 `json:"gb_per_s"`
			Ratio float64 `json:"ratio"`
			Link  int     `json:"bytes_per_link"`
		} `json:"rows"`
	}
	s.check(json.Unmarshal([]byte(s.succeed("bench", "collective", "--ranks", "2,3", "--sizes", "64KiB,3MiB", "--turns", "2", "-o", "json")), &r))
	if len(r.Rows) != 4*7 || len(r.Floor) == 0 || r.Reach["rank 1"] == "" {
		t.Fatalf("report %+v", r)
	}
	for _, row := range r.Rows {
		plain := strings.HasPrefix(row.Kind, "tcp")
		if !(row.Rate > 0) || plain == (row.Ratio > 0) || row.Link < 1 || row.Ranks < 2 {
			t.Errorf("row %+v", row)
		}
	}
}

func TestBenchStep(t *testing.T) {
	s := newScenario(t)
	var r struct {
		Adapter string `json:"adapter_sha256"`
		Rows    []struct {
			Nodes   int       `json:"nodes"`
			Threads int       `json:"threads"`
			Seconds float64   `json:"step_seconds"`
			Turns   []float64 `json:"turns"`
			Ratio   float64   `json:"ratio"`
		} `json:"rows"`
	}
	s.check(json.Unmarshal([]byte(s.succeed("bench", "step", "--nodes", "1,1", "--turns", "2", "--steps", "3", "--width", "1", "-o", "json")), &r))
	if len(r.Adapter) != 64 || len(r.Rows) != 2 || r.Rows[0].Ratio != 1 {
		t.Fatalf("report %+v", r)
	}
	for _, row := range r.Rows {
		if row.Nodes != 1 || row.Threads < 1 || !(row.Seconds > 0) || !(row.Ratio > 0) || len(row.Turns) != 2 {
			t.Errorf("row %+v", row)
		}
	}
	for _, args := range [][]string{{"--nodes", "0"}, {"--nodes", "9000"}, {"--steps", "1"}, {"--turns", "0"}, {"--width", "0"}} {
		o := s.run(append([]string{"bench", "step"}, args...)...)
		if o.code != api.ExitInvalid || !strings.Contains(o.stderr, args[0]) {
			t.Errorf("%v: exit %d, %q", args, o.code, o.stderr)
		}
	}
}

func TestBenchStepAgainstOpenBLAS(t *testing.T) {
	if _, err := openblas.Load(); err != nil {
		t.Skip(err)
	}
	s := newScenario(t)
	type spread struct {
		Median float64 `json:"median"`
	}
	var r struct {
		Core  string `json:"openblas_core"`
		Tasks []struct {
			Model   string `json:"model"`
			Pattern string `json:"pattern"`
			Forms   []struct {
				Form       string  `json:"form"`
				Seconds    spread  `json:"step_seconds"`
				Ratio      spread  `json:"ratio"`
				Peak       int64   `json:"peak_bytes"`
				Difference float64 `json:"loss_difference"`
			} `json:"forms"`
		} `json:"tasks"`
	}
	picture := filepath.Join(t.TempDir(), "p.svg")
	s.check(json.Unmarshal([]byte(s.succeed("bench", "step", "--against", "openblas", "--models", "demo", "--patterns", "2:4,unstructured:0.7",
		"--microbatches", "2", "--samples", "3", "--turns", "2", "-o", "json", "--plot", picture)), &r))
	if len(r.Tasks) != 2 || r.Core == "" || r.Tasks[1].Pattern != "unstructured:0.7" {
		t.Fatalf("report %+v", r)
	}
	for _, x := range r.Tasks {
		if len(x.Forms) != 2 || x.Forms[0].Form != "ours" || x.Forms[1].Form != "openblas" {
			t.Fatalf("forms %+v", x.Forms)
		}
		for _, f := range x.Forms {
			if !(f.Seconds.Median > 0) || !(f.Ratio.Median > 0) || f.Peak < 1<<20 || !(f.Difference < 1e-3) {
				t.Errorf("%s: %+v", x.Pattern, f)
			}
		}
	}
	if raw, err := os.ReadFile(picture); err != nil || !bytes.Contains(raw, []byte("<svg")) {
		t.Errorf("the plot: %v, %d bytes", err, len(raw))
	}
}

func TestBenchStepTraces(t *testing.T) {
	s := newScenario(t)
	type ratio struct {
		Median float64 `json:"median"`
		Low    float64 `json:"low"`
		High   float64 `json:"high"`
	}
	var r struct {
		Tasks []struct {
			Model     string  `json:"model"`
			Pairs     int     `json:"pairs"`
			Spans     float64 `json:"spans"`
			Delivered int64   `json:"delivered"`
			Dropped   int64   `json:"dropped"`
			Wall      ratio   `json:"wall_ratio"`
			Processor ratio   `json:"processor_ratio"`
		} `json:"tasks"`
	}
	s.check(json.Unmarshal([]byte(s.succeed("bench", "step", "--traces", "--models", "demo", "--turns", "3", "-o", "json")), &r))
	if len(r.Tasks) != 1 {
		t.Fatalf("report %+v", r)
	}
	x := r.Tasks[0]
	if x.Model != "demo" || x.Pairs != 3 || x.Spans < 8*7 || float64(x.Delivered) != 4*2*x.Spans || x.Dropped != 0 {
		t.Errorf("%+v", x)
	}
	for _, q := range []ratio{x.Wall, x.Processor} {
		if !(q.Low > 0 && q.Low <= q.Median && q.Median <= q.High) {
			t.Errorf("ratio %+v", q)
		}
	}
	for _, args := range [][]string{{"--endpoint", "http://127.0.0.1:4318"}, {"--traces", "--nodes", "2"}, {"--traces", "--keeps"}, {"--traces", "--turns", "0"}, {"--endpoint", "ftp://x", "--traces"}, {"--models", "big", "--traces"}} {
		o := s.run(append([]string{"bench", "step"}, args...)...)
		want := args[0]
		if want == "--traces" {
			want = args[1]
		}
		if o.code != api.ExitInvalid || !strings.Contains(o.stderr, want) {
			t.Errorf("%v: exit %d, %q", args, o.code, o.stderr)
		}
	}
}
