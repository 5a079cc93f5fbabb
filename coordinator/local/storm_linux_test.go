package local_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	stormSeed  = flag.Uint64("storm.seed", 44, "first seed of TestStorms; 44 damages files and a log, restarts at once, lets a clock jump and cuts one way")
	stormSeeds = flag.Int("storm.seeds", 1, "how many schedules of faults TestStorms goes through, one a seed")
	stormSteps = flag.Int("storm.steps", 250, "training steps of its job")
	stormFault = flag.String("storm.fault", "", "the only fault of TestStorms: one of "+faultNames())
)

// process is ressa at work on a machine of its own; it can be ended and begun again.
type process struct {
	name      string
	site      int
	namespace string
	address   string
	args      []string
	cmd       *exec.Cmd // nil while it does not run
	ended     chan error
	paused    bool
}

// storm is a cluster of three coordinators and four trainers on machines at two sites,
// and what is done to it.
type storm struct {
	t        *testing.T
	bin, dir string
	sites    [2]string
	link     *relay
	urls     string
	nodes    []*process // coordinators, then trainers
	seed     uint64
	dice     *rand.Rand
	began    time.Time
	damaged  bool // the run's own log of events

	mu    sync.Mutex
	story []string
}

const stormCoordinators, stormTrainers = 3, 4

// newStorm starts the cluster and waits for its nodes.
func newStorm(t *testing.T, bin, dir string, seed uint64) *storm {
	t.Helper()
	s := &storm{t: t, bin: bin, dir: dir, seed: seed, dice: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
	s.sites, s.link = namespaces(t, time.Millisecond, 0)
	var urls []string
	for i := range stormCoordinators + stormTrainers {
		p := &process{name: fmt.Sprintf("c%d", i+1), site: min(i, 1)}
		if i >= stormCoordinators {
			p.name, p.site = fmt.Sprintf("t%d", i+1-stormCoordinators), (i-stormCoordinators)%2
			s.disk(p.name)
		}
		p.namespace, p.address = machine(t, s.sites, p.site, i+1)
		if i < stormCoordinators {
			urls = append(urls, fmt.Sprintf("http://%s:7400", p.address))
		}
		s.nodes = append(s.nodes, p)
	}
	s.urls = strings.Join(urls, ",")
	for i, p := range s.nodes {
		switch {
		case i >= stormCoordinators:
			p.args = []string{"trainer", "--name", p.name, "--data", p.name, "--threads", "1", "--coordinator", s.urls}
		case i > 0:
			p.args = []string{"coordinator", "--id", p.name, "--data", p.name, "--addr", p.address + ":7400", "--join", urls[0]}
		default:
			p.args = []string{"coordinator", "--id", p.name, "--data", p.name, "--addr", p.address + ":7400"}
		}
		s.start(p)
	}
	t.Cleanup(s.close)
	s.await(stormTrainers)
	return s
}

// say adds to the story that is told in the end.
func (s *storm) say(format string, v ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.story = append(s.story, fmt.Sprintf("%6.2f s  ", time.Since(s.began).Seconds())+fmt.Sprintf(format, v...))
}

func (s *storm) command(ctx context.Context, namespace string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", namespace, s.bin}, args...)...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "RESSA_CONFIG="+os.DevNull, "RESSA_COORDINATOR="+s.urls)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// ask runs a verb of the CLI.
func (s *storm) ask(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := s.command(ctx, s.sites[1], args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
	}
	return out, err
}

func (s *storm) start(p *process) {
	log, err := os.OpenFile(s.log(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.command(context.Background(), p.namespace, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = log.Close() // the process has it
	p.cmd, p.ended = cmd, make(chan error, 1)
	ended := p.ended
	go func() { ended <- cmd.Wait() }()
}

func (s *storm) log(p *process) string { return filepath.Join(s.dir, p.name+".log") }

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

// close ends the processes as their users do, looks at what they leave, and tells the
// story of a test that failed.
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
			_ = p.cmd.Process.Signal(unix.SIGQUIT) // it says where it hangs
			select {
			case <-p.ended:
			case <-time.After(5 * time.Second):
				_ = p.cmd.Process.Kill()
				<-p.ended
			}
			if raw, err := os.ReadFile(s.log(p)); err == nil {
				if at := bytes.Index(raw, []byte("SIGQUIT")); at >= 0 {
					s.t.Logf("%s:\n%s", p.name, raw[at:])
				}
			}
		}
	}
	s.noProcesses()
	if s.t.Failed() {
		for _, p := range s.nodes {
			if raw, err := os.ReadFile(s.log(p)); err == nil {
				s.t.Logf("%s:\n%s", p.name, raw[max(0, len(raw)-3000):])
			}
		}
		s.t.Logf("again: go test ./coordinator/local -count=1 -v -run '^%s$' -storm.seed %d -storm.steps %d -storm.fault %q", strings.Split(s.t.Name(), "/")[0], s.seed, *stormSteps, *stormFault)
	}
	s.t.Logf("what happened:\n%s", strings.Join(s.story, "\n"))
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
