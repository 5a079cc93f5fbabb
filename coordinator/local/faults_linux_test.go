package local_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// fault is something that happens to a cluster at work. It is over, and what it did
// taken back, when do returns.
type fault struct {
	name string
	do   func(s *storm, f *told)
}

// faults are those that storms are made of.
func faults() []fault {
	return []fault{
		{"trainer-killed", (*storm).killTrainer},
		{"leader-killed", (*storm).killLeader},
		{"leader-and-trainer-killed", (*storm).killBoth},
		{"trainer-killed-in-recovery", (*storm).killInRecovery},
		{"trainer-killed-at-new-plan", (*storm).killAtPlan},
		{"trainer-killed-in-checkpoint", (*storm).killInCheckpoint},
		{"trainer-restarted-at-once", (*storm).restartAtOnce},
		{"trainer-back-without-disk", (*storm).loseDisk},
		{"trainer-stopped", (*storm).stopTrainer},
		{"coordinator-stopped", (*storm).stopCoordinator},
		{"leader-and-trainer-stopped", (*storm).stopBoth},
		{"sites-apart", (*storm).cutSites},
		{"one-way-between-sites", (*storm).cutOneWay},
		{"one-way-between-machines", (*storm).cutMachines},
		{"delay", (*storm).delay},
		{"loss", (*storm).lose},
		{"disk-full", (*storm).fillDisk},
		{"clock-of-coordinator", (*storm).jumpCoordinator},
		{"clock-of-trainer", (*storm).jumpTrainer},
		{"files-of-trainer-damaged", (*storm).damageTrainer},
		{"files-of-coordinator-torn", (*storm).tearCoordinator},
		{"log-of-coordinator-damaged", (*storm).damageLog},
	}
}

// blow does the fault of a number, a random one unless the flag names it. What it
// throws does not depend on what came of those before.
func (s *storm) blow(f *told, number uint64) {
	s.dice = rand.New(rand.NewPCG(s.seed, 1+number))
	all := faults()
	x := all[s.dice.IntN(len(all))]
	if *stormFault != "" {
		i := slices.IndexFunc(all, func(x fault) bool { return x.name == *stormFault })
		if i < 0 {
			s.t.Fatalf("-storm.fault: found %q, want one of %s", *stormFault, faultNames())
		}
		x = all[i]
	}
	s.say("after step %d: %s", f.step(), x.name)
	x.do(s, f)
	time.Sleep(s.between(100*time.Millisecond, 4*time.Second))
}

func (s *storm) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.dice.Int64N(int64(most-least)))
}

// long is how long most faults last: up to twice a lease.
func (s *storm) long() time.Duration { return s.between(500*time.Millisecond, 7*time.Second) }

func (s *storm) trainer() *process { return s.nodes[stormCoordinators+s.dice.IntN(stormTrainers)] }

func (s *storm) coordinator() *process { return s.nodes[s.dice.IntN(stormCoordinators)] }

// leading returns the leader, or somebody where nobody tells.
func (s *storm) leading() *process {
	somebody := s.coordinator() // thrown in any case, so that a seed stays one
	if l := s.leader(); l != nil {
		return l
	}
	return somebody
}

// away ends processes as a crash does, and starts them again after a while.
func (s *storm) away(long time.Duration, who ...*process) {
	for _, p := range who {
		s.say("  kill -9 %s, back after %v", p.name, long)
		s.kill(p)
	}
	time.Sleep(long)
	for _, p := range who {
		s.start(p)
	}
}

func (s *storm) killTrainer(*told) { s.away(s.long(), s.trainer()) }

func (s *storm) killLeader(*told) { s.away(s.long(), s.leading()) }

func (s *storm) killBoth(*told) { s.away(s.long(), s.leading(), s.trainer()) }

func (s *storm) restartAtOnce(*told) { s.away(0, s.trainer()) }

// replan kills a trainer and waits until the others have another plan.
func (s *storm) replan(victim *process) {
	before := s.generation()
	s.say("  kill -9 %s in generation %d", victim.name, before)
	s.kill(victim)
	s.within(10*time.Second, func() bool { now := s.generation(); return now != before && now != 0 })
}

// within waits until something is so, and reports whether it came to that.
func (s *storm) within(most time.Duration, so func() bool) bool {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if so() {
			return true
		}
	}
	return false
}

func (s *storm) killInRecovery(*told) {
	first, second := s.trainer(), s.trainer()
	soon, long := s.between(time.Millisecond, 800*time.Millisecond), s.long()
	s.replan(first)
	time.Sleep(soon)
	s.say("  kill -9 %s %v after the new plan", second.name, soon)
	s.kill(second)
	time.Sleep(long)
	s.start(first)
	if second != first {
		s.start(second)
	}
}

func (s *storm) killAtPlan(*told) {
	first, second, long := s.trainer(), s.trainer(), s.long()
	s.replan(first)
	if chief := s.chief(); chief != nil && chief != first {
		second = chief
	}
	s.say("  kill -9 %s the moment there is a new plan", second.name)
	s.kill(second)
	time.Sleep(long)
	s.start(first)
	if second != first {
		s.start(second)
	}
}

// killInCheckpoint kills the first trainer that is seen to write one.
func (s *storm) killInCheckpoint(f *told) {
	victim, long := s.trainer(), s.long()
	writing := func() bool {
		for _, p := range s.nodes[stormCoordinators:] {
			found, err := filepath.Glob(filepath.Join(s.dir, p.name, "jobs", "*", "checkpoints", ".ressa-tmp-*"))
			if err == nil && len(found) > 0 {
				victim = p
				s.say("  %s writes %s", p.name, filepath.Base(found[0]))
				return true
			}
		}
		return f.over()
	}
	if !s.within(15*time.Second, writing) {
		s.say("  nobody wrote a checkpoint")
	}
	s.away(long, victim)
}

func (s *storm) loseDisk(*told) {
	p, long := s.trainer(), s.long()
	s.say("  kill -9 %s, back after %v with an empty disk", p.name, long)
	s.kill(p)
	s.empty(p)
	time.Sleep(long)
	s.start(p)
}

// empty removes what a process that does not run has on its disk.
func (s *storm) empty(p *process) {
	entries, err := os.ReadDir(filepath.Join(s.dir, p.name))
	for _, e := range entries {
		if err == nil {
			err = os.RemoveAll(filepath.Join(s.dir, p.name, e.Name()))
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// still has processes stand still for a while.
func (s *storm) still(long time.Duration, who ...*process) {
	for _, p := range who {
		s.say("  SIGSTOP %s for %v", p.name, long)
		s.pause(p, true)
	}
	time.Sleep(long)
	for _, p := range who {
		s.pause(p, false)
	}
}

func (s *storm) stopTrainer(*told) { s.still(s.long(), s.trainer()) }

func (s *storm) stopCoordinator(*told) { s.still(s.long(), s.coordinator()) }

// stopBoth lasts longer than a lease.
func (s *storm) stopBoth(*told) {
	s.still(s.between(5*time.Second, 11*time.Second), s.leading(), s.trainer())
}

func (s *storm) cutSites(*told) {
	long := s.long()
	s.say("  the sites are apart for %v", long)
	s.link.cut[0].Store(true)
	s.link.cut[1].Store(true)
	time.Sleep(long)
	s.link.cut[0].Store(false)
	s.link.cut[1].Store(false)
}

func (s *storm) cutOneWay(*told) {
	from, long := s.dice.IntN(2), s.long()
	s.say("  nothing leaves site %d for %v", from, long)
	s.link.cut[from].Store(true)
	time.Sleep(long)
	s.link.cut[from].Store(false)
}

// cutMachines loses what one machine sends to another, and nothing else.
func (s *storm) cutMachines(*told) {
	i := s.dice.IntN(len(s.nodes))
	from, to := s.nodes[i], s.nodes[(i+1+s.dice.IntN(len(s.nodes)-1))%len(s.nodes)]
	long := s.long()
	s.say("  nothing of what %s sends to %s arrives for %v", from.name, to.name, long)
	back, err := silence(s.sites[from.site], from.address, to.address)
	if err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(long)
	if err := back(); err != nil {
		s.t.Error(err)
	}
}

func (s *storm) delay(*told) {
	long := s.long()
	s.say("  60 ms more delay for %v", long)
	s.link.later.Store(int64(60 * time.Millisecond))
	time.Sleep(long)
	s.link.later.Store(0)
}

func (s *storm) lose(*told) {
	long := s.long()
	s.say("  5 %% of packets are lost for %v", long)
	s.link.worse.Store(50)
	time.Sleep(long)
	s.link.worse.Store(0)
}

func (s *storm) fillDisk(*told) {
	p, long := s.trainer(), s.long()
	filler := filepath.Join(s.dir, p.name, "filler")
	s.say("  the disk of %s is full for %v", p.name, long)
	if err := exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").Run(); err == nil {
		s.t.Errorf("the disk of %s did not fill up", p.name)
	}
	time.Sleep(long)
	if err := os.Remove(filler); err != nil {
		s.t.Error(err)
	}
}

// jump moves the wall clock of a process by hours, for a while or until it ends.
func (s *storm) jump(p *process) {
	by := time.Duration(1+s.dice.IntN(48)) * time.Hour
	if s.dice.IntN(2) == 0 {
		by = -by
	}
	stays, long := s.dice.IntN(2) == 0, s.long()
	if p.cmd == nil || !s.within(5*time.Second, func() bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.cmd.Process.Pid))
		return err == nil && exe == s.bin // not ip any more
	}) {
		s.t.Errorf("%s does not run", p.name)
		return
	}
	c, err := openClock(s.bin, p.cmd.Process.Pid)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer c.close()
	s.say("  the wall clock of %s jumps by %v, %s", p.name, by, map[bool]string{true: "for good", false: "and back after " + long.String()}[stays])
	if err := c.set(by); err != nil {
		s.t.Error(err)
	}
	time.Sleep(long)
	if !stays {
		if err := c.set(0); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *storm) jumpCoordinator(*told) {
	p := s.coordinator()
	if s.dice.IntN(2) == 0 {
		p = s.leading()
	}
	s.jump(p)
}

func (s *storm) jumpTrainer(*told) { s.jump(s.trainer()) }

// killInExport waits until the run exports, or has ended, and kills who does.
func (s *storm) killInExport(f *told) {
	chief, soon, long := s.chief(), s.between(0, 300*time.Millisecond), s.long()
	if chief == nil {
		chief = s.trainer()
	}
	for f.at() != "export" && !f.over() {
		if now := s.chief(); now != nil {
			chief = now
		}
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(soon)
	s.say("%v after the export began:", soon)
	s.away(long, chief)
}

// faultNames lists the faults, for the flag.
func faultNames() string {
	var names []string
	for _, x := range faults() {
		names = append(names, x.name)
	}
	return strings.Join(names, ", ")
}
