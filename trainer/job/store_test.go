package job_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/shard"
	"ressa/trainer/checkpoint/objects/objectstest"
	"ressa/trainer/job"
)

// outside is a store of checkpoints that a test may stop.
type outside interface {
	URL() string
	Names() []string
	Stop()
	Start()
}

// startStore starts a store of a kind. Short tests leave out S3, whose server has to
// be built.
func startStore(t *testing.T, kind string) outside {
	t.Helper()
	switch kind {
	case "s3":
		if testing.Short() {
			t.Skip("builds an S3 server")
		}
		return objectstest.StartS3(t, t.Setenv)
	case "jetstream":
		return objectstest.StartJetStream(t, 1)
	}
	return objectstest.NewDirectory(t)
}

// hold waits until a store has the checkpoint of a step of a job.
func hold(t *testing.T, s outside, name string, step int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if slices.ContainsFunc(s.Names(), func(n string) bool {
			return strings.HasPrefix(n, name+"-") && strings.Contains(n, fmt.Sprintf("/step-%010d.", step)) && strings.HasSuffix(n, ".json")
		}) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("the store has %q, want step %d", s.Names(), step)
			return
		}
	}
}

// Where memories and disks are all lost, training goes on from the store: on another
// team, on a cluster that never saw the job, or in one process.
func TestStoresOutliveEverything(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 6, 2
	b.job.Train.Microbatches, b.job.Train.Batch = 3, 6
	b.job.Data.Test = api.Source{Format: "fashiongrid", Split: "test", Limit: 40}
	b.job.Evaluate.MaxNewTokens, b.job.Evaluate.Batch, b.job.Evaluate.ValidationLimit = 1, 20, 40
	profile, err := job.Profile(context.Background(), b.job)
	b.check(err)
	v, l := len(profile.Towers[0].Blocks), len(profile.Towers[1].Blocks)
	url := hub(t)
	plan := func(workers [][]int, names ...string) shard.Plan {
		p := stages(3, len(names), []int{v}, []int{l}, workers)
		p.Nodes = names
		return p
	}
	first, next := plan([][]int{{0, 1}, {2}}, "a", "b", "c"), plan([][]int{{1}, {0}}, "d", "e")
	want := map[int]api.Result{}
	for _, validate := range []int{0, 2} {
		b.job.Train.ValidateEvery = validate
		want[validate], err = job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole", time.Duration(validate).String())))
		b.check(err)
	}
	type ending struct {
		generation int // of the team that goes on; 0 for one process
		validate   int
		kind       string // of the stores it is tried on beside a directory; empty for all
	}
	cases := map[string]ending{
		"another team":           {generation: 2},
		"a new cluster":          {generation: 1, kind: "jetstream"},
		"one process":            {kind: "jetstream"},
		"best in the store":      {generation: 2, validate: 2, kind: "s3"},
		"validated, one process": {validate: 2, kind: "s3"},
	}
	for _, kind := range []string{"directory", "jetstream", "s3"} {
		t.Run(kind, func(t *testing.T) {
			store := startStore(t, kind)
			for name, c := range cases {
				if testing.Short() && name != "another team" || kind != "directory" && c.kind != "" && c.kind != kind {
					continue
				}
				t.Run(name, func(t *testing.T) {
					b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
					b.job.Name = strings.NewReplacer(" ", "-", ",", "").Replace(name)
					b.job.Train.ValidateEvery, b.job.Train.Store = c.validate, store.URL()
					var published []api.Published
					if _, err := b.work(url, first, 1, func(w int, o *job.Options, stop func()) {
						if w > 0 {
							return
						}
						o.Emit = func(e api.Event) {
							if e.Event == "checkpoint" && e.Done <= 4 {
								hold(t, store, b.job.Name, e.Done)
							}
						}
						o.Publish = func(p api.Published) {
							if published = append(published, p); p.Step == 4 {
								stop()
							}
						}
					}); err == nil {
						t.Fatal("the team went on without a worker")
					}
					if last := published[len(published)-1]; last.Step != 4 || last.Store != store.URL() || !slices.Equal(last.Nodes, []string{"a"}) || len(last.SHA256) != 64 {
						t.Errorf("published %+v", published)
					}
					for _, n := range []string{"b", "c"} {
						if blobs, err := filepath.Glob(filepath.Join(b.dir, "nodes", n, "checkpoints", "*")); err != nil || len(blobs) > 0 {
							t.Errorf("node %s has %q, %v", n, blobs, err)
						}
					}
					for _, n := range first.Nodes {
						b.check(os.RemoveAll(filepath.Join(b.dir, "nodes", n)))
					}
					var steps []int
					var notes []string
					emit := func(e api.Event) {
						if e.Step != nil {
							steps = append(steps, e.Step.Step)
						}
						if e.Event == "note" {
							notes = append(notes, e.Message)
						}
					}
					var got api.Result
					if c.generation == 0 {
						o := b.options(filepath.Join(b.dir, "alone"))
						o.Emit = emit
						got, err = job.Run(context.Background(), b.job, o)
						b.check(err)
					} else {
						results, err := b.work(url, next, c.generation, func(w int, o *job.Options, _ func()) {
							if w == 0 {
								o.Emit = emit
							}
						})
						b.check(err)
						got = results[0]
					}
					if want := want[c.validate]; got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || !reflect.DeepEqual(got.Scores(), want.Scores()) {
						t.Errorf("adapter %s, want %s; scores %+v, want %+v", got.AdapterSHA256, want.AdapterSHA256, got.Scores(), want.Scores())
					}
					if !slices.Equal(steps, []int{5, 6}) {
						t.Errorf("steps %v were made again, want those after the fourth; notes %q", steps, notes)
					}
					if !slices.ContainsFunc(notes, func(n string) bool {
						return strings.HasPrefix(n, "took the checkpoint of step 4 from "+store.URL())
					}) {
						t.Errorf("notes %q", notes)
					}
					hold(t, store, b.job.Name, 6)
				})
			}
		})
	}
}

// A store that goes away costs what would have been written there, and nothing else.
func TestTrainingOutlivesItsStore(t *testing.T) {
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 4, 1
	want, err := job.Run(context.Background(), b.job, b.options(filepath.Join(b.dir, "whole")))
	b.check(err)
	for _, kind := range []string{"directory", "jetstream", "s3"} {
		t.Run(kind, func(t *testing.T) {
			b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
			store := startStore(t, kind)
			b.job.Train.Store = store.URL()
			o := b.options(filepath.Join(b.dir, "run"))
			gone := false
			var notes []string
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			o.Emit = func(e api.Event) {
				switch {
				case e.Event == "checkpoint" && e.Done == 2:
					hold(t, store, b.job.Name, 2)
					store.Stop()
					gone = true
				case e.Event == "checkpoint" && e.Done == 3:
					stop() // resumed without its store below
				}
			}
			if _, err := job.Run(ctx, b.job, o); api.ExitCode(err) != api.ExitCancelled || !gone {
				t.Fatal(err)
			}
			o.Emit = func(e api.Event) {
				if e.Event == "note" {
					notes = append(notes, e.Message)
				}
			}
			began := time.Now()
			got, err := job.Resume(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got.AdapterSHA256 != want.AdapterSHA256 {
				t.Errorf("adapter %s, want %s", got.AdapterSHA256, want.AdapterSHA256)
			}
			if !slices.ContainsFunc(notes, func(n string) bool {
				return strings.HasPrefix(n, "training goes on, checkpoint of step 4: "+store.URL())
			}) {
				t.Errorf("notes %q", notes)
			}
			t.Logf("resumed and ended without the store in %v: %q", time.Since(began), notes)
			store.Start()
		})
	}
}

// A store that cannot be used ends a job before it begins.
func TestStoresAreRefused(t *testing.T) {
	b := newBench(t)
	jet := objectstest.StartJetStream(t, 1)
	plain := strings.TrimPrefix(hub(t), "nats://")
	type refusal struct {
		url, want string
		env       map[string]string
	}
	cases := map[string]refusal{
		"directory that is missing": {"file://" + filepath.Join(b.dir, "none"), "no such file or directory", nil},
		"directory that is a file":  {"file://" + b.write("file", nil), "want a directory", nil},
		"no NATS server":            {"nats://127.0.0.1:1/checkpoints", "connect to nats://127.0.0.1:1", nil},
		"no JetStream":              {"nats://" + plain + "/checkpoints", "JetStream does not answer", nil},
		"no object store":           {strings.TrimSuffix(jet.URL(), jet.Bucket) + "none", `object store "none" does not exist`, nil},
		"no credentials file":       {jet.URL(), "NATS_CREDS", map[string]string{"NATS_CREDS": filepath.Join(b.dir, "none.creds")}},
		"no CA":                     {jet.URL(), "none.pem", map[string]string{"NATS_CA": filepath.Join(b.dir, "none.pem")}},
		"no S3 server":              {"s3://checkpoints?endpoint=http://127.0.0.1:1", "connection refused", map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}},
	}
	if !testing.Short() {
		s3 := objectstest.StartS3(t, t.Setenv)
		cases["no bucket"] = refusal{strings.Replace(s3.URL(), "checkpoints", "others", 1), `bucket "others" does not exist`, nil}
		cases["no credentials"] = refusal{s3.URL(), "no credentials, want AWS_ACCESS_KEY_ID", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}}
		cases["a wrong key"] = refusal{s3.URL(), "refused: XAdminUserNotFound", map[string]string{"AWS_ACCESS_KEY_ID": "other"}}
		cases["a wrong secret"] = refusal{s3.URL(), "SignatureDoesNotMatch", map[string]string{"AWS_SECRET_ACCESS_KEY": "hunter2"}}
		cases["no profile"] = refusal{s3.URL(), "none", map[string]string{"AWS_PROFILE": "none"}}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			b := &bench{T: t, dir: t.TempDir(), model: b.model, device: b.device, job: b.job}
			b.job.Train.Store = c.url
			dir, err := b.run()
			if api.ExitCode(err) != api.ExitInvalid || !strings.HasPrefix(err.Error(), "train.checkpoint_store: "+c.url+": ") || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v (code %d), want %q", err, api.ExitCode(err), c.want)
			}
			if text := err.Error(); strings.Contains(text, "\n") || len(text) > 600 || strings.Contains(text, "hunter2") {
				t.Errorf("the error is %q", text)
			}
			if left, err := os.ReadDir(dir); err == nil {
				t.Errorf("a refused job left %v", left)
			}
		})
	}
}
