package job_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/trainer/job"
	"ressa/trainer/trace"
)

// Where no collector listens, and where one takes connections and never answers, every
// step is made and none waits: a wait would be as long as a delivery may take, which is an
// hour here. What the queue cannot hold is dropped and counted, and no bit differs.
func TestNoStepWaitsForACollector(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := gone.Addr().String()
	_ = gone.Close()
	b := newBench(t)
	b.job.Train.Steps, b.job.Train.CheckpointEvery = 6, 0
	run := func(name string, sink *telemetry.Sink) (adapter string, steps int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		o := b.options(filepath.Join(b.dir, name))
		o.Trace = trace.New(trace.Config{Job: "j", Generation: 1, Node: "local", Every: 1, Keep: 8, Sink: sink})
		o.Emit = func(e api.Event) {
			if e.Step != nil {
				steps++
			}
		}
		r, err := job.Run(ctx, b.job, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r.AdapterSHA256, steps
	}
	want, _ := run("none", nil)
	for name, address := range map[string]string{"hung": "http://" + hung.Addr().String(), "hung-grpc": "grpc://" + hung.Addr().String(), "down": "http://" + down, "down-grpc": "grpc://" + down} {
		c := telemetry.DefaultConfig()
		c.Address, c.Queue, c.Batch, c.Delay, c.Timeout = address, 16, 4, time.Millisecond, time.Hour
		sink, err := telemetry.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		adapter, steps := run(name, sink)
		counts := sink.Counts()
		if adapter != want || steps != 6 || counts.Delivered != 0 || counts.Dropped == 0 || counts.Given < 6*20 {
			t.Errorf("%s: adapter %s, want %s; %d steps, %+v", name, adapter, want, steps, counts)
		}
		began := time.Now()
		last, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_ = sink.Close(last) // nothing was delivered
		cancel()
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: the sink took %v to close within 100 ms", name, took)
		}
	}
}
