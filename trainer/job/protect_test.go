package job_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/job"
)

var protectTurns = flag.Int("protect.turns", 0, "turns of TestWhatProtectionCosts; 0 leaves it out")

// What keeping every step in a second worker's memory, and checkpoints, cost of a step
// of about a second: two workers in this process, each of which alone holds a tower, so
// that both have a buddy. Reported, not asserted.
//
//	go test ./trainer/job -run TestWhatProtectionCosts -v -protect.turns 5
func TestWhatProtectionCosts(t *testing.T) {
	if *protectTurns == 0 {
		t.Skip("a measurement")
	}
	b := newBench(t)
	b.widen(t, 6)
	b.job.Model.Init = "random"
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 12, 0
	b.job.Train.Microbatches, b.job.Train.Batch = 8, 8*12
	b.job.Data.Test = api.Source{Format: "fashiongrid", Split: "test", Limit: 8}
	b.job.Evaluate.MaxNewTokens, b.job.Evaluate.Batch = 1, 8
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	plan := stages(8, 2, []int{len(profile.Towers[0].Blocks)}, []int{len(profile.Towers[1].Blocks)}, [][]int{{0}, {1}})
	url := hub(t)
	variants := []struct {
		name   string
		memory bool
		every  int
	}{{"bare", false, 0}, {"buddies", true, 0}, {"buddies, checkpoint every 3 steps", true, 3}}
	step := make([][]float64, len(variants))
	for turn := range *protectTurns {
		for i, v := range variants {
			step[i] = append(step[i], b.stepTime(url, plan, fmt.Sprintf("%d-%d", turn, i), v.memory, v.every))
			t.Logf("turn %d, %s: %.3f s a step", turn, v.name, step[i][turn])
		}
	}
	for i, v := range variants {
		var ratios []float64
		for turn := range step[i] {
			ratios = append(ratios, step[i][turn]/step[0][turn])
		}
		slices.Sort(ratios)
		t.Logf("%s: %.3f of bare (median of %d turns, %.3f to %.3f)", v.name, ratios[len(ratios)/2], len(ratios), ratios[0], ratios[len(ratios)-1])
	}
}

// stepTime runs the job in a folder of its own and returns the mean time between its
// steps, without the first one.
func (b *bench) stepTime(url string, plan shard.Plan, name string, memory bool, every int) float64 {
	b.Helper()
	run := &bench{T: b.T, dir: filepath.Join(b.dir, name), model: b.model, device: b.device, job: b.job}
	run.job.Train.CheckpointEvery = every
	var at []time.Time
	_, err := run.work(url, plan, 1, func(w int, o *job.Options, _ func()) {
		if memory {
			o.Memory = &job.Memory{}
		}
		if w == 0 {
			o.Emit = func(e api.Event) {
				if e.Step != nil {
					at = append(at, time.Now())
				}
			}
		}
	})
	b.check(err)
	b.check(os.RemoveAll(run.dir))
	return at[len(at)-1].Sub(at[0]).Seconds() / float64(len(at)-1)
}

// widen makes the model larger: so many heads of 64 channels in the language tower, two
// thirds of them in the vision tower, six layers each.
func (b *bench) widen(t *testing.T, heads int) {
	t.Helper()
	path := filepath.Join(b.model, "config.json")
	raw, err := os.ReadFile(path)
	b.check(err)
	var config map[string]any
	b.check(json.Unmarshal(raw, &config))
	language, vision := config["text_config"].(map[string]any), config["vision_config"].(map[string]any)
	small := heads * 2 / 3
	for tower, n := range map[*map[string]any]int{&language: heads, &vision: small} {
		(*tower)["hidden_size"], (*tower)["num_attention_heads"], (*tower)["num_hidden_layers"] = 64*n, n, 6
	}
	language["num_key_value_heads"], language["head_dim"], language["intermediate_size"] = heads, 64, (64*heads*8/3+31)/32*32
	vision["projection_dim"], vision["intermediate_size"] = 64*small, 4*64*small
	raw, err = json.Marshal(config)
	b.check(err)
	b.check(os.WriteFile(path, raw, 0o644))
}
