package job_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/job"
)

// Who survives a generation reads nothing again of what it holds already: by then the
// files may be anything.
func TestSurvivorsKeepTheirWeights(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 4, 0
	b.job.Train.Microbatches, b.job.Train.Batch = 3, 6
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
	b.check(err)
	plan := func(vision, language []int, workers [][]int, names ...string) shard.Plan {
		p := stages(3, len(names), vision, language, workers)
		p.Nodes = names
		return p
	}
	url := hub(t)
	memories := map[string]*job.Memory{"a": {}, "b": {}}
	defer memories["a"].Close()
	// Both hold everything, a in stages that are cut otherwise than later.
	first := plan([]int{1, v}, []int{1, l}, [][]int{{0, 1}, {0, 1}, {0, 1}, {0, 1}}, "a", "b")
	if _, err := b.work(url, first, 1, func(w int, o *job.Options, stop func()) {
		o.Memory = memories[first.Nodes[w]]
		o.Progress = func(p job.Progress) {
			if w == 1 && p.Phase == "train" && p.Step == 2 {
				stop()
			}
		}
	}); err == nil {
		t.Fatal("the team went on without a worker")
	}
	memories["b"].Close()
	path := filepath.Join(b.model, "model.safetensors")
	raw, err := os.ReadFile(path)
	b.check(err)
	head := 8 + int(binary.LittleEndian.Uint64(raw))
	b.check(os.Remove(path)) // which leaves what is mapped
	b.check(os.WriteFile(path, append(raw[:head:head], bytes.Repeat([]byte{0xff}, len(raw)-head)...), 0o644))
	alone := plan([]int{v}, []int{l}, [][]int{{0}, {0}}, "a")
	results, err := b.work(url, alone, 2, func(_ int, o *job.Options, _ func()) { o.Memory = memories["a"] })
	b.check(err)
	if results[0].AdapterSHA256 != want.AdapterSHA256 || results[0].BaseSHA256 != want.BaseSHA256 {
		t.Errorf("adapter %s on base %s, want %s on %s", results[0].AdapterSHA256, results[0].BaseSHA256, want.AdapterSHA256, want.BaseSHA256)
	}
	memories["a"].Close()
	if _, err := b.work(url, alone, 3, func(_ int, o *job.Options, _ func()) { o.Memory, o.Dir = memories["a"], filepath.Join(b.dir, "again") }); api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("without what was kept: %v, want the weights to be read and refused", err)
	}
}
