package job_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/job"
)

// half cuts a file short.
func half(raw []byte) []byte { return raw[:len(raw)/2] }

// another makes another number of one in a text, which is as good JSON as before.
func another(t *testing.T, raw []byte, key string) []byte {
	t.Helper()
	at := bytes.Index(raw, []byte(key))
	if at < 0 {
		t.Fatalf("there is no %s in %s", key, raw)
	}
	raw[at+len(key)] ^= 1
	return raw
}

// What is damaged in the folder of a run while nobody works on it is found out again:
// the next generation, which remembers nothing, comes to the same end. A file that says
// something else than was written is not believed.
func TestDamagedFoldersAreGotOver(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 4, 2
	b.job.Train.Microbatches, b.job.Train.Batch = 2, 4
	b.job.Data.Test = api.Source{Format: "fashiongrid", Split: "test", Limit: 40}
	b.job.Evaluate.MaxNewTokens, b.job.Evaluate.Batch = 1, 20
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	url := hub(t)
	plan := stages(2, 2, []int{v}, []int{l}, [][]int{{0}, {1}})
	want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
	b.check(err)
	digit := func(raw []byte) []byte { return another(t, raw, `"correct": `) }
	kept := func(raw []byte) []byte { // a mask that keeps one weight fewer, of the same form
		at := bytes.LastIndexByte(raw, 1)
		raw[at] = 0
		return raw
	}
	for name, damage := range map[string]func(dir string, edit func(path string, change func([]byte) []byte)){
		"state torn":               func(d string, edit func(string, func([]byte) []byte)) { edit(d+"/state.json", half) },
		"another score":            func(d string, edit func(string, func([]byte) []byte)) { edit(d+"/state.json", digit) },
		"other masks":              func(d string, edit func(string, func([]byte) []byte)) { edit(d+"/base/masks.safetensors", kept) },
		"job":                      func(d string, edit func(string, func([]byte) []byte)) { edit(d+"/job.yaml", half) },
		"all of these":             nil,
		"checkpoints of the chief": nil,
		"all checkpoints":          nil,
	} {
		if testing.Short() && name != "other masks" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
			edit := func(path string, change func([]byte) []byte) {
				raw, err := os.ReadFile(path)
				b.check(err)
				b.check(os.WriteFile(path, change(raw), 0o644))
			}
			if _, err := b.work(url, plan, 1, func(w int, o *job.Options, stop func()) {
				if w == 0 {
					o.Publish = func(p api.Published) {
						if p.Step == 2 {
							stop()
						}
					}
				}
			}); err == nil {
				t.Fatal("the team went on without a worker")
			}
			dir := filepath.Join(b.dir, "nodes", "n0")
			switch name {
			case "all of these":
				for _, path := range []string{"state.json", "base/masks.safetensors", "job.yaml", "events.jsonl"} {
					edit(filepath.Join(dir, path), half)
				}
			case "checkpoints of the chief", "all checkpoints": // the other node has copies
				if name == "all checkpoints" {
					dir = filepath.Join(b.dir, "nodes", "*")
				}
				for _, pattern := range []string{"*.json", "*.safetensors"} {
					found, err := filepath.Glob(filepath.Join(dir, "checkpoints", pattern))
					b.check(err)
					for _, path := range found {
						edit(path, half)
					}
				}
			default:
				damage(dir, edit)
			}
			results, err := b.work(url, shard.Plan{Nodes: plan.Nodes, Microbatches: plan.Microbatches, Stages: plan.Stages}, 2, nil)
			b.check(err)
			got := results[0]
			if got.AdapterSHA256 != want.AdapterSHA256 || got.BaseSHA256 != want.BaseSHA256 || got.AdapterSHA256 == "" || !reflect.DeepEqual(got.Scores(), want.Scores()) {
				t.Errorf("adapter %s, base %s, scores %+v; undamaged %s, %s, %+v", got.AdapterSHA256, got.BaseSHA256, got.Scores(), want.AdapterSHA256, want.BaseSHA256, want.Scores())
			}
		})
	}
}

// A run whose state is damaged is refused by name, not gone on with: alone, it is the
// user's to decide.
func TestResumeRefusesADamagedState(t *testing.T) {
	b := newBench(t)
	b.interrupted(filepath.Join(b.dir, "run"), func(e api.Event) bool { return e.Phase == "train" })
	path := filepath.Join(b.dir, "run", "state.json")
	raw, err := os.ReadFile(path)
	b.check(err)
	b.check(os.WriteFile(path, another(t, raw, `"steps": `), 0o644))
	_, err = job.Resume(context.Background(), b.options(filepath.Join(b.dir, "run")))
	if api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged state: %v", err)
	}
}
