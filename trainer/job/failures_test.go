package job_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
	"ressa/trainer/demo"
	"ressa/trainer/job"
)

// bench is a place for runs of the shipped model that train for two steps.
type bench struct {
	*testing.T
	dir, model string
	device     kernels.Device
	job        api.Job
	errs       []error // of the last team, by worker
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir()}
	b.model = filepath.Join(b.dir, "model")
	b.check(demo.Write(b.model))
	device, err := cpu.Open(cpu.Options{Threads: 1})
	b.device = device
	if err != nil { // built without cgo
		b.device = reference.Open()
	}
	t.Cleanup(func() {
		if err := b.device.Close(); err != nil {
			t.Error(err)
		}
	})
	j := api.Default()
	j.Model.Path = b.model
	j.Data = api.Data{Template: "terse", MaxLength: 128, Train: api.Source{Format: "fashiongrid", Split: "train"}}
	j.Prune.CalibrationSamples = 8
	j.Train.Steps, j.Train.Warmup, j.Train.Batch, j.Train.Microbatches, j.Train.CheckpointEvery = 2, 0, 4, 2, 1
	j.Evaluate.Blind = false
	b.job = j
	return b
}

func (b *bench) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) options(dir string) job.Options {
	return job.Options{Dir: dir, Device: b.device, Lanes: 1, Emit: func(api.Event) {},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now}
}

func (b *bench) run() (string, error) {
	dir := filepath.Join(b.dir, "run")
	_, err := job.Run(context.Background(), b.job, b.options(dir))
	return dir, err
}

func (b *bench) read(name string) []byte {
	b.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, name))
	b.check(err)
	return raw
}

func (b *bench) write(name string, raw []byte) string {
	b.Helper()
	path := filepath.Join(b.dir, name)
	b.check(os.MkdirAll(filepath.Dir(path), 0o755))
	b.check(os.WriteFile(path, raw, 0o644))
	return path
}

// replace changes a text in a file of the model.
func (b *bench) replace(name, old, now string) {
	b.Helper()
	raw := b.read(filepath.Join("model", name))
	if !bytes.Contains(raw, []byte(old)) {
		b.Fatalf("%s does not hold %q", name, old)
	}
	b.write(filepath.Join("model", name), bytes.Replace(raw, []byte(old), []byte(now), 1))
}

// shards turns the model's weights into one shard that an index names, and the
// index names another for one tensor.
func (b *bench) shards() {
	b.Helper()
	const weights = "model/model.safetensors"
	raw := b.read(weights)
	var header map[string]any
	b.check(json.Unmarshal(raw[8:8+binary.LittleEndian.Uint64(raw)], &header))
	shardOf := map[string]string{}
	for name := range header {
		if name != "__metadata__" {
			shardOf[name] = "model-00001-of-00002.safetensors"
		}
	}
	shardOf["language_model.lm_head.weight"] = "model-00002-of-00002.safetensors"
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{}, "weight_map": shardOf})
	b.check(err)
	b.write("model/model.safetensors.index.json", index)
	b.check(os.Rename(filepath.Join(b.dir, weights), filepath.Join(b.dir, "model/model-00001-of-00002.safetensors")))
}

// photographs makes a data set of one conversation in LLaVA's JSON.
func (b *bench) photographs(json string, image []byte) {
	b.Helper()
	b.write("photos/a.png", image)
	b.job.Data.Train = api.Source{Format: "llava", Path: b.write("train.json", []byte(json)), Images: filepath.Join(b.dir, "photos")}
}

const conversation = `[{"id":"1","image":"a.png","conversations":[{"from":"human","value":"<image> what is top left"},{"from":"gpt","value":"bag"}]}]`

// Every bad input gives one error that names what is wrong, exit code 2, and
// nothing that looks like a run. docs/failures.md lists them.
func TestBadInputIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*bench)
		want  []string // parts of the message
	}{
		"no model": {func(b *bench) { b.job.Model.Path = filepath.Join(b.dir, "none") }, []string{"model.path", "no such file"}},
		"no weights": {func(b *bench) { b.check(os.Remove(filepath.Join(b.model, "model.safetensors"))) },
			[]string{"model.path", "no weights: expected model.safetensors"}},
		"truncated weights": {func(b *bench) { b.write("model/model.safetensors", b.read("model/model.safetensors")[:100_000]) },
			[]string{"model.safetensors", "truncated"}},
		"lying header": {func(b *bench) { b.replace("model.safetensors", `"shape":[144,`, `"shape":[145,`) },
			[]string{"model.safetensors", "data_offsets span", "expected"}},
		"missing shard": {func(b *bench) { b.shards() }, []string{"model-00002-of-00002.safetensors", "is missing"}},
		"wrong shape": {func(b *bench) { b.replace("config.json", `"intermediate_size": `, `"intermediate_size": 1`) },
			[]string{"gate_proj.weight", "has shape [", "config.json makes it [1"}},
		"unknown architecture": {func(b *bench) { b.replace("config.json", `"model_type": "llava"`, `"model_type": "mllama"`) },
			[]string{"config.json", "mllama", "not supported"}},
		"another hash": {func(b *bench) { b.job.Model.SHA256 = strings.Repeat("0", 64) }, []string{"model.sha256", strings.Repeat("0", 64)}},
		"no tokenizer": {func(b *bench) { b.check(os.Remove(filepath.Join(b.model, "tokenizer.json"))) }, []string{"tokenizer.json"}},
		"other image size": {func(b *bench) {
			b.replace("preprocessor_config.json", `"height": 56, "width": 56`, `"height": 28, "width": 28`)
		}, []string{"preprocessor_config.json", "28×28", "56×56"}},
		"bad pattern": {func(b *bench) { b.job.Prune.Pattern = "5:4" }, []string{"prune", `"5:4"`}},
		"no data": {func(b *bench) {
			b.job.Data.Train = api.Source{Format: "llava", Path: filepath.Join(b.dir, "none.json")}
		}, []string{"data.train", "none.json"}},
		"empty data":         {func(b *bench) { b.photographs(`[]`, nil) }, []string{"data.train", "empty"}},
		"data of a stranger": {func(b *bench) { b.photographs(`{"a":1}`, nil) }, []string{"data.train", "train.json"}},
		"corrupt image":      {func(b *bench) { b.photographs(conversation, []byte("\x89PNG\r\n\x1a\nrest")) }, []string{"data.train", "a.png"}},
		"image outside": {func(b *bench) { b.photographs(strings.Replace(conversation, "a.png", "../model/config.json", 1), nil) },
			[]string{"data.train", "../model/config.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c.spoil(b)
			dir, err := b.run()
			if err == nil {
				t.Fatal("the run succeeded")
			}
			t.Log(err)
			if code := api.ExitCode(err); code != api.ExitInvalid {
				t.Errorf("exit code %d, want %d: %v", code, api.ExitInvalid, err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
			for _, left := range []string{"job.yaml", "state.json", "output", "checkpoints", "result.json"} {
				if _, err := os.Lstat(filepath.Join(dir, left)); err == nil {
					t.Errorf("%s is left", left)
				}
			}
		})
	}
}
