package local_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// checkpointEvery has the job in a folder write checkpoints more often.
func checkpointEvery(t *testing.T, dir string, steps int) {
	t.Helper()
	path := filepath.Join(dir, "job.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before := []byte("  checkpoint_every: 100")
	if !bytes.Contains(text, before) {
		t.Fatalf("the demo's job has no %s", before)
	}
	if err := os.WriteFile(path, bytes.Replace(text, before, fmt.Appendf(nil, "  checkpoint_every: %d", steps), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens to the processes of a cluster, to their clocks and files and to the
// network between them, the repair that somebody follows ends with the adapter of a run
// that nothing disturbed, by the same steps, and what the API answered meanwhile can
// have happened in one order.
//
//	go test ./coordinator/local -run TestStorms -v -storm.seed 17 -storm.seeds 1
func TestStorms(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes in network namespaces")
	}
	bin := program(t)
	var want *told
	for i := range *stormSeeds {
		seed := *stormSeed + uint64(i)
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			dir := t.TempDir()
			shortJob(t, dir, *stormSteps)
			checkpointEvery(t, dir, 30)
			s := newStorm(t, bin, dir, seed)
			if want == nil {
				want = s.undisturbed(*stormSteps)
			}
			r := s.record()
			f := s.follow(s.dice.IntN(2), "repair", "job.yaml", "--nodes", "4", "--output", "stormy")
			s.reach(f, 1+s.dice.IntN(*stormSteps/2))
			for i := range 5 {
				if f.over() {
					break
				}
				s.blow(f, uint64(i))
			}
			s.say("the storm is over, step %d", f.step())
			if s.dice.IntN(2) == 0 {
				s.killInExport(f)
			}
			s.check(f, want, *stormSteps)
			s.microbatches(f, "stormy", 8)
			r.check(s)
			s.leftovers()
			s.history()
		})
	}
}
