package cli_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
	"ressa/trainer/data/conversation"
	"ressa/trainer/data/fashiongrid"
)

// copyModel copies the tiny model to a folder that may be spoiled.
func (s scenario) copyModel() string {
	s.Helper()
	dir := filepath.Join(s.TempDir(), "model")
	s.check(os.CopyFS(dir, os.DirFS(s.model())))
	return dir
}

// edit rewrites a file.
func (s scenario) edit(path string, change func([]byte) []byte) {
	s.Helper()
	raw, err := os.ReadFile(path)
	s.check(err)
	s.check(os.WriteFile(path, change(raw), 0o644))
}

// header returns the length of a safetensors file's JSON header and the header.
func header(raw []byte) (int, map[string]map[string]any) {
	n := int(binary.LittleEndian.Uint64(raw))
	var h map[string]map[string]any
	if err := json.Unmarshal(raw[8:8+n], &h); err != nil {
		panic(err)
	}
	return n, h
}

// withHeader returns a safetensors file with another header over the same data.
func withHeader(raw []byte, change func(map[string]map[string]any)) []byte {
	n, h := header(raw)
	change(h)
	text, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(out, text...), raw[8+n:]...)
}

// conversations writes a LLaVA data set of n examples and returns the source that
// names it in a job.
func (s scenario) conversations(n int) (dir, source string) {
	s.Helper()
	dir = filepath.Join(s.TempDir(), "llava")
	photos, err := fashiongrid.Shipped(context.Background(), false)
	s.check(err)
	set, err := fashiongrid.New(photos, fashiongrid.Train, 1, n)
	s.check(err)
	s.check(conversation.Write(context.Background(), dir, set))
	return dir, "{format: llava, path: " + filepath.Join(dir, conversation.FileName) + ", images: " + filepath.Join(dir, conversation.ImageFolder) + "}"
}

// images lists the images of a data set in order of example.
func (s scenario) images(dir string) []string {
	s.Helper()
	var entries []struct {
		Image string `json:"image"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, conversation.FileName))
	s.check(err)
	s.check(json.Unmarshal(raw, &entries))
	var out []string
	for _, e := range entries {
		out = append(out, filepath.Join(dir, conversation.ImageFolder, filepath.FromSlash(e.Image)))
	}
	return out
}

const trainSource = "{format: fashiongrid, split: train, limit: 300}"

// refused runs a job that must be refused with one line that says want, leaving
// nothing.
func (s scenario) refused(job, want string) {
	s.Helper()
	dir := filepath.Join(s.TempDir(), "run")
	o := s.run("repair", job, "--output", dir)
	if o.code != api.ExitInvalid {
		s.Errorf("exit %d, want %d", o.code, api.ExitInvalid)
	}
	if !strings.HasPrefix(o.stderr, "ressa: ") || strings.Count(o.stderr, "\n") != 1 || !strings.Contains(o.stderr, want) || o.stdout != "" {
		s.Errorf("error %q and output %q, want one line with %q and nothing", o.stderr, o.stdout, want)
	}
	if _, err := os.Stat(dir); err == nil {
		names, _ := os.ReadDir(dir)
		s.Errorf("left %v behind", names)
	}
}

// lastError is what follows "ressa:" on standard error.
func lastError(stderr string) string {
	_, text, _ := strings.Cut("\n"+stderr, "\nressa: ")
	return text
}

func TestJobsAreRefused(t *testing.T) {
	s := newScenario(t)
	const weights = "model.safetensors"
	spoiled := func(name, want string, spoil func(s scenario, dir string)) {
		t.Run(name, func(t *testing.T) {
			s := scenario{t, s.files}
			dir := s.copyModel()
			spoil(s, dir)
			s.refused(s.job("MODEL", dir), want)
		})
	}
	spoiled("truncated", weights, func(s scenario, dir string) {
		s.edit(filepath.Join(dir, weights), func(b []byte) []byte { return b[:len(b)-5] })
	})
	spoiled("lying header", weights, func(s scenario, dir string) {
		s.edit(filepath.Join(dir, weights), func(b []byte) []byte {
			return withHeader(b, func(h map[string]map[string]any) {
				for name, e := range h {
					if name != "__metadata__" {
						e["data_offsets"] = []int{0, 1 << 40}
					}
				}
			})
		})
	})
	spoiled("header longer than the file", weights, func(s scenario, dir string) {
		s.edit(filepath.Join(dir, weights), func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b, 1<<60)
			return b
		})
	})
	spoiled("wrong shape", "q_proj", func(s scenario, dir string) {
		s.edit(filepath.Join(dir, weights), func(b []byte) []byte {
			return withHeader(b, func(h map[string]map[string]any) {
				for name, e := range h {
					if strings.Contains(name, "q_proj.weight") {
						e["shape"] = []int{16, 64}
					}
				}
			})
		})
	})
	spoiled("missing tensor", "lm_head", func(s scenario, dir string) {
		s.edit(filepath.Join(dir, weights), func(b []byte) []byte {
			return withHeader(b, func(h map[string]map[string]any) {
				for name := range h {
					if strings.Contains(name, "lm_head") {
						h[strings.Replace(name, "lm_head", "lm_hat", 1)] = h[name]
						delete(h, name)
					}
				}
			})
		})
	})
	spoiled("missing shard", "model-00002", func(s scenario, dir string) {
		raw, err := os.ReadFile(filepath.Join(dir, weights))
		s.check(err)
		_, h := header(raw)
		names := map[string]string{}
		for name := range h {
			if name != "__metadata__" {
				names[name] = "model-00001-of-00002.safetensors"
			}
		}
		names["language_model.lm_head.weight"] = "model-00002-of-00002.safetensors"
		index, err := json.Marshal(map[string]any{"weight_map": names})
		s.check(err)
		s.check(os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), index, 0o644))
		s.check(os.Rename(filepath.Join(dir, weights), filepath.Join(dir, "model-00001-of-00002.safetensors")))
	})
	spoiled("unknown architecture", "paligemma", func(s scenario, dir string) {
		s.edit(filepath.Join(dir, "config.json"), func(b []byte) []byte {
			var c map[string]any
			s.check(json.Unmarshal(b, &c))
			c["model_type"] = "paligemma"
			b, err := json.Marshal(c)
			s.check(err)
			return b
		})
	})
	spoiled("negative layers", "vision_config.num_hidden_layers is -2, want 0 to", func(s scenario, dir string) {
		s.edit(filepath.Join(dir, "config.json"), func(b []byte) []byte {
			var c map[string]any
			s.check(json.Unmarshal(b, &c))
			c["vision_config"].(map[string]any)["num_hidden_layers"] = -2
			b, err := json.Marshal(c)
			s.check(err)
			return b
		})
	})
	spoiled("no tokenizer", "tokenizer.json", func(s scenario, dir string) { s.check(os.Remove(filepath.Join(dir, "tokenizer.json"))) })
	spoiled("no weights", "no weights", func(s scenario, dir string) { s.check(os.Remove(filepath.Join(dir, weights))) })

	for name, c := range map[string]struct{ old, new, want string }{
		"unknown key":    {"steps: 40", "stepz: 40", `unknown key "train.stepz", did you mean "steps"?`},
		"missing model":  {"MODEL", filepath.Join(t.TempDir(), "nothing"), "nothing"},
		"wrong hash":     {"init: pretrained", "init: pretrained, sha256: abc", "model.sha256"},
		"missing data":   {trainSource, "{format: llava, path: /nothing/data.json}", "data.train"},
		"rank too large": {"rank: 4", "rank: 33", "rank 33"},
		"missing masks":  {"calibration_samples: 20", "masks: /nothing", "prune.masks"},
		"bad pattern":    {`pattern: "2:4"`, `pattern: "4:2"`, `job.yaml: prune.pattern: found "4:2"`},
		"own pattern":    {`pattern: "2:4"`, `pattern: "2:4", language: "+2:04"`, `job.yaml: prune.language: found "+2:04"`},
		"odd width":      {`pattern: "2:4"`, `pattern: "2:4", vision: "4:16"`, "prune.vision: model.vision_tower.encoder.layers.0.mlp.fc2.weight: pattern 4:16: width 40, want a multiple of 16"},
		"seed":           {"name: tiny", "seed: -1", "job.yaml: line 2: seed: found -1, want an integer from 0 to 18446744073709551615"},
		"learning rate":  {"learning_rate: 0.02", "learning_rate: 1e300", "train.learning_rate: found 1e+300, want a number above 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario{t, s.files}
			s.refused(s.job(c.old, c.new), c.want)
		})
	}
}

func TestDataIsRefused(t *testing.T) {
	s := newScenario(t)
	t.Run("corrupt image", func(t *testing.T) {
		s := scenario{t, s.files}
		dir, source := s.conversations(30)
		name := s.images(dir)[0]
		s.edit(name, func(b []byte) []byte { return b[:len(b)/2] })
		s.refused(s.job(trainSource, source), filepath.Base(name))
	})
	t.Run("corrupt image for pruning", func(t *testing.T) {
		s := scenario{t, s.files}
		dir, _ := s.conversations(30)
		names := s.images(dir)
		s.edit(names[len(names)/2], func(b []byte) []byte { return b[:len(b)/2] })
		args := []string{"--format", "llava", "--data", filepath.Join(dir, conversation.FileName), "--images", filepath.Join(dir, conversation.ImageFolder)}
		out := filepath.Join(t.TempDir(), "out")
		for _, verb := range [][]string{{"prune", s.model(), "--output", out}, {"eval", s.model(), "--max-new-tokens", "1"}} {
			o := s.run(append(verb, args...)...)
			if e := lastError(o.stderr); o.code != api.ExitFailed || !strings.Contains(e, filepath.Base(names[len(names)/2])) || o.stdout != "" {
				t.Errorf("%v: exit %d, %q", verb, o.code, o.stderr)
			}
		}
		if _, err := os.Stat(out); err == nil {
			t.Error("a folder is left")
		}
	})
	t.Run("corrupt image within", func(t *testing.T) {
		s := scenario{t, s.files}
		dir, source := s.conversations(30)
		names := s.images(dir)
		s.edit(names[len(names)/2], func(b []byte) []byte { return append([]byte("nothing"), b[7:]...) })
		// Only training meets it: the run has begun, has failed, and stays to be resumed.
		o := s.run("repair", s.job(trainSource, source, "method: wanda", "method: magnitude"), "--output", filepath.Join(t.TempDir(), "run"))
		if e := lastError(o.stderr); o.code != api.ExitFailed || !strings.Contains(e, filepath.Base(names[len(names)/2])) || !strings.Contains(e, "step ") {
			t.Errorf("exit %d, %q, want the step and %s", o.code, o.stderr, names[len(names)/2])
		}
	})
	t.Run("missing image", func(t *testing.T) {
		s := scenario{t, s.files}
		dir, source := s.conversations(30)
		name := s.images(dir)[0]
		s.check(os.Remove(name))
		s.refused(s.job(trainSource, source), filepath.Base(name))
	})
	for name, c := range map[string]struct{ text, want string }{
		"empty": {"[]", "data.json"}, "no bytes": {"", "data.json"}, "not JSON": {"[{", "data.json"},
		"no answer": {`[{"id": "7", "conversations": [{"from": "human", "value": "what?"}]}]`, `example "7"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario{t, s.files}
			path := filepath.Join(t.TempDir(), "data.json")
			s.check(os.WriteFile(path, []byte(c.text), 0o644))
			s.refused(s.job(trainSource, "{format: llava, path: "+path+"}"), c.want)
		})
	}
	t.Run("empty parquet", func(t *testing.T) {
		s := scenario{t, s.files}
		path := filepath.Join(t.TempDir(), "data.parquet")
		s.check(os.WriteFile(path, []byte("PAR1PAR1"), 0o644))
		s.refused(s.job(trainSource, "{format: parquet, path: "+path+"}"), "data.parquet")
	})
	t.Run("sound", func(t *testing.T) {
		s := scenario{t, s.files}
		_, source := s.conversations(30)
		s.repair(s.job(trainSource, source, "steps: 40", "steps: 3"), filepath.Join(t.TempDir(), "run"))
	})
}

func TestFlagsAreRefused(t *testing.T) {
	s := newScenario(t)
	for want, args := range map[string]string{
		"--output: missing":              "prune demo",
		"--orphan-timeout: found 0s":     "trainer --data OUT --orphan-timeout 0s",
		`--pattern: found "half"`:        "prune demo --output OUT --pattern half",
		"--vision: found \"4:2\"":        "prune demo --output OUT --vision 4:2",
		`--method: found "none"`:         "prune demo --output OUT --method none",
		"--calibration-samples: found 0": "prune demo --output OUT --calibration-samples 0",
		"--images: found":                "prune demo --output OUT --format parquet --data x --images y",
		"nothing to prune":               "prune demo --output OUT --vision dense --language dense",
		`--dtype: found "fp8"`:           "prune demo --output OUT --dtype fp8",
		"nothing/config.json":            "prune nothing --output OUT --method magnitude",
		`--format: found ""`:             "eval demo --data x.json",
		"--data: open":                   "eval demo --format llava --data nothing.json",
		`--split: found "all"`:           "eval demo --split all",
		"--batch: found 0":               "eval demo --batch 0",
		"--max-new-tokens: found 0":      "eval demo --max-new-tokens 0",
		`--template: found "chatml"`:     "eval demo --template chatml",
		`--device: found "tpu"`:          "eval demo --device tpu",
		"--threads: found -1":            "eval demo --threads -1",
		"--threads: found 100000000":     "prune demo --output OUT --threads 100000000",
		"--threads: found 1025, want 0 (all processors) to 1024": "demo --output OUT --threads 1025",
		`--pattern: found "0:4", want N:M`:                       "prune x --import --output OUT --pattern 0:4",
		`--pattern: found "4:4", want N:M`:                       "demo --output OUT --pattern 4:4",
		`--language: found "unstructured:NaN"`:                   "prune demo --output OUT --language unstructured:NaN",
		"--steps: found -1, want an integer from 0":              "demo --output OUT --steps -1",
		"--limit: found -1, want an integer from 0":              "eval demo --limit -1",
		`-o: found "yaml"`:                                       "eval demo -o yaml",
		"eval: found 0 arguments":                                "eval",
		"no run to export":                                       "export nothing --output OUT",
		"--best and --step":                                      "export nothing --output OUT --best --step 3",
		"--shapes: found":                                        "bench kernels --shapes round",
		"--turns: found 0":                                       "bench kernels --turns 0",
		"--suites: found \"fft\", want gemm, layer or ops":       "bench kernels --suites fft",
		"--patterns: pattern \"half\"":                           "bench kernels --patterns half",
		"--widths: ":                                             "bench kernels --patterns 2:4 --widths 6",
		"--tokens: found [0], want numbers from 1 to 65536":      "bench kernels --tokens 0",
		"--plot: found \"p.gif\", want a name that ends in .png": "bench kernels --plot p.gif",
		"--turns: found 0 turns":                                 "bench collective --turns 0",
		"--sizes: found 100 bytes":                               "bench collective --sizes 100",
		"--sizes: found \"1TiB\"":                                "bench collective --sizes 1TiB",
		"--ranks: found rank 0 of 1":                             "bench collective --ranks 1",
		"--kinds: found \"gloo\"":                                "bench collective --kinds gloo",
		"--against: found \"jax\", want openblas or pytorch":     "bench step --against jax",
		"--against: found with --nodes":                          "bench step --against openblas --nodes 1",
		"--models: model \"gpt\", want one of":                   "bench step --against openblas --models gpt",
		"--dtype, --recompute, --microbatches, --samples":        "bench step --against openblas --models demo --samples -1",
		"--python: found \"\", want the path of an interpreter":  "bench step --against pytorch",
		"--python: exec: \"/nothing/python\"":                    "bench step --against pytorch --python /nothing/python --models demo",
		"unknown flag":                                           "bench kernels --nodes 3",
		"--plot: found \"/nothing/here.png\", want a file in a":  "bench kernels --plot /nothing/here.png",
		"--device: found \"cuda:0\", want auto or cpu":           "bench kernels --device cuda:0",
		"--pixels 77, --text 0, --answers 0: found with":         "bench step --against openblas --models demo --pixels 77",
		"--dtype: found \"fp8\", want fp32 or bf16":              "bench step --against openblas --dtype fp8",
		"--patterns: found without --against":                    "bench step --patterns 2:4",
	} {
		out := filepath.Join(t.TempDir(), "out")
		o := s.run(strings.Fields(strings.ReplaceAll(args, "OUT", out))...)
		if e := lastError(o.stderr); o.code != api.ExitInvalid || !strings.Contains(e, want) || strings.Contains(strings.TrimSpace(e), "\n") {
			t.Errorf("%s: exit %d, %q, want one line with %q", args, o.code, o.stderr, want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s left %s behind", args, out)
		}
	}
	if o := s.run("prune", "demo", "--output", s.model()); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "not empty") {
		t.Errorf("a folder that is there: exit %d, %q", o.code, o.stderr)
	}
}

func TestFoldersAreRefused(t *testing.T) {
	s := newScenario(t)
	job := s.job("blind: true", "blind: false", "steps: 40", "steps: 200")
	dir := filepath.Join(t.TempDir(), "run")
	s.interrupt(unix.SIGTERM, 12, "repair", job, "--output", dir)
	before, err := os.ReadDir(dir)
	s.check(err)
	if o := s.run("repair", job, "--output", dir); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "holds a run already") {
		t.Errorf("a second run: exit %d, %q", o.code, o.stderr)
	}
	path := filepath.Join(dir, "job.yaml")
	original, err := os.ReadFile(path)
	s.check(err)
	s.edit(path, func(b []byte) []byte {
		return []byte(strings.Replace(string(b), "learning_rate: 0.02", "learning_rate: 0.03", 1))
	})
	if o := s.run("resume", dir); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "job.yaml") {
		t.Errorf("a changed job: exit %d, %q", o.code, o.stderr)
	}
	// Without the state that would tell, the checkpoints do.
	s.check(os.Remove(filepath.Join(dir, "state.json")))
	if o := s.run("resume", dir); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "another job") {
		t.Errorf("checkpoints of another job: exit %d, %q", o.code, o.stderr)
	}
	s.check(os.WriteFile(path, original, 0o644))
	s.check(os.Remove(filepath.Join(dir, "state.json")))

	// A refused resume leaves the run.
	moved := s.model() + "-moved"
	s.check(os.Rename(s.model(), moved))
	o := s.run("resume", dir)
	s.check(os.Rename(moved, s.model()))
	if o.code != api.ExitInvalid || !strings.Contains(o.stderr, "config.json") {
		t.Errorf("resume without the model: exit %d, %q", o.code, o.stderr)
	}
	after, err := os.ReadDir(dir)
	s.check(err)
	if len(after) != len(before) {
		t.Errorf("the run's folder holds %v, want %v", after, before)
	}
	s.succeed("resume", dir)

	foreign := t.TempDir()
	s.check(os.WriteFile(filepath.Join(foreign, "thesis.txt"), []byte("x"), 0o644))
	if o := s.run("repair", job, "--output", foreign); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "thesis.txt") {
		t.Errorf("a folder of somebody else: exit %d, %q", o.code, o.stderr)
	}
	file := filepath.Join(foreign, "thesis.txt")
	if o := s.run("repair", job, "--output", file); o.code != api.ExitInvalid || !strings.Contains(o.stderr, "thesis.txt is a file") {
		t.Errorf("a file for a folder: exit %d, %q", o.code, o.stderr)
	}
	if o := s.run("resume", foreign); o.code != api.ExitInvalid {
		t.Errorf("resume of no run: exit %d, %q", o.code, o.stderr)
	}
}

func TestNotFiniteNamesTheStep(t *testing.T) {
	s := newScenario(t)
	dir := filepath.Join(t.TempDir(), "run")
	o := s.run("repair", s.job("learning_rate: 0.02", "learning_rate: 1000000", "alpha: 8", "alpha: 1000000"), "--output", dir)
	e := lastError(o.stderr)
	if o.code != api.ExitFailed || !strings.HasPrefix(e, "step ") || !strings.Contains(e, "not finite") {
		t.Errorf("exit %d, %q, want a step that is not finite", o.code, o.stderr)
	}
	if !strings.Contains(o.stdout, "tiny failed after") {
		t.Errorf("printed %q, want how long the run took", o.stdout)
	}
	if out := s.succeed("status", dir); !strings.Contains(out, api.Failed) {
		t.Errorf("status %q", out)
	}
}

// A disk that is full at any point ends the run with one error, and once there is
// room, it goes on to the same bits.
func TestFullDisk(t *testing.T) {
	s := newScenario(t)
	job := s.job("steps: 40", "steps: 20")
	want := s.repair(job, filepath.Join(t.TempDir(), "whole"))
	for _, size := range []string{"16k", "200k", "400k"} {
		t.Run(size, func(t *testing.T) {
			s := scenario{t, s.files}
			disk := t.TempDir()
			if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size="+size); err != nil {
				t.Skipf("cannot mount a tmpfs: %v", err)
			}
			t.Cleanup(func() { s.check(unix.Unmount(disk, 0)) })
			dir := filepath.Join(disk, "run")
			o := s.run("repair", job, "--output", dir)
			if o.code != api.ExitFailed && o.code != api.ExitInvalid {
				t.Fatalf("exit %d on %s\n%s", o.code, size, o.stderr)
			}
			if e := lastError(o.stderr); !strings.Contains(e, "no space left") {
				t.Errorf("error %q, want the full disk", o.stderr)
			}
			t.Logf("%s: %s", size, lastError(o.stderr))
			s.check(unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=64m"))
			verb := []string{"resume", dir, "-o", "json"}
			if _, err := os.Stat(filepath.Join(dir, "job.yaml")); err != nil {
				verb = []string{"repair", job, "--output", dir, "-o", "json"}
			}
			got := s.result(s.succeed(verb...))
			if got.AdapterSHA256 != want.AdapterSHA256 {
				t.Errorf("adapter %s, with room from the start %s", got.AdapterSHA256, want.AdapterSHA256)
			}
			s.same(want.Output, got.Output)
		})
	}
}
