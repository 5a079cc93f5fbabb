package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// TestLoad has many nodes beat once a second and many jobs queue at once, and
// prints how long a beat and a status took. RESSA_LOAD=1 runs it at full size:
// 1,000 nodes and 200 jobs for 20 s.
func TestLoad(t *testing.T) {
	nodes, jobs, last := 100, 20, 3*time.Second
	if os.Getenv("RESSA_LOAD") != "" {
		nodes, jobs, last = 1000, 200, 20*time.Second
	}
	c := start(t, "a")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cl := c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	raw, err := json.Marshal(inspected())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hub().Subscribe(api.InspectSubject("*"), func(m *nats.Msg) { _ = m.Respond(raw) }); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	took := map[string][]time.Duration{}
	timed := func(what string, f func() error) {
		began := time.Now()
		err := f()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		mu.Lock()
		defer mu.Unlock()
		took[what] = append(took[what], time.Since(began))
	}
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			name := fmt.Sprintf("n%d", i)
			info := &api.NodeInfo{Name: name, Session: name, PID: 1, Version: "test", Threads: 1, Tensors: []string{"nats://127.0.0.1:1"},
				Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx2", Speed: 1e9, Memory: 1 << 30}}, Bandwidth: 1e9, Latency: 1e-4}
			for pause := time.Duration(i) * time.Second / time.Duration(nodes); ; pause = time.Second {
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return
				}
				what := "beat"
				if info != nil {
					what = "first beat"
				}
				timed(what, func() error {
					_, err := cl.Beat(ctx, name, api.Beat{Session: name, Info: info, Tasks: []api.Task{}})
					return err
				})
				info = nil
			}
		})
	}
	eventually(t, "all nodes are registered", func() bool { return len(c.State().Nodes()) == nodes })
	for range jobs {
		all.Go(func() {
			timed("submit", func() error {
				_, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob(), Nodes: 4})
				return err
			})
		})
	}
	for end := time.Now().Add(last); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		timed("status", func() error {
			list, err := cl.Jobs(ctx)
			if err == nil && len(list) > 0 {
				_, err = cl.Job(ctx, list[0].ID)
			}
			return err
		})
	}
	cancel()
	all.Wait()
	if n := len(c.State().Jobs()); n != jobs {
		t.Errorf("%d jobs, want %d", n, jobs)
	}
	lost := 0
	for _, n := range c.State().Nodes() {
		if n.State != api.NodeReady {
			lost++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(took)) {
		ds := took[what]
		slices.Sort(ds)
		t.Logf("%s: %d, median %v, p99 %v, longest %v", what, len(ds), ds[len(ds)/2], ds[len(ds)*99/100], ds[len(ds)-1])
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d nodes, %d of them lost, %d of %d jobs placed, heap %d MiB", nodes, lost, len(c.State().Active()), jobs, mem.HeapInuse>>20)
	if len(took["beat"]) == 0 || len(took["status"]) == 0 {
		t.Error("nothing was timed")
	}
}
