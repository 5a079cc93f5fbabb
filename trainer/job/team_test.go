package job_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"ressa/collective/group"
	"ressa/collective/plane"
	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/job"
	"ressa/trainer/team"
)

// hub starts a NATS server and returns its URL.
func hub(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxPayload: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return s.ClientURL()
}

// work runs a job on a team of goroutines and returns the results by worker.
func (b *bench) work(url string, p shard.Plan, generation int, change func(worker int, o *job.Options, stop func())) ([]api.Result, error) {
	b.Helper()
	results := make([]api.Result, len(p.Nodes))
	b.errs = make([]error, len(p.Nodes))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	all, ctx := errgroup.WithContext(ctx)
	for w, node := range p.Nodes {
		all.Go(func() (err error) {
			conn, err := nats.Connect(url)
			if err != nil {
				return err
			}
			defer conn.Close()
			c := group.DefaultConfig()
			c.Job, c.Generation, c.Rank, c.World, c.Listen = fmt.Sprintf("%x", b.Name()), uint64(generation), w, len(p.Nodes), plane.Wrap(conn)
			c.Logger = slog.New(slog.DiscardHandler)
			g, err := group.Join(ctx, c)
			if err != nil {
				return err
			}
			defer g.Close()
			o := b.options(filepath.Join(b.dir, "nodes", node))
			o.Generation = generation
			if o.Team, err = team.New(team.Config{Plan: p, Group: g, Timeout: time.Minute}); err != nil {
				return err
			}
			ctx, stop := context.WithCancel(ctx)
			defer stop()
			if change != nil {
				change(w, &o, stop)
			}
			if results[w], err = job.Work(ctx, b.job, o); err != nil {
				b.errs[w] = err
				g.Abort(err)
				return fmt.Errorf("worker %d: %w", w, err)
			}
			return nil
		})
	}
	return results, all.Wait()
}

// stages cuts the demo's towers at the given blocks and
// gives each stage the workers listed for it.
func stages(micro int, nodes int, vision, language []int, workers [][]int) shard.Plan {
	p := shard.Plan{Microbatches: micro}
	for n := range nodes {
		p.Nodes = append(p.Nodes, fmt.Sprintf("n%d", n))
	}
	for _, t := range []struct {
		name string
		ends []int
	}{{shard.Vision, vision}, {shard.Language, language}} {
		lo := 0
		for i, hi := range t.ends {
			w := workers[len(p.Stages)]
			p.Stages = append(p.Stages, shard.Stage{Tower: t.name, Index: i, Lo: lo, Hi: hi, Workers: w, Owners: shard.Spread(micro, w)})
			lo = hi
		}
	}
	return p
}

// A job gives the same adapter, base, scores and files on every team.
func TestTeamsGiveTheSameBits(t *testing.T) {
	b := newBench(t)
	b.job.Train.Batch, b.job.Train.Microbatches, b.job.Train.ValidateEvery = 6, 5, 1
	b.job.Data.Test = api.Source{Format: "fashiongrid", Split: "test", Limit: 200}
	b.job.Evaluate.MaxNewTokens, b.job.Evaluate.Batch, b.job.Evaluate.ValidationLimit, b.job.Evaluate.Blind = 3, 8, 100, true
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	url := hub(t)
	for _, wire := range []string{"fp32", "bf16"} {
		b.job.Train.Wire = wire
		whole := filepath.Join(b.dir, "whole-"+wire)
		want, err := job.Run(context.Background(), b.job, b.options(whole))
		b.check(err)
		weights, err := os.ReadFile(filepath.Join(whole, "output/model.safetensors"))
		b.check(err)
		plans := map[string]shard.Plan{
			"alone":                     stages(5, 1, []int{v}, []int{l}, [][]int{{0}, {0}}),
			"towers apart":              stages(5, 2, []int{v}, []int{l}, [][]int{{0}, {1}}),
			"replicas":                  stages(5, 3, []int{v}, []int{l}, [][]int{{0, 1, 2}, {0, 1, 2}}),
			"one vision, two language":  stages(5, 3, []int{v}, []int{l}, [][]int{{2}, {0, 1}}),
			"stages within towers":      stages(5, 4, []int{1, v}, []int{1, l}, [][]int{{0}, {1}, {2}, {3}}),
			"stages that change places": stages(5, 2, []int{1, v}, []int{1, 2, l}, [][]int{{0}, {1}, {0}, {1}, {0}}),
		}
		for name, p := range plans {
			if testing.Short() && name != "stages that change places" {
				continue
			}
			if wire == "bf16" && name != "towers apart" && name != "stages within towers" {
				continue
			}
			t.Run(wire+"/"+name, func(t *testing.T) {
				b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
				results, err := b.work(url, p, 1, nil)
				b.check(err)
				got := results[0]
				if got.AdapterSHA256 != want.AdapterSHA256 || got.BaseSHA256 != want.BaseSHA256 || got.AdapterSHA256 == "" {
					t.Errorf("adapter %s, base %s, alone %s, %s", got.AdapterSHA256, got.BaseSHA256, want.AdapterSHA256, want.BaseSHA256)
				}
				if !reflect.DeepEqual(got.Scores(), want.Scores()) || len(got.Scores()) != 4 || !reflect.DeepEqual(got.Sparsity, want.Sparsity) {
					t.Errorf("scores %+v %v, alone %+v %v", got.Scores(), got.Sparsity, want.Scores(), want.Sparsity)
				}
				if w := b.read("nodes/n0/output/model.safetensors"); !slices.Equal(w, weights) {
					t.Error("the exported weights differ")
				}
				done := map[string]int{}
				for _, r := range got.Ranks {
					done[fmt.Sprint(r.Role, r.Stage)] += r.Microbatches
				}
				for role, n := range done {
					if n != 2*5 {
						t.Errorf("%s did %d microbatches, want 10", role, n)
					}
				}
				if len(done) != len(p.Stages) {
					t.Errorf("ranks %+v", got.Ranks)
				}
			})
		}
	}
}

// A team whose worker fails ends everywhere; the next generation, of another
// shape, goes on from the chief's checkpoint and comes to the same end.
func TestTheNextGenerationGoesOn(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps = 4
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
	b.check(err)
	url := hub(t)
	apart := stages(2, 2, []int{v}, []int{l}, [][]int{{0}, {1}})
	_, err = b.work(url, apart, 1, func(w int, o *job.Options, stop func()) {
		if w == 1 {
			o.Progress = func(p job.Progress) {
				if p.Step == 3 {
					stop()
				}
			}
		}
	})
	if err == nil {
		t.Fatal("the team went on without a worker")
	}
	var steps []int
	results, err := b.work(url, stages(2, 3, []int{v}, []int{1, l}, [][]int{{1}, {0, 2}, {0}}), 2, func(w int, o *job.Options, _ func()) {
		if w == 0 {
			o.Emit = func(e api.Event) {
				if e.Step != nil {
					steps = append(steps, e.Step.Step)
				}
			}
		}
	})
	b.check(err)
	if results[0].AdapterSHA256 != want.AdapterSHA256 || results[0].Generations != 2 {
		t.Errorf("adapter %s in %d generations, want %s", results[0].AdapterSHA256, results[0].Generations, want.AdapterSHA256)
	}
	if len(steps) == 0 || steps[0] == 1 {
		t.Errorf("steps of the second generation: %v", steps)
	}
	// A third generation finds the run over.
	again, err := b.work(url, apart, 3, nil)
	b.check(err)
	if again[0].AdapterSHA256 != want.AdapterSHA256 || again[0].Steps != 4 {
		t.Errorf("a generation after the end: %+v", again[0])
	}
}

// A node that is lost takes nothing with it that the others do not hold: the next
// generation goes on from their memories, without a checkpoint, whoever was the chief
// and wherever the job was.
func TestMemoriesOutliveANode(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 6, 0
	b.job.Train.Microbatches, b.job.Train.Batch = 3, 6
	b.job.Data.Test = api.Source{Format: "fashiongrid", Split: "test", Limit: 40}
	b.job.Evaluate.MaxNewTokens, b.job.Evaluate.Batch = 1, 20
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	url := hub(t)
	plan := func(names []string, vision, language []int, workers [][]int) shard.Plan {
		p := stages(3, len(names), vision, language, workers)
		p.Nodes = names
		return p
	}
	first := plan([]string{"a", "b", "c"}, []int{v}, []int{1, l}, [][]int{{0, 1}, {1, 2}, {0, 2}})
	apart := plan([]string{"a", "b", "c"}, []int{v}, []int{1, l}, [][]int{{0}, {1}, {2}})
	type at struct {
		phase string
		step  int
	}
	for name, c := range map[string]struct {
		at       at
		first    shard.Plan
		lost     string // node
		next     shard.Plan
		validate int
		most     int // steps that may be lost
	}{
		"the chief":            {at{"train", 3}, first, "a", plan([]string{"b", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 1},
		"another":              {at{"train", 4}, first, "c", plan([]string{"a", "b"}, []int{1, v}, []int{l}, [][]int{{1}, {0}, {0, 1}}), 0, 1},
		"for a spare":          {at{"train", 2}, first, "b", plan([]string{"d", "a", "c"}, []int{v}, []int{l}, [][]int{{0, 1}, {0, 2}}), 0, 1},
		"with validation":      {at{"train", 5}, first, "c", plan([]string{"a", "b"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 2, 1},
		"chief and best":       {at{"train", 5}, first, "a", plan([]string{"b", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 2, 5},
		"before training":      {at{"evaluate", 0}, first, "a", plan([]string{"b", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 0},
		"after training":       {at{"evaluate", 6}, first, "a", plan([]string{"b", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 0},
		"to one":               {at{"train", 3}, first, "a", plan([]string{"c"}, []int{v}, []int{l}, [][]int{{0}, {0}}), 0, 6},
		"vision, alone":        {at{"train", 4}, apart, "a", plan([]string{"b", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 1},
		"language, alone":      {at{"train", 3}, apart, "c", plan([]string{"a", "b"}, []int{v}, []int{1, l}, [][]int{{1}, {0}, {0, 1}}), 0, 1},
		"alone, validating":    {at{"train", 5}, apart, "b", plan([]string{"a", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 2, 1},
		"alone, the last step": {at{"train", 6}, apart, "b", plan([]string{"a", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 1},
		"alone, evaluating":    {at{"evaluate", 6}, apart, "b", plan([]string{"a", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 0},
		"the chief, exporting": {at{"export", 6}, first, "a", plan([]string{"b", "c"}, []int{v}, []int{l}, [][]int{{0}, {1}}), 0, 6},
	} {
		if testing.Short() && name != "the chief" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
			b.job.Train.ValidateEvery = c.validate
			want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
			b.check(err)
			memories := map[string]*job.Memory{}
			for _, n := range []string{"a", "b", "c", "d"} {
				memories[n] = &job.Memory{}
			}
			if _, err := b.work(url, c.first, 1, func(w int, o *job.Options, stop func()) {
				o.Memory = memories[c.first.Nodes[w]]
				o.Progress = func(p job.Progress) {
					if c.first.Nodes[w] == c.lost && p.Phase == c.at.phase && p.Step == c.at.step {
						stop()
					}
				}
			}); err == nil {
				t.Fatal("the team went on without a worker")
			}
			memories[c.lost] = &job.Memory{}
			b.check(os.RemoveAll(filepath.Join(b.dir, "nodes", c.lost)))
			var steps []int
			var origins []api.Origin
			results, err := b.work(url, c.next, 2, func(w int, o *job.Options, _ func()) {
				o.Memory = memories[c.next.Nodes[w]]
				o.WentOn = func(x api.Origin) {
					if w != 0 {
						t.Errorf("worker %d tells where training went on", w)
					}
					origins = append(origins, x)
				}
				if w == 0 {
					o.Emit = func(e api.Event) {
						if e.Step != nil {
							steps = append(steps, e.Step.Step)
						}
					}
				}
			})
			b.check(err)
			got := results[0]
			if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || !reflect.DeepEqual(got.Scores(), want.Scores()) {
				t.Errorf("adapter %s, want %s; scores %+v, want %+v", got.AdapterSHA256, want.AdapterSHA256, got.Scores(), want.Scores())
			}
			switch {
			case len(origins) != 1:
				t.Errorf("told %d times where training went on: %+v", len(origins), origins)
			case origins[0].Step != 6-len(steps) || origins[0].StepsLost != got.StepsLost || (origins[0].From == api.FromStart) != (origins[0].Step == 0):
				t.Errorf("went on %+v, made the steps %v, %d lost", origins[0], steps, got.StepsLost)
			case (origins[0].Pause > 0) != (len(steps) > 0 && c.at.step > 0) || origins[0].Pause > 60:
				t.Errorf("a pause of %v s before the steps %v", origins[0].Pause, steps)
			}
			if got.StepsLost > c.most || len(steps) > 6-c.at.step+c.most {
				t.Errorf("%d steps lost, steps %v made again after step %d, want at most %d", got.StepsLost, steps, c.at.step, c.most)
			}
		})
	}
}

// Where nothing is left but disks, training goes on from the newest checkpoint that
// any of them holds, and chooses the best validated one wherever it is.
func TestDisksOutliveEverything(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 6, 2
	b.job.Train.Microbatches, b.job.Train.Batch = 3, 6
	b.job.Data.Test = api.Source{Format: "fashiongrid", Split: "test", Limit: 40}
	b.job.Evaluate.MaxNewTokens, b.job.Evaluate.Batch = 1, 20
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	url := hub(t)
	plan := func(workers [][]int, names ...string) shard.Plan {
		p := stages(3, len(names), []int{v}, []int{l}, workers)
		p.Nodes = names
		return p
	}
	first := plan([][]int{{0, 1}, {2}}, "a", "b", "c")
	for name, c := range map[string]struct {
		lost     []string
		damaged  string // node, of whose blobs each gets one bit flipped
		next     shard.Plan
		validate int
	}{
		"all are there":                {next: first},
		"the chief is gone":            {lost: []string{"a"}, next: plan([][]int{{0}, {1}}, "b", "c")},
		"a new chief without a disk":   {lost: []string{"a", "c"}, next: plan([][]int{{0}, {1}}, "c", "b")},
		"the copy is gone":             {lost: []string{"b"}, next: plan([][]int{{0}, {1}}, "a", "c")},
		"the chief's disk is damaged":  {damaged: "a", next: first},
		"best on another's disk":       {lost: []string{"a", "c"}, next: plan([][]int{{1}, {0}}, "c", "b"), validate: 2},
		"one node goes on by its copy": {lost: []string{"a", "c"}, next: plan([][]int{{0}, {0}}, "b")},
	} {
		if testing.Short() && name != "a new chief without a disk" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
			b.job.Train.ValidateEvery = c.validate
			want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
			b.check(err)
			var published []api.Published
			if _, err := b.work(url, first, 1, func(w int, o *job.Options, stop func()) {
				if w == 0 {
					o.Publish = func(p api.Published) {
						if published = append(published, p); p.Step == 4 {
							stop()
						}
					}
				}
			}); err == nil {
				t.Fatal("the team went on without a worker")
			}
			if last := published[len(published)-1]; len(published) != 2 || last.Step != 4 || last.Generation != 1 || len(last.SHA256) != 64 || !slices.Equal(last.Nodes, []string{"a", "b", "c"}) {
				t.Errorf("published %+v", published)
			}
			for _, n := range c.lost {
				b.check(os.RemoveAll(filepath.Join(b.dir, "nodes", n)))
			}
			blobs, err := filepath.Glob(filepath.Join(b.dir, "nodes", c.damaged, "checkpoints", "*.safetensors"))
			b.check(err)
			for _, path := range blobs {
				if c.damaged == "" {
					break
				}
				raw, err := os.ReadFile(path)
				b.check(err)
				raw[len(raw)-9] ^= 4
				b.check(os.WriteFile(path, raw, 0o644))
			}
			var steps []int
			results, err := b.work(url, c.next, 2, func(w int, o *job.Options, _ func()) {
				if w == 0 {
					o.Emit = func(e api.Event) {
						if e.Step != nil {
							steps = append(steps, e.Step.Step)
						}
					}
				}
			})
			b.check(err)
			got := results[0]
			if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || !reflect.DeepEqual(got.Scores(), want.Scores()) {
				t.Errorf("adapter %s, want %s; scores %+v, want %+v", got.AdapterSHA256, want.AdapterSHA256, got.Scores(), want.Scores())
			}
			if !slices.Equal(steps, []int{5, 6}) {
				t.Errorf("steps %v were made again, want those after the fourth", steps)
			}
		})
	}
}

// What one worker cannot open ends the job on all of them, as invalid input.
func TestTeamRefuses(t *testing.T) {
	b := newBench(t)
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	url := hub(t)
	p := stages(2, 2, []int{v}, []int{l}, [][]int{{0}, {1}})
	b.job.Adapter.Rank = 1 << 20
	if _, err := b.work(url, p, 1, nil); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "rank") {
		t.Errorf("a rank that does not fit: %v", err)
	}
	b.job.Adapter.Rank = 4
	if _, err := b.work(url, stages(2, 2, []int{v + 1}, []int{l}, [][]int{{0}, {1}}), 2, nil); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "blocks") {
		t.Errorf("a plan of another model: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "nodes/n0/job.yaml")); err == nil {
		t.Error("a refused job left a run")
	}
}
