package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"ressa/coordinator/api"
	"ressa/shard"
)

// at is the time of the command at an index: a second later each.
func at(index uint64) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(index) * time.Second)
}

// machine is one replica: commands reach it as bytes of the log.
type machine struct {
	t   testing.TB
	fsm *FSM
}

func newMachine(t testing.TB) *machine { return &machine{t, NewFSM()} }

func (m *machine) state() *State { return m.fsm.State() }

// try applies a command at the next index, read back from what Encode wrote.
func (m *machine) try(b Body) Reply {
	m.t.Helper()
	index := m.state().Index() + 1
	return m.log(index, encoded(m.t, Command{at(index), b}))
}

func (m *machine) log(index uint64, raw []byte) Reply {
	m.t.Helper()
	r, ok := m.fsm.Apply(&raft.Log{Index: index, Data: raw}).(Reply)
	if !ok || r.Index != index || m.state().Index() != index {
		m.t.Fatalf("entry %d: reply %+v, state at %d", index, r, m.state().Index())
	}
	return r
}

// do applies commands that must be accepted and change something.
func (m *machine) do(bodies ...Body) {
	m.t.Helper()
	for _, b := range bodies {
		if r := m.try(b); r.Err != nil || r.Existing {
			m.t.Fatalf("%s: existing %v, %v", b.kind(), r.Existing, r.Err)
		}
	}
}

// restart replaces the replica by one restored from its snapshot.
func (m *machine) restart() {
	m.t.Helper()
	s, err := m.fsm.Snapshot()
	if err != nil {
		m.t.Fatal(err)
	}
	k := &sink{}
	if err := s.Persist(k); err != nil || !k.closed {
		m.t.Fatalf("persist: %v, sink closed %v", err, k.closed)
	}
	s.Release()
	m.fsm = NewFSM()
	if err := m.fsm.Restore(io.NopCloser(&k.Buffer)); err != nil {
		m.t.Fatalf("restore: %v", err)
	}
}

// sink is where Raft would keep a snapshot. It fails after limit bytes, if that is
// not 0.
type sink struct {
	bytes.Buffer
	limit             int
	closed, cancelled bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.limit > 0 && s.Len()+len(p) > s.limit {
		return 0, errors.New("disk full")
	}
	return s.Buffer.Write(p)
}
func (s *sink) ID() string    { return "test" }
func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }

func encoded(t testing.TB, c Command) []byte {
	t.Helper()
	raw, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// bytesOf returns a state's snapshot.
func bytesOf(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unindexed returns a state's snapshot as it would be at index 0, and without its
// histories if asked: what is left when a command changed nothing else.
func unindexed(t testing.TB, s *State, histories bool) string {
	t.Helper()
	var f file
	if err := json.Unmarshal(bytesOf(t, s), &f); err != nil {
		t.Fatal(err)
	}
	f.Index = 0
	if !histories {
		f.History = nil
		for _, j := range f.Jobs {
			j.History = nil
		}
	}
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The commands of a small cluster: nodes t1 to t6 in session "s-NODE", jobs of two
// microbatches a step.

func node(name string) *Register {
	return &Register{
		Info: api.NodeInfo{
			Name: name, Session: "s-" + name, PID: 10, Version: "1", Threads: 4, Bandwidth: 1e9, Latency: 1e-4,
			Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx2", Speed: 1e11, Memory: 8 << 30}},
			Tensors: []string{"nats://127.0.0.1:4222"},
		},
		Reason: "node " + name + " came up",
	}
}

func submit(id string) *Submit {
	return &Submit{ID: id, Name: "demo", Request: api.JobRequest{Spec: "name: demo\n", Token: "token-" + id}}
}

func inspected(job string) *Inspected {
	return &Inspected{Job: job, Node: "t1", Inspection: api.Inspection{
		Name: "demo", Steps: 100, Microbatches: 2, Wire: "fp32",
		Profile: shard.Profile{Flows: 1, CutBytes: 64, Towers: []shard.Tower{
			{Role: shard.Vision, Blocks: []shard.Block{{Forward: 1, Backward: 2, Weights: 4}}, Flows: 2},
			{Role: shard.Language, Blocks: []shard.Block{{Forward: 1, Backward: 2, Weights: 4}}, Flows: 2},
		}},
	}}
}

// layout puts the vision tower on the first of the nodes and the language tower on
// the last.
func layout(nodes ...string) shard.Plan {
	last := len(nodes) - 1
	return shard.Plan{Nodes: nodes, Microbatches: 2, Stages: []shard.Stage{
		{Tower: shard.Vision, Hi: 1, Workers: []int{0}, Owners: []int{0, 0}},
		{Tower: shard.Language, Hi: 1, Workers: []int{last}, Owners: []int{last, last}},
	}}
}

func plan(job string, generation int, nodes ...string) *Plan {
	p := &Plan{
		Job: job, Generation: generation, Plan: layout(nodes...), Kind: "cpu-avx2", StepSeconds: 0.5,
		Explanation: []string{"the towers are on their own nodes"}, Reason: fmt.Sprintf("planned on %d nodes", len(nodes)),
	}
	for _, n := range nodes {
		p.Devices, p.Sessions = append(p.Devices, "cpu"), append(p.Sessions, "s-"+n)
	}
	return p
}

func started(job string, generation int) *Started {
	return &Started{job, generation, "worker 0 runs"}
}

func report(job, node string, worker, generation int, state string) *Report {
	r := api.Report{Node: node, Worker: worker, Generation: generation, State: state, At: at(0)}
	switch {
	case state == api.Failed:
		r.ExitCode, r.Error = api.ExitFailed, "out of memory"
	case state == api.Succeeded && worker == 0:
		r.Result = &api.Result{Event: "result", Job: job, State: state, Steps: 100, Generations: generation, Sparsity: map[string]float64{"vision": 0.5, "language": 0.5}}
	}
	return &Report{job, r}
}

func wentOn(job string, generation, step int) *WentOn {
	return &WentOn{job, generation, api.Origin{From: api.FromMemory, Step: step, StepsLost: 1, Pause: 4.125}}
}

func finish(job string, generation int, state string) *Finish {
	code := map[string]int{api.Succeeded: api.ExitDone, api.Failed: api.ExitFailed, api.Cancelled: api.ExitCancelled}[state]
	return &Finish{Job: job, Generation: generation, State: state, ExitCode: code, Step: 5, Reason: "ended: " + state}
}

func publish(job string, generation, step int) *Publish {
	return &Publish{Job: job, Published: api.Published{Generation: generation, Step: step, SHA256: fmt.Sprintf("%064x", step+1), Nodes: []string{"t1", "t2"}}}
}

func unplan(job string, generation, step int) *Unplan {
	return &Unplan{job, generation, step, "node t1 is gone"}
}

func setNode(name, state string) *SetNode {
	return &SetNode{name, "s-" + name, state, "node " + name + " is " + state}
}

func drain(name string, on bool) *Drain { return &Drain{name, on, "asked for"} }

func member(id string) *SetMember {
	return &SetMember{api.Member{ID: id, Addr: "127.0.0.1:7400", Hub: "nats://127.0.0.1:7401", Routes: "nats://127.0.0.1:7402", Version: "1"}}
}

func waiting(job, code string) *Wait {
	return &Wait{[]Waiting{{job, code, "waits: " + code}}}
}

func cancel(job string) *Cancel { return &Cancel{job, "cancelled by a user"} }
func resume(job string) *Resume { return &Resume{job, "resumed by a user"} }

// differ shows where two texts part.
func differ(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	lo := max(0, i-60)
	return fmt.Sprintf("at byte %d: …%s… and …%s…", i, a[lo:min(len(a), i+100)], b[lo:min(len(b), i+100)])
}
