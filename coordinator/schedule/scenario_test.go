package schedule

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
	"ressa/shard"
)

var update = flag.Bool("update", false, "write golden files")

// sim is a leader with nodes that do what they are told, and a clock of its own.
type sim struct {
	t      *testing.T
	now    time.Time
	state  *state.State
	leases *Leases
	memo   Memo
	config Config
	nodes  map[string]*fakeNode
	bytes  int64 // of a block's weights
	relax  bool
	bf16   bool // what jobs compute in, and GPUs offer too
	log    strings.Builder

	stalled string // as shown
}

// fakeNode is a node as the leader hears it.
type fakeNode struct {
	session int
	silent  bool
	step    int
	hangs   bool       // at what it computes
	at      []api.Task // what it does
	health  []api.Finding
}

func newSim(t *testing.T) *sim {
	s := &sim{t: t, now: time.Unix(0, 0).UTC(), state: state.Empty(), config: DefaultConfig(3 * time.Second), nodes: map[string]*fakeNode{}, bytes: 1 << 20}
	s.leases = NewLeases(s.now)
	return s
}

func (s *sim) seconds() float64 { return s.now.Sub(time.Unix(0, 0)).Seconds() }

func (s *sim) say(format string, v ...any) {
	fmt.Fprintf(&s.log, "%5.1f  %s\n", s.seconds(), fmt.Sprintf(format, v...))
}

// apply commits a command of a user or a node.
func (s *sim) apply(b state.Body) error {
	next, r := s.state.Simulate(state.Command{At: s.now, Body: b})
	if r.Err == nil {
		s.leases.Follow(s.state, next)
		s.state = next
	}
	return r.Err
}

func (s *sim) must(b state.Body) {
	s.t.Helper()
	if err := s.apply(b); err != nil {
		s.t.Fatalf("%T: %v", b, err)
	}
}

// node registers a node, or a new process of one.
func (s *sim) node(name, kind string, memory int64) {
	s.t.Helper()
	n := s.nodes[name]
	if n == nil {
		n = &fakeNode{}
		s.nodes[name] = n
	}
	n.session, n.silent, n.step, n.health = n.session+1, false, 0, nil
	device := "cpu"
	if strings.HasPrefix(kind, "cuda") {
		device = "cuda:0"
	}
	info := api.NodeInfo{Name: name, Session: fmt.Sprint(name, "-", n.session), PID: 100 + n.session, Version: "1", Threads: 1, Tensors: []string{"nats://10.0.0.1:1"},
		Devices: []api.Device{{Name: device, Kind: kind, Speed: 1e9, Memory: memory, Apart: device != "cpu"}}, Bandwidth: 1e9, Latency: 1e-4}
	if device != "cpu" && s.bf16 {
		info.Devices = append(info.Devices, api.Device{Name: device, Kind: kind + "-bf16", Compute: api.ComputeBF16, Speed: 3e9, Memory: memory, Apart: true})
	}
	reason, err := Admit(s.state, s.leases.Of(name, s.now), info, "1", s.config)
	if err != nil {
		s.say("node %s is refused: %v", name, err)
		n.session--
		return
	}
	s.say("node %s: %s", name, reason)
	s.must(&state.Register{Info: info, Reason: reason})
}

func (s *sim) submit(id string, nodes int) {
	s.say("user submits %s for %d nodes", id, nodes)
	s.must(&state.Submit{ID: id, Name: "job", Request: api.JobRequest{Spec: "name: job", Nodes: nodes}})
}

func (s *sim) inspection() api.Inspection {
	block := shard.Block{Forward: 1e6, Backward: 2e6, Weights: s.bytes}
	compute := ""
	if s.bf16 {
		compute = api.ComputeBF16
	}
	return api.Inspection{Compute: compute, Name: "job", Steps: 100, Strict: !s.relax, Microbatches: 4, Wire: "fp32", Profile: shard.Profile{CutBytes: 64, Flows: 1, Towers: []shard.Tower{
		{Role: shard.Vision, Blocks: []shard.Block{block}, HiddenBytes: 64, Flows: 1}, {Role: shard.Language, Blocks: []shard.Block{block}, HiddenBytes: 64, Flows: 1}}}}
}

// beat lets every node that can say what it does: what it was told.
func (s *sim) beat() {
	for name, n := range s.nodes {
		if n.silent {
			continue
		}
		b := api.Beat{Session: fmt.Sprint(name, "-", n.session), Tasks: []api.Task{}, Health: n.health}
		if n.hangs {
			b.Tasks = n.at
			s.leases.Observe(name, b, s.now)
			continue
		}
		for _, a := range s.state.Assignments(name, b.Session) {
			t := api.Task{Job: a.Job, Generation: a.Generation, Worker: a.Worker, State: api.Running, Phase: "train", Step: n.step}
			for w, peer := range a.Plan.Nodes {
				if s.nodes[peer].hangs || s.nodes[peer].silent {
					t.Waits = append(t.Waits, w)
				}
			}
			if len(t.Waits) == 0 {
				n.step++
				t.Step, t.Doing = n.step, fmt.Sprint("step ", n.step)
			}
			t.Activity = uint64(t.Step)
			b.Tasks = append(b.Tasks, t)
		}
		n.at = b.Tasks
		s.leases.Observe(name, b, s.now)
	}
}

// decide lets the leader decide until it has nothing to do.
func (s *sim) decide() {
	s.t.Helper()
	for range 100 {
		out := Decide(Input{Config: s.config, State: s.state, Leases: s.leases.View(s.now), Now: s.now, Plan: shard.MakePlan, Memo: &s.memo, Inspecting: map[string]Inspecting{}})
		for _, c := range out.Commands {
			if err := s.apply(c.Body); err != nil {
				s.t.Fatalf("the leader proposes what the state refuses: %T: %v", c.Body, err)
			}
			s.tell(c.Body)
		}
		for _, o := range out.Inspect {
			s.must(&state.Inspected{Job: o.Job, Node: o.Node, Inspection: s.inspection()})
		}
		if len(out.Commands) == 0 && len(out.Inspect) == 0 && !out.Again {
			return
		}
	}
	s.t.Fatal("the leader does not come to an end")
}

// tell writes a decision down.
func (s *sim) tell(b state.Body) {
	switch b := b.(type) {
	case *state.Plan:
		s.say("%s generation %d on %s: %s", b.Job, b.Generation, strings.Join(b.Plan.Nodes, " "), b.Reason)
	case *state.Unplan:
		s.say("%s waits again: %s", b.Job, b.Reason)
	case *state.Finish:
		s.say("%s %s (exit code %d): %s", b.Job, b.State, b.ExitCode, b.Reason)
	case *state.SetNode:
		s.say("node %s is %s: %s", b.Name, b.State, b.Reason)
	case *state.Wait:
		for _, w := range b.Jobs {
			s.say("%s waits: %s", w.Job, w.Reason)
		}
	case *state.Started:
		s.say("%s generation %d: %s", b.Job, b.Generation, b.Reason)
	default:
		s.say("%T", b)
	}
}

// pass lets time go by.
func (s *sim) pass(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(500 * time.Millisecond)
		s.beat()
		s.decide()
		for _, j := range s.state.Jobs() {
			now := Record(j, s.leases.View(s.now), s.config, "", "").Status.Stalled
			if now != "" && s.stalled == "" {
				s.say("status shows: %s", now)
			}
			s.stalled = now
		}
	}
}

func (s *sim) report(job string, worker int, to, text string, broken ...int) {
	s.t.Helper()
	j := s.state.Job(job)
	s.say("worker %d of %s reports %s %s", worker, job, to, text)
	r := api.Report{Node: j.Plan.Nodes[worker], Worker: worker, Generation: j.Generation, State: to, Error: text, Broken: broken, At: s.now}
	if to == api.Failed {
		r.ExitCode = api.ExitFailed
	}
	if to == api.Succeeded && worker == 0 {
		r.Result = &api.Result{Event: "result", State: api.Succeeded, Steps: 100}
	}
	s.must(&state.Report{Job: job, Report: r})
	s.decide()
}

const gigabyte = 1 << 30

// What the leader decides in the course of a story, with its reasons.
func TestScenarios(t *testing.T) {
	three := func(s *sim) {
		for _, n := range []string{"n1", "n2", "n3"} {
			s.node(n, "cpu", gigabyte)
		}
		s.pass(time.Second)
	}
	scenarios(t, map[string]func(s *sim){
		"success": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.pass(2 * time.Second)
			s.report("aaaaaaaa", 1, api.Succeeded, "")
			s.report("aaaaaaaa", 0, api.Succeeded, "")
			s.pass(time.Second)
		},
		"a node is lost and comes back": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.pass(2 * time.Second)
			s.nodes[s.state.Job("aaaaaaaa").Plan.Nodes[0]].silent = true
			s.pass(5 * time.Second)
			for _, n := range s.nodes {
				n.silent = false
			}
			s.pass(2 * time.Second)
		},
		"it grows again": func(s *sim) {
			for _, n := range []string{"n1", "n2"} {
				s.node(n, "cpu", gigabyte)
			}
			s.pass(time.Second)
			s.submit("aaaaaaaa", 2)
			s.pass(2 * time.Second)
			s.nodes["n1"].silent = true
			s.pass(5 * time.Second)
			s.node("n1", "cpu", gigabyte)
			s.pass(13 * time.Second)
		},
		"a process is started again at once": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 3)
			s.pass(2 * time.Second)
			s.nodes["n2"].silent = true
			s.pass(2 * time.Second)
			s.node("n2", "cpu", gigabyte)
			s.pass(2 * time.Second)
		},
		"all nodes are lost": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 3)
			s.pass(time.Second)
			for _, n := range s.nodes {
				n.silent = true
			}
			s.pass(5 * time.Second)
			for _, n := range s.nodes {
				n.silent = false
			}
			s.pass(2 * time.Second)
		},
		"a worker fails": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.pass(time.Second)
			s.report("aaaaaaaa", 0, api.Failed, "exchange with rank 1 broke", 1)
			s.report("aaaaaaaa", 1, api.Failed, "step 7: loss NaN")
			s.pass(time.Second)
		},
		"an exchange breaks though all are alive": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.pass(time.Second)
			s.report("aaaaaaaa", 0, api.Failed, "deadline exceeded", 1)
			s.pass(4 * time.Second)
		},
		"a worker hangs": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.pass(5 * time.Second)
			hung := s.nodes["n1"]
			s.say("n1 hangs")
			hung.hangs = true
			s.pass(130 * time.Second)
			s.say("n1 comes to itself")
			hung.hangs = false
			s.pass(time.Second)
		},
		"a worker hangs and nobody else is there": func(s *sim) {
			s.node("n1", "cpu", gigabyte)
			s.pass(time.Second)
			s.submit("aaaaaaaa", 1)
			s.pass(5 * time.Second)
			s.nodes["n1"].hangs = true
			s.pass(200 * time.Second)
			s.say("n1 comes to itself")
			s.nodes["n1"].hangs = false
			s.pass(2 * time.Second)
		},
		"a new leader": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.pass(time.Second)
			silent := s.nodes[s.state.Job("aaaaaaaa").Plan.Nodes[1]]
			silent.silent = true
			s.pass(2 * time.Second)
			s.say("another leads")
			s.leases, s.memo = NewLeases(s.now), Memo{}
			s.pass(4 * time.Second)
		},
		"drained": func(s *sim) {
			three(s)
			s.say("user drains n1 and n2")
			s.must(&state.Drain{Name: "n1", Drain: true, Reason: "asked for by a user"})
			s.must(&state.Drain{Name: "n2", Drain: true, Reason: "asked for by a user"})
			s.submit("aaaaaaaa", 2)
			s.pass(2 * time.Second)
			s.say("user lets jobs on n2 again")
			s.must(&state.Drain{Name: "n2", Reason: "asked for by a user"})
			s.pass(time.Second)
		},
		"cancelled while waiting and while running": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 3)
			s.submit("bbbbbbbb", 3)
			s.pass(time.Second)
			s.say("user cancels both")
			s.must(&state.Cancel{Job: "bbbbbbbb", Reason: "cancelled by a user"})
			s.must(&state.Cancel{Job: "aaaaaaaa", Reason: "cancelled by a user"})
			s.pass(time.Second)
			for w := range 3 {
				s.report("aaaaaaaa", w, api.Cancelled, "")
			}
			s.pass(time.Second)
		},
		"in order of submission": func(s *sim) {
			three(s)
			s.submit("aaaaaaaa", 2)
			s.submit("bbbbbbbb", 2)
			s.submit("cccccccc", 1)
			s.pass(time.Second)
			s.report("aaaaaaaa", 0, api.Succeeded, "")
			s.pass(time.Second)
		},
		"it does not fit": func(s *sim) {
			s.bytes = 4 * gigabyte
			three(s)
			s.submit("aaaaaaaa", 0)
			s.pass(32 * time.Second)
		},
		"it fits a node that comes": func(s *sim) {
			s.bytes = 4 * gigabyte
			three(s)
			s.submit("aaaaaaaa", 0)
			s.pass(5 * time.Second)
			s.node("large", "cpu", 100*gigabyte)
			s.pass(2 * time.Second)
		},
		"what products are computed in": func(s *sim) {
			s.bf16 = true
			s.node("n1", "cpu-avx512", gigabyte)
			s.pass(time.Second)
			s.submit("aaaaaaaa", 1)
			s.pass(2 * time.Second)
			s.node("n2", "cuda-sm90", gigabyte)
			s.pass(2 * time.Second)
			s.bf16 = false
			s.submit("bbbbbbbb", 1)
			s.pass(time.Second)
		},
		"numeric kinds": func(s *sim) {
			s.node("n1", "cpu-avx512", gigabyte)
			s.node("n2", "cpu-avx2", gigabyte)
			s.pass(time.Second)
			s.submit("aaaaaaaa", 2)
			s.pass(time.Second)
			s.relax = true
			s.submit("bbbbbbbb", 2)
			s.pass(time.Second)
		},
		"a GPU beside a processor": func(s *sim) {
			s.relax = true
			s.node("n1", "cpu-avx512", gigabyte)
			s.node("n2", "cuda-sm90", gigabyte)
			s.pass(time.Second)
			s.submit("aaaaaaaa", 2)
			s.pass(time.Second)
		},
		"a name that is taken": func(s *sim) {
			s.node("n1", "cpu", gigabyte)
			s.pass(time.Second)
			s.node("n1", "cpu", gigabyte)
			s.nodes["n1"].silent = true
			s.pass(1500 * time.Millisecond)
			s.node("n1", "cpu", gigabyte)
		},
	})
}

// scenarios runs stories and compares what happens in each with its golden file.
func scenarios(t *testing.T, stories map[string]func(s *sim)) {
	t.Helper()
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			s := newSim(t)
			story(s)
			for _, j := range s.state.Jobs() {
				s.say("in the end %s is %s", j.ID, j.State)
			}
			path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(s.log.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if s.log.String() != string(want) {
				t.Errorf("found\n%s\nwant\n%s", s.log.String(), want)
			}
		})
	}
}

// Whatever happens to nodes, no node works for two jobs, generations never go back,
// and once all nodes are well every job ends that is let end.
func TestRandomStories(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 7))
			s := newSim(t)
			var names, jobs []string
			for i := range 5 {
				names = append(names, fmt.Sprint("n", i))
				s.node(names[i], "cpu", gigabyte)
			}
			generations := map[string]int{}
			check := func() {
				holders := map[string]string{}
				for _, j := range s.state.Jobs() {
					if j.Generation < generations[j.ID] {
						t.Fatalf("seed %d: %s went from generation %d to %d", seed, j.ID, generations[j.ID], j.Generation)
					}
					generations[j.ID] = j.Generation
					if !j.Active() {
						continue
					}
					for _, n := range j.Plan.Nodes {
						if other := holders[n]; other != "" {
							t.Fatalf("seed %d: %s works for %s and %s", seed, n, other, j.ID)
						}
						holders[n] = j.ID
					}
				}
			}
			finish := func() {
				for _, j := range s.state.Active() {
					if j.State == api.Running && j.Report(0) == nil && !s.nodes[j.Plan.Nodes[0]].silent {
						s.report(j.ID, 0, api.Succeeded, "")
					}
				}
			}
			for range 60 {
				name := names[dice.IntN(len(names))]
				switch dice.IntN(8) {
				case 0:
					s.nodes[name].silent = true
				case 1:
					s.nodes[name].silent = false
				case 2:
					s.node(name, "cpu", gigabyte)
				case 3:
					jobs = append(jobs, fmt.Sprintf("job%05d", len(jobs)))
					s.submit(jobs[len(jobs)-1], 1+dice.IntN(4))
				case 4:
					if active := s.state.Active(); len(active) > 0 {
						j := active[dice.IntN(len(active))]
						if w := dice.IntN(len(j.Plan.Nodes)); j.Report(w) == nil && j.State != api.Cancelling {
							s.report(j.ID, w, api.Failed, "the exchange broke", (w+1)%len(j.Plan.Nodes))
						}
					}
				case 5:
					s.leases, s.memo = NewLeases(s.now), Memo{}
				case 6:
					finish()
				case 7:
					if n := s.nodes[name]; n.health == nil {
						n.health = []api.Finding{{Device: "cpu", Severity: api.Fatal, Reason: "it is sick"}}
					} else {
						n.health = nil
					}
				}
				s.pass(time.Duration(dice.IntN(5)) * 500 * time.Millisecond)
				check()
			}
			for _, n := range s.nodes {
				n.silent, n.health = false, nil
			}
			for range 40 {
				s.pass(3 * time.Second)
				check()
				finish()
			}
			s.pass(time.Second)
			for _, j := range s.state.Jobs() {
				if !j.Over() {
					t.Errorf("seed %d: %s is %s: %s\n%s", seed, j.ID, j.State, j.Reason, s.log.String()[max(0, s.log.Len()-3000):])
				}
			}
			if !slices.ContainsFunc(s.state.Jobs(), func(j *state.Job) bool { return j.State == api.Succeeded }) && len(jobs) > 0 {
				t.Errorf("seed %d: no job succeeded", seed)
			}
		})
	}
}
