package simulation

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simSeed  = flag.Uint64("sim.seed", 1, "first seed of TestSimulation")
	simSeeds = flag.Int("sim.seeds", 300, "how many seeds TestSimulation goes through")
	simRaft  = flag.Int("sim.raft", 10, "how many seeds TestSimulationOnRaft goes through")
)

const (
	stormTime = 45 * time.Second
	// healTime bounds how long a healed cluster takes to finish all jobs: most need
	// seconds, but workers may wait a minute for each other, and a cancelled job for
	// its workers.
	healTime = 150 * time.Second
)

// outcome is what a seed came to.
type outcome struct {
	broken, story string
	events        int
	virtual       time.Duration
	counts        map[string]int
}

// simulate goes through one seed.
func simulate(t *testing.T, seed uint64, m mutant, book func(*member) logbook) (out outcome) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(seed, m, []int{3, 3, 3, 5, 1}[seed%5], book)
		if book == nil {
			t.Fatal("no log")
		}
		connect(c)
		c.start()
		c.after(c.between(time.Second, 3*time.Second), c.users.submit)
		c.after(c.between(time.Second, 12*time.Second), c.users.submit)
		c.storm(stormTime)
		c.run(stormTime, func() bool { return false })
		if c.broken == "" {
			c.heal()
			c.run(stormTime+healTime, c.idle)
		}
		if c.broken == "" && !c.idle() {
			c.violate("not all jobs are over %v after everything was healed", healTime)
		}
		if c.broken == "" {
			c.checkEnd()
		}
		out = outcome{c.broken, c.story.String(), c.events, c.now(), c.counts}
		c.stop()
	})
	return out
}

// model is the log as the model has it.
func model(m *member) logbook { return newReplica(m) }

// connect tells the models of the log of each other.
func connect(c *cluster) {
	var all []*replica
	for _, m := range c.members {
		if r, ok := m.log.(*replica); ok {
			all = append(all, r)
		}
	}
	for _, r := range all {
		r.peers = all
	}
}

// Whatever happens to coordinators, nodes and the network, nothing that was promised
// is broken, and once everything is healed every job comes to its end.
func TestSimulation(t *testing.T) {
	var mu sync.Mutex
	var next atomic.Int64
	total, events, virtual, began, seeds := map[string]int{}, 0, time.Duration(0), time.Now(), *simSeeds
	if testing.Short() {
		seeds = min(seeds, 30)
	}
	t.Run("seeds", func(t *testing.T) {
		for worker := range 2 {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < int64(seeds) && !t.Failed(); i = next.Add(1) - 1 {
					seed := *simSeed + uint64(i)
					out := simulate(t, seed, sound, model)
					if out.broken != "" {
						t.Errorf("seed %d: %s\n%s\nreplay: go test ./coordinator/simulation -run 'TestSimulation$' -sim.seed %d -sim.seeds 1 -v", seed, out.broken, tail(out.story), seed)
					}
					if *simSeeds == 1 && testing.Verbose() {
						t.Log(out.story)
					}
					mu.Lock()
					for k, n := range out.counts {
						total[k] += n
					}
					events += out.events
					virtual += out.virtual
					mu.Unlock()
					if i%1000 == 999 {
						t.Logf("%d seeds in %v", i+1, time.Since(began).Round(time.Second))
					}
				}
			})
		}
	})
	t.Logf("%d seeds, %d events, %v of virtual time in %v", seeds, events, virtual.Round(time.Minute), time.Since(began).Round(100*time.Millisecond))
	for _, k := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%9d %s", total[k], k)
	}
}

// The same on Raft itself. A seed draws the same faults each time, but meets them
// with other elections.
func TestSimulationOnRaft(t *testing.T) {
	total, began, seeds := map[string]int{}, time.Now(), *simRaft
	if testing.Short() {
		seeds = min(seeds, 3)
	}
	for i := range seeds {
		seed := *simSeed + uint64(i)
		out := simulate(t, seed, sound, hashicorp)
		if out.broken != "" {
			t.Fatalf("seed %d: %s\n%s\ntry again: go test ./coordinator/simulation -run TestSimulationOnRaft -sim.seed %d -sim.raft 1 -v", seed, out.broken, tail(out.story), seed)
		}
		if *simRaft == 1 && testing.Verbose() {
			t.Log(out.story)
		}
		for k, n := range out.counts {
			total[k] += n
		}
	}
	t.Logf("%d seeds in %v: %v", seeds, time.Since(began).Round(100*time.Millisecond), total)
}

// tail returns the end of a story.
func tail(s string) string { return s[max(0, len(s)-20000):] }

// A seed gives the same story to the letter.
func TestSeedsReplay(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		a, b := simulate(t, seed, sound, model), simulate(t, seed, sound, model)
		if a.story != b.story || a.events != b.events {
			t.Errorf("seed %d: %d and %d events; the stories part %s", seed, a.events, b.events, part(a.story, b.story))
		}
	}
}

// part shows where two stories part.
func part(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	lo := max(0, i-500)
	return fmt.Sprintf("at byte %d:\n%s\n--- and ---\n%s", i, a[lo:min(len(a), i+200)], b[lo:min(len(b), i+200)])
}

// What has to hold is watched: the simulation finds bugs that are put in.
func TestBugsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("takes hundreds of seeds")
	}
	for _, c := range []struct {
		name   string
		mutant mutant
	}{
		{"a new leader grants no lease", noGrace},
		{"leases hang on the wall clock", wallLeases},
		{"reports of older generations count", lateReports},
		{"votes of other generations count", mixedVotes},
		{"a repeated submission is another job", forgetsTokens},
		{"a member loses the end of its log", losesLog},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const most = 300
			for seed := range uint64(most) {
				if out := simulate(t, seed, c.mutant, model); out.broken != "" {
					t.Logf("seed %d, after %d events: %s", seed, out.events, out.broken[:min(len(out.broken), 300)])
					return
				}
			}
			t.Errorf("%d seeds find nothing", most)
		})
	}
}
