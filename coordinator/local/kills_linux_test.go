package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// When one of four trainers is killed, the others go on within the lease and a little
// more, from the last step but one at the latest, with the same adapter to come.
func TestATrainerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes in network namespaces")
	}
	bin, dir := program(t), t.TempDir()
	const steps = 120
	shortJob(t, dir, steps)
	s := newStorm(t, bin, dir, *stormSeed)
	want := s.undisturbed(steps)
	for i := range *stormSeeds {
		f := s.follow(0, "repair", "job.yaml", "--nodes", "4", "--output", fmt.Sprint("killed", i))
		s.reach(f, 1+s.dice.IntN(steps-10))
		victim := s.nodes[stormCoordinators+s.dice.IntN(4)]
		at, before := time.Now(), f.step()
		s.kill(victim)
		s.reach(f, before+2) // one may have been under way
		gap := time.Since(at)
		s.say("%s was killed after step %d, step %d came %.2f s later", victim.name, before, before+2, gap.Seconds())
		s.check(f, want, steps)
		if f.result.StepsLost > 1 || f.result.Generations != 2 {
			s.t.Errorf("%d steps lost in %d generations, want at most 1 in 2", f.result.StepsLost, f.result.Generations)
		}
		if gap > 30*time.Second {
			t.Errorf("went on after %v, the lease is 3 s", gap)
		}
		s.start(victim)
		s.await(4)
	}
}

// When every process is killed at once, those who are back go on from the newest
// checkpoint that was published, also where the disk that it was written to first is
// gone for good; `ressa resume` follows the job to its end.
func TestEverythingIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes in network namespaces")
	}
	bin, dir := program(t), t.TempDir()
	const steps, every = 150, 20
	shortJob(t, dir, steps)
	checkpointEvery(t, dir, every)
	s := newStorm(t, bin, dir, *stormSeed)
	want := s.undisturbed(steps)
	for i, gone := range []bool{false, true} {
		f := s.follow(0, "repair", "job.yaml", "--nodes", "4", "--output", fmt.Sprint("killed", i))
		s.reach(f, every+5+s.dice.IntN(steps/2))
		var j *api.JobRecord
		if !s.within(30*time.Second, func() bool { j = s.job(); return j != nil && len(j.Plan.Nodes) > 0 }) {
			t.Fatal("nobody tells who keeps the run")
		}
		job, chief, at := j.ID, j.Plan.Nodes[0], f.step()
		for _, p := range s.nodes {
			s.kill(p)
		}
		s.say("everything was killed after step %d; the run was on %s", at, chief)
		if gone {
			if err := os.RemoveAll(filepath.Join(dir, chief, "jobs")); err != nil {
				t.Fatal(err)
			}
			s.say("%s lost its disk", chief)
		}
		for _, p := range s.nodes {
			s.start(p)
		}
		s.await(4)
		again := s.follow(1, "resume", job, "--output", fmt.Sprint("resumed", i))
		s.check(again, want, steps)
		// The newest checkpoint may not have been there yet.
		if n := len(again.steps) - steps; n > 2*every || again.result.StepsLost > 2*every || again.result.StepsLost == 0 && !gone {
			t.Errorf("%d steps were told again, %d lost; checkpoints are %d apart", n, again.result.StepsLost, every)
		}
		s.check(f, want, steps) // who followed from the start has waited
		if raw, err := s.ask("explain", job); err == nil {
			s.say("explained:\n%s", raw)
		}
	}
}

// Whoever leads is killed every few seconds: training does not notice, and neither
// does who follows it.
func TestLeadersAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes in network namespaces")
	}
	bin, dir := program(t), t.TempDir()
	steps := *stormSteps
	shortJob(t, dir, steps)
	s := newStorm(t, bin, dir, *stormSeed)
	want := s.undisturbed(steps)
	f := s.follow(0, "repair", "job.yaml", "--nodes", "4", "--output", "led")
	killed := 0
	for end := time.Now().Add(10 * time.Minute); len(f.ended) == 0 && time.Now().Before(end); {
		for next := time.Now().Add(5 * time.Second); len(f.ended) == 0 && time.Now().Before(next); {
			time.Sleep(20 * time.Millisecond)
		}
		if l := s.leader(); l != nil && len(f.ended) == 0 {
			s.say("after step %d: kill -9 the leader %s", f.step(), l.name)
			s.kill(l)
			time.Sleep(time.Second)
			s.start(l)
			killed++
		}
	}
	s.check(f, want, steps)
	if killed == 0 || f.result.StepsLost != 0 || f.result.Generations != 1 {
		t.Errorf("%d leaders were killed, %d steps lost in %d generations; want at least one, none and 1", killed, f.result.StepsLost, f.result.Generations)
	}
}
