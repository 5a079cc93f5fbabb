package cli_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ressa/coordinator/api"
	"ressa/trainer/demo"
)

// files are what all scenarios share: the binary, built once, and a tiny model.
type files struct{ dir string }

func (f files) binary() string { return filepath.Join(f.dir, "ressa") }
func (f files) model() string  { return filepath.Join(f.dir, "tiny") }

// sharedDir names the folder of the shared files to the tests of this process.
const sharedDir = "RESSA_SCENARIO_DIR"

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run())
	}
	code, err := prepared(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		code = 1
	}
	os.Exit(code)
}

func prepared(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "ressa-scenario-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	f := files{dir}
	build := exec.Command("go", "build", "-o", f.binary(), "ressa")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := f.makeModel(); err != nil {
		return 1, fmt.Errorf("tiny model: %w", err)
	}
	if err := os.Setenv(sharedDir, dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// makeModel writes a model like the demo's, only smaller and random, by a job
// that neither prunes nor trains.
func (f files) makeModel() error {
	blank := filepath.Join(f.dir, "blank")
	if err := demo.Write(blank); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(blank, "model.safetensors")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(blank, "config.json"))
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		return err
	}
	for _, tower := range []string{"text_config", "vision_config"} {
		c := config[tower].(map[string]any)
		c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["num_hidden_layers"] = 32, 40, 2, 2
	}
	config["text_config"].(map[string]any)["num_key_value_heads"] = 2
	if raw, err = json.Marshal(config); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(blank, "config.json"), raw, 0o644); err != nil {
		return err
	}
	job := filepath.Join(f.dir, "model.yaml")
	text := strings.NewReplacer("MODEL", blank, "pretrained", "random", "method: wanda", "method: none", "steps: 40", "steps: 0", "blind: true", "blind: false",
		"bf16", "fp32").Replace(tinyJob)
	if err := os.WriteFile(job, []byte(text), 0o644); err != nil {
		return err
	}
	run := filepath.Join(f.dir, "model-run")
	if out, err := f.command("repair", job, "--output", run).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Rename(filepath.Join(run, "output"), f.model())
}

// tinyJob is a job of a second; scenarios replace parts of it.
const tinyJob = `
name: tiny
model: {path: MODEL, init: pretrained}
data:
  train: {format: fashiongrid, split: train, limit: 300}
  test: {format: fashiongrid, split: test, limit: 120}
  template: terse
  max_length: 128
prune: {method: wanda, pattern: "2:4", calibration_samples: 20}
adapter: {method: sparselora, rank: 4, alpha: 8}
train: {steps: 40, batch: 12, microbatches: 4, learning_rate: 0.02, warmup: 0, checkpoint_every: 10}
evaluate: {questions: 120, batch: 30, max_new_tokens: 1, blind: true}
export: {dtype: bf16}
`

func (f files) command(args ...string) *exec.Cmd {
	cmd := exec.Command(f.binary(), args...)
	// Nothing of the tester's own settings.
	cmd.Env = append(os.Environ(), "RESSA_CONFIG="+os.DevNull)
	return cmd
}

// scenario drives the binary for one test.
type scenario struct {
	*testing.T
	files
}

func newScenario(t *testing.T) scenario {
	t.Helper()
	if testing.Short() {
		t.Skip("drives the built binary")
	}
	return scenario{t, files{os.Getenv(sharedDir)}}
}

func (s scenario) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// job writes the tiny job with replacements, pairs of old and new, to a file.
func (s scenario) job(replacements ...string) string {
	s.Helper()
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(tinyJob, replacements[i]) {
			s.Fatalf("the job has no %q", replacements[i])
		}
	}
	path := filepath.Join(s.TempDir(), "job.yaml")
	text := strings.NewReplacer(append(replacements, "MODEL", s.model())...).Replace(tinyJob)
	s.check(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func (s scenario) run(args ...string) outcome { s.Helper(); return s.feed(nil, args...) }

func (s scenario) feed(stdin io.Reader, args ...string) outcome {
	s.Helper()
	cmd := s.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		s.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// succeed runs a command that must succeed and returns its standard output.
func (s scenario) succeed(args ...string) string {
	s.Helper()
	o := s.run(args...)
	if o.code != 0 {
		s.Fatalf("ressa %v: exit %d\n%s%s", args, o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// result returns the last line of -o json.
func (s scenario) result(stdout string) api.Result {
	s.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var r api.Result
	s.check(json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	return r
}

// repair runs a job to its end.
func (s scenario) repair(job, dir string, flags ...string) api.Result {
	s.Helper()
	return s.result(s.succeed(append([]string{"repair", job, "--output", dir, "-o", "json"}, flags...)...))
}

// interrupt starts a command with -o json and sends it a signal after a step.
func (s scenario) interrupt(signal syscall.Signal, step int, args ...string) outcome {
	s.Helper()
	cmd := s.command(append(args, "-o", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	s.check(err)
	s.check(cmd.Start())
	var text strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	sent := false
	for lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		var e api.Event
		s.check(json.Unmarshal(lines.Bytes(), &e))
		if !sent && e.Step != nil && e.Step.Step >= step {
			sent = true
			s.check(cmd.Process.Signal(signal))
		}
	}
	_ = cmd.Wait() // the exit code tells
	if !sent {
		s.Fatalf("no step %d to interrupt\n%s%s", step, text.String(), stderr.String())
	}
	return outcome{cmd.ProcessState.ExitCode(), text.String(), stderr.String()}
}

// same fails unless two folders hold the same files of weights and masks.
func (s scenario) same(a, b string) {
	s.Helper()
	names, err := filepath.Glob(filepath.Join(a, "*.safetensors"))
	s.check(err)
	if len(names) < 2 {
		s.Errorf("%s holds %v, want weights and masks", a, names)
	}
	names = append(names, filepath.Join(a, "adapter", "adapter_model.safetensors"))
	for _, name := range names {
		rel, err := filepath.Rel(a, name)
		s.check(err)
		x, err := os.ReadFile(name)
		s.check(err)
		y, err := os.ReadFile(filepath.Join(b, rel))
		s.check(err)
		if !bytes.Equal(x, y) {
			s.Errorf("%s differs between %s and %s", rel, a, b)
		}
	}
}
