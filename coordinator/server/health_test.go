package server_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// gpuNode registers a node that computes on a GPU, runs what it is told, and tells the
// findings that it is handed.
func (c *coordinator) gpuNode(name string, found *atomic.Pointer[[]api.Finding]) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cl, done := c.client(), make(chan struct{})
	info := &api.NodeInfo{Name: name, Session: name, PID: 1, Version: "test", Threads: 1, Tensors: []string{"nats://127.0.0.1:1"},
		Devices: []api.Device{{Name: "cuda:0", Kind: "cuda-sm90", Speed: 1e9, Memory: 1 << 30}}, Bandwidth: 1e9, Latency: 1e-4}
	go func() {
		defer close(done)
		b := api.Beat{Session: name, Info: info, Tasks: []api.Task{}}
		for ctx.Err() == nil {
			if f := found.Load(); f != nil {
				b.Health = *f
			}
			reply, err := cl.Beat(ctx, name, b)
			if err == nil {
				b.Tasks = []api.Task{}
				for _, a := range reply.Assignments {
					b.Tasks = append(b.Tasks, api.Task{Job: a.Job, Generation: a.Generation, Worker: a.Worker, State: api.Running, Phase: "train"})
				}
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	c.t.Cleanup(func() { cancel(); <-done })
	c.answerInspections(name)
	eventually(c.t, name+" is ready", func() bool { n := c.State().Node(name); return n != nil && n.State == api.NodeReady })
}

// A job leaves a node whose GPU fails, and a user sees why: in the nodes, in the job's
// history and in its explanation.
func TestAGPUThatFailsIsTheCause(t *testing.T) {
	c := start(t, "a")
	ctx := context.Background()
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	found := map[string]*atomic.Pointer[[]api.Finding]{"n1": {}, "n2": {}}
	for _, n := range []string{"n1", "n2"} {
		c.gpuNode(n, found[n])
	}
	first, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob(), Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job runs", func() bool { return c.State().Job(first.ID).State == api.Running })
	sick := c.State().Job(first.ID).Plan.Nodes[0]
	failed := api.Finding{Device: "cuda:0", UUID: "GPU-5", Severity: api.Fatal, Reason: "GPU 0 (GPU-5): XID 79: GPU has fallen off the bus"}
	found[sick].Store(&[]api.Finding{failed})
	eventually(t, "it runs elsewhere", func() bool {
		j := c.State().Job(first.ID)
		return j.State == api.Running && j.Generation == 2 && j.Plan.Nodes[0] != sick
	})
	nodes, err := cl.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if unfit := n.State == api.NodeUnfit && n.Reason == failed.Reason && slices.Equal(n.Health, []api.Finding{failed}); unfit != (n.Name == sick) {
			t.Errorf("node %s is %s: %s, %+v", n.Name, n.State, n.Reason, n.Health)
		}
	}
	why := "node " + sick + ": " + failed.Reason
	history, err := cl.History(ctx, first.ID)
	if err != nil || !slices.ContainsFunc(history.Decisions, func(d api.Decision) bool { return d.Action == "planned" && strings.Contains(d.Reason, why) }) {
		t.Errorf("history %+v, %v", history, err)
	}
	explained, err := cl.Explain(ctx, first.ID)
	if err != nil || !strings.Contains(strings.Join(explained.Lines, "\n"), why) {
		t.Errorf("explain %q, %v", explained.Lines, err)
	}
	found[sick].Store(&[]api.Finding{})
	eventually(t, "the node is well again", func() bool {
		nodes, err := cl.Nodes(ctx)
		return err == nil && !slices.ContainsFunc(nodes, func(n api.NodeRecord) bool { return n.State != api.NodeReady })
	})
}
