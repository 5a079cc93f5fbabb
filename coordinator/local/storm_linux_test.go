package local_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
)

var (
	stormSeed  = flag.Uint64("storm.seed", 1, "first seed of TestStorms")
	stormSeeds = flag.Int("storm.seeds", 1, "how many schedules of faults TestStorms goes through, one a seed")
	stormSteps = flag.Int("storm.steps", 250, "training steps of its job")
)

// process is ressa at work in a network namespace; it can be ended and begun again.
type process struct {
	name    string
	network int
	args    []string
	cmd     *exec.Cmd // nil while it does not run
	ended   chan error
	paused  bool
}

// storm is a cluster of three coordinators and four trainers in two networks, and what
// is done to it.
type storm struct {
	t        *testing.T
	bin, dir string
	networks [2]string
	link     *relay
	urls     string
	nodes    []*process // coordinators, then trainers
	dice     *rand.Rand
	began    time.Time

	mu    sync.Mutex
	story []string
}

const stormCoordinators = 3

// newStorm starts the cluster and waits for its nodes.
func newStorm(t *testing.T, bin, dir string, seed uint64) *storm {
	t.Helper()
	s := &storm{t: t, bin: bin, dir: dir, dice: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
	s.networks, s.link = namespaces(t, time.Millisecond, 0)
	const first = "http://10.77.0.1:7400"
	s.urls = first + ",http://10.77.0.2:7401,http://10.77.0.2:7402"
	for i, addr := range []string{"10.77.0.1:7400", "10.77.0.2:7401", "10.77.0.2:7402"} {
		name := fmt.Sprintf("c%d", i+1)
		args := []string{"coordinator", "--id", name, "--data", name, "--addr", addr}
		if i > 0 {
			args = append(args, "--join", first)
		}
		s.nodes = append(s.nodes, &process{name: name, network: min(i, 1), args: args})
	}
	for i := range 4 {
		name := fmt.Sprintf("t%d", i+1)
		s.disk(name)
		s.nodes = append(s.nodes, &process{name: name, network: i % 2,
			args: []string{"trainer", "--name", name, "--data", name, "--threads", "1", "--coordinator", s.urls}})
	}
	for _, p := range s.nodes {
		s.start(p)
	}
	t.Cleanup(s.close)
	s.await(4)
	return s
}

func (s *storm) say(format string, v ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.story = append(s.story, fmt.Sprintf("%6.2f s  ", time.Since(s.began).Seconds())+fmt.Sprintf(format, v...))
}

func (s *storm) command(ctx context.Context, network int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", s.networks[network], s.bin}, args...)...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "RESSA_CONFIG="+os.DevNull, "RESSA_COORDINATOR="+s.urls)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

func (s *storm) start(p *process) {
	log, err := os.OpenFile(filepath.Join(s.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command(context.Background(), p.network, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = log.Close() // the process has it
	p.cmd, p.ended = cmd, make(chan error, 1)
	ended := p.ended
	go func() { ended <- cmd.Wait() }()
}

// kill ends a process as a crash does.
func (s *storm) kill(p *process) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.cmd, p.paused = nil, false
}

func (s *storm) pause(p *process, on bool) {
	if p.cmd == nil || p.paused == on {
		return
	}
	signal := unix.SIGCONT
	if on {
		signal = unix.SIGSTOP
	}
	_ = p.cmd.Process.Signal(signal)
	p.paused = on
}

// close ends the processes as their users do, and looks at what they leave.
func (s *storm) close() {
	for _, p := range s.nodes {
		s.pause(p, false)
		if p.cmd != nil {
			_ = p.cmd.Process.Signal(unix.SIGTERM)
		}
	}
	late := time.After(30 * time.Second)
	for _, p := range s.nodes {
		if p.cmd == nil {
			continue
		}
		select {
		case err := <-p.ended:
			if err != nil {
				s.t.Errorf("%s, asked to end: %v", p.name, err)
			}
		case <-late:
			s.t.Errorf("%s does not end on SIGTERM", p.name)
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	}
	if s.t.Failed() {
		for _, p := range s.nodes {
			if raw, err := os.ReadFile(filepath.Join(s.dir, p.name+".log")); err == nil {
				s.t.Logf("%s:\n%s", p.name, raw[max(0, len(raw)-3000):])
			}
		}
	}
	s.t.Logf("what happened:\n%s", strings.Join(s.story, "\n"))
}

// ask runs a verb of the CLI.
func (s *storm) ask(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := s.command(ctx, 1, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
	}
	return out, err
}

// await waits until so many nodes are ready.
func (s *storm) await(want int) {
	s.t.Helper()
	var found int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		raw, err := s.ask("nodes", "-o", "json")
		var list api.NodeList
		if err == nil && json.Unmarshal(raw, &list) == nil {
			found = len(slices.DeleteFunc(list.Nodes, func(n api.NodeRecord) bool { return n.State != api.NodeReady }))
		}
		if found == want {
			return
		}
	}
	s.t.Fatalf("%d nodes are ready, want %d", found, want)
}

// leader returns the coordinator that leads, nil where none answers.
func (s *storm) leader() *process {
	raw, err := s.ask("operator", "raft", "list", "-o", "json")
	var list struct {
		Members []api.Member `json:"members"`
	}
	if err != nil || json.Unmarshal(raw, &list) != nil {
		return nil
	}
	for _, m := range list.Members {
		if i := slices.IndexFunc(s.nodes, func(p *process) bool { return p.name == m.ID }); m.Leader && i >= 0 {
			return s.nodes[i]
		}
	}
	return nil
}

// generation returns that of the newest job; 0 where nobody answers.
func (s *storm) generation() int {
	var list struct {
		Jobs []api.Status `json:"jobs"`
	}
	raw, err := s.ask("status", "-o", "json")
	if err != nil || json.Unmarshal(raw, &list) != nil || len(list.Jobs) == 0 {
		return 0
	}
	return list.Jobs[0].Generation
}

// disk gives a trainer a disk of its own, which can be filled up.
func (s *storm) disk(name string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256m"); err != nil {
		s.t.Skip("no mounts here: ", err)
	}
	s.t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			s.t.Error(err)
		}
	})
}

// told are the events of a followed repair.
type told struct {
	mu     sync.Mutex
	steps  []api.Step
	at     []time.Time
	result api.Result
	stderr bytes.Buffer
	ended  chan error
}

// follow starts `ressa repair` and reads what it tells.
func (s *storm) follow(network int, args ...string) *told {
	s.t.Helper()
	f := &told{ended: make(chan error, 1)}
	cmd := s.command(context.Background(), network, append(args, "-o", "json")...)
	cmd.Stderr = &f.stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			var e api.Event
			if err == nil && json.Unmarshal(line, &e) == nil {
				f.mu.Lock()
				switch e.Event {
				case "step":
					f.steps, f.at = append(f.steps, *e.Step), append(f.at, time.Now())
				case "result":
					_ = json.Unmarshal(line, &f.result) // what is missing is told by the checks
				}
				f.mu.Unlock()
			}
			if err != nil {
				break // how it ended is what counts
			}
		}
		f.ended <- cmd.Wait()
	}()
	return f
}

// step returns the highest step that was told so far.
func (f *told) step() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.steps {
		n = max(n, s.Step)
	}
	return n
}

// reach waits until a step was told.
func (s *storm) reach(f *told, step int) {
	s.t.Helper()
	for end := time.Now().Add(90 * time.Second); f.step() < step; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("step %d of %d was told, nothing more for long: %s", f.step(), step, f.stderr.String())
		}
	}
}

// check waits for the end of a repair and compares it with one that nothing disturbed.
func (s *storm) check(f *told, want *told, steps int) {
	s.t.Helper()
	select {
	case err := <-f.ended:
		if err != nil {
			raw, _ := s.ask("status", "-o", "json")
			s.t.Fatalf("repair: %v: %s\n%s", err, f.stderr.String(), raw)
		}
	case <-time.After(3 * time.Minute):
		raw, _ := s.ask("status", "-o", "json")
		s.t.Fatalf("the repair does not end; status %s", raw)
	}
	r := f.result
	s.say("%s: %d generations, %d steps lost, %.1f s, %d steps told", r.State, r.Generations, r.StepsLost, r.Seconds, len(f.steps))
	if r.AdapterSHA256 != want.result.AdapterSHA256 || r.AdapterSHA256 == "" || r.Steps != steps || r.Repaired == nil || r.Repaired.Score != want.result.Repaired.Score {
		s.t.Errorf("adapter %s after %d steps, score %v; undisturbed %s, %d, %v", r.AdapterSHA256, r.Steps, r.Repaired, want.result.AdapterSHA256, steps, want.result.Repaired)
	}
	// A step that is made again is made of the same microbatches.
	for _, x := range f.steps {
		y := want.steps[x.Step-1]
		if x.Step != y.Step || x.Loss != y.Loss || x.GradNorm != y.GradNorm || x.Tokens != y.Tokens {
			s.t.Errorf("step %d: loss %v, norm %v, %d tokens; undisturbed step %d %v, %v, %d", x.Step, x.Loss, x.GradNorm, x.Tokens, y.Step, y.Loss, y.GradNorm, y.Tokens)
		}
	}
}

// leftovers reports temporary files in the nodes' folders.
func (s *storm) leftovers() {
	for _, p := range s.nodes {
		err := filepath.WalkDir(filepath.Join(s.dir, p.name), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && (strings.Contains(e.Name(), ".tmp") || strings.HasPrefix(e.Name(), ".part")) {
				s.t.Errorf("%s is left", path)
			}
			return nil // what goes away meanwhile is no leftover
		})
		if err != nil {
			s.t.Error(err)
		}
	}
}

// undisturbed runs the job in one process, for comparison.
func (s *storm) undisturbed(steps int) *told {
	f := s.follow(0, "repair", "job.yaml", "--coordinator", "", "--output", "alone")
	if err := <-f.ended; err != nil || len(f.steps) != steps {
		s.t.Fatalf("undisturbed: %v, %d steps: %s", err, len(f.steps), f.stderr.String())
	}
	return f
}

// blow does one random fault and takes it back.
func (s *storm) blow(f *told) {
	trainer := s.nodes[stormCoordinators+s.dice.IntN(4)]
	coordinator := s.nodes[s.dice.IntN(stormCoordinators)]
	wait := func(least, most time.Duration) time.Duration {
		return least + time.Duration(s.dice.Int64N(int64(most-least)))
	}
	long := wait(500*time.Millisecond, 7*time.Second)
	kind := s.dice.IntN(11)
	if kind == 1 || kind == 2 {
		if l := s.leader(); l != nil {
			coordinator = l
		}
	}
	at := fmt.Sprintf("after step %d", f.step())
	switch kind {
	case 0:
		s.say("%s: kill -9 %s, back after %v", at, trainer.name, long)
		s.kill(trainer)
		time.Sleep(long)
		s.start(trainer)
	case 1:
		s.say("%s: kill -9 the leader %s, back after %v", at, coordinator.name, long)
		s.kill(coordinator)
		time.Sleep(long)
		s.start(coordinator)
	case 2:
		s.say("%s: kill -9 the leader %s and %s, back after %v", at, coordinator.name, trainer.name, long)
		s.kill(coordinator)
		s.kill(trainer)
		time.Sleep(long)
		s.start(coordinator)
		s.start(trainer)
	case 3:
		s.say("%s: SIGSTOP %s for %v", at, trainer.name, long)
		s.pause(trainer, true)
		time.Sleep(long)
		s.pause(trainer, false)
	case 4:
		s.say("%s: SIGSTOP %s for %v", at, coordinator.name, long)
		s.pause(coordinator, true)
		time.Sleep(long)
		s.pause(coordinator, false)
	case 5:
		s.say("%s: the networks are apart for %v", at, long)
		s.link.cut[0].Store(true)
		s.link.cut[1].Store(true)
		time.Sleep(long)
		s.link.cut[0].Store(false)
		s.link.cut[1].Store(false)
	case 6:
		from := s.dice.IntN(2)
		s.say("%s: nothing leaves network %d for %v", at, from, long)
		s.link.cut[from].Store(true)
		time.Sleep(long)
		s.link.cut[from].Store(false)
	case 7:
		s.say("%s: 60 ms more delay for %v", at, long)
		s.link.later.Store(int64(60 * time.Millisecond))
		time.Sleep(long)
		s.link.later.Store(0)
	case 9:
		other := s.nodes[stormCoordinators+s.dice.IntN(4)]
		before := s.generation()
		s.say("%s: kill -9 %s, and %s as soon as the others have another plan", at, trainer.name, other.name)
		s.kill(trainer)
		for end := time.Now().Add(10 * time.Second); s.generation() == before && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(wait(time.Millisecond, 800*time.Millisecond)) // in the middle of the recovery
		s.kill(other)
		time.Sleep(long)
		s.start(trainer)
		if other != trainer {
			s.start(other)
		}
	case 10:
		filler := filepath.Join(s.dir, trainer.name, "filler")
		s.say("%s: the disk of %s is full for %v", at, trainer.name, long)
		if err := exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").Run(); err == nil {
			s.t.Errorf("the disk of %s did not fill up", trainer.name)
		}
		time.Sleep(long)
		if err := os.Remove(filler); err != nil {
			s.t.Error(err)
		}
	case 8:
		s.say("%s: 5 %% of packets are lost for %v", at, long)
		s.link.worse.Store(50)
		time.Sleep(long)
		s.link.worse.Store(0)
	}
	time.Sleep(wait(100*time.Millisecond, 4*time.Second))
}

// Whatever happens to the processes of a cluster and to the network between them, the
// repair that somebody follows ends with the adapter of a run that nothing disturbed,
// by the same steps.
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
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			dir := t.TempDir()
			shortJob(t, dir, *stormSteps)
			s := newStorm(t, bin, dir, seed)
			if want == nil {
				want = s.undisturbed(*stormSteps)
			}
			f := s.follow(s.dice.IntN(2), "repair", "job.yaml", "--nodes", "4", "--output", "stormy")
			s.reach(f, 1+s.dice.IntN(*stormSteps/2))
			for range 5 {
				if len(f.ended) > 0 {
					break
				}
				s.blow(f)
			}
			s.say("the storm is over, step %d", f.step())
			s.check(f, want, *stormSteps)
			s.leftovers()
			if raw, err := s.ask("status", "-o", "json"); err == nil {
				s.history(raw)
			}
		})
	}
}

// history adds what the cluster says of the job to the story.
func (s *storm) history(status []byte) {
	var list struct {
		Jobs []api.Status `json:"jobs"`
	}
	if json.Unmarshal(status, &list) != nil || len(list.Jobs) == 0 {
		return
	}
	if raw, err := s.ask("history", list.Jobs[0].Job); err == nil {
		s.say("history\n%s", raw)
	}
}

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
	path := filepath.Join(dir, "job.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("  checkpoint_every: 100")) {
		t.Fatal("the demo's job has no checkpoint_every: 100")
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("  checkpoint_every: 100"), fmt.Appendf(nil, "  checkpoint_every: %d", every), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newStorm(t, bin, dir, *stormSeed)
	want := s.undisturbed(steps)
	for i, gone := range []bool{false, true} {
		f := s.follow(0, "repair", "job.yaml", "--nodes", "4", "--output", fmt.Sprint("killed", i))
		s.reach(f, every+5+s.dice.IntN(steps/2))
		var list struct {
			Jobs []api.Status `json:"jobs"`
		}
		raw, err := s.ask("status", "-o", "json")
		if err == nil {
			err = json.Unmarshal(raw, &list)
		}
		if err != nil || len(list.Jobs) == 0 || len(list.Jobs[0].Ranks) == 0 {
			t.Fatalf("status: %v: %s", err, raw)
		}
		job, chief, at := list.Jobs[0].Job, list.Jobs[0].Ranks[0].Node, f.step()
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
