package agent

import (
	"context"
	"errors"
	"slices"
	"testing"

	"ressa/coordinator/api"
)

// monitor tells what a test has it tell.
type monitor struct {
	tell  chan []api.Finding
	ended chan struct{}
}

func newMonitor() *monitor { return &monitor{make(chan []api.Finding, 8), make(chan struct{})} }

func (m *monitor) Watch(ctx context.Context, tell func([]api.Finding)) {
	defer close(m.ended)
	for {
		select {
		case found := <-m.tell:
			tell(found)
		case <-ctx.Done():
			return
		}
	}
}

func finding(uuid, severity string) api.Finding {
	return api.Finding{UUID: uuid, Severity: severity, Reason: "GPU (" + uuid + "): XID 79: GPU has fallen off the bus"}
}

// What is found is in the beats, by the name of the node's device where it is one.
func TestHealthIsInTheBeats(t *testing.T) {
	f, m := newFake(t), newMonitor()
	stop := f.start("a", t.TempDir(), nothing, func(c *Config) {
		c.Devices = []api.Device{{Name: "cuda:0", Kind: "cuda-sm90"}}
		c.Monitor, c.GPUs = m, map[string]string{"GPU-mine": "cuda:0"}
	})
	m.tell <- []api.Finding{finding("GPU-mine", api.Fatal), finding("GPU-other", api.Fatal)}
	mine := finding("GPU-mine", api.Fatal)
	mine.Device = "cuda:0"
	f.eventually("a beat tells it", func() bool {
		return slices.Equal(f.beats["a"].Health, []api.Finding{mine, finding("GPU-other", api.Fatal)})
	})
	m.tell <- nil
	f.eventually("a beat tells that all is well", func() bool { return f.beats["a"].Health == nil })
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-m.ended
}

// A worker that fails on a device that has failed does not end its job; one that fails
// by itself does.
func TestTheDeviceIsBlamed(t *testing.T) {
	f, m := newFake(t), newMonitor()
	work := func(_ context.Context, p Part) (api.Result, error) {
		if p.Job == "job1" {
			m.tell <- []api.Finding{finding("GPU-mine", api.Fatal)} // a moment after the call that fails
		}
		return api.Result{}, errors.New("launch failed")
	}
	f.start("a", t.TempDir(), work, func(c *Config) {
		c.Devices = []api.Device{{Name: "cpu", Kind: "cpu"}}
		c.Monitor, c.GPUs = m, map[string]string{"GPU-mine": "cpu"} // assignments of the fake are for cpu
	})
	f.assign("job1", 1, false, "a")
	f.eventually("it is reported", func() bool { return len(f.reports) == 1 })
	if r := f.reported()[0]; !slices.Equal(r.Broken, []int{0}) || r.Error != finding("GPU-mine", api.Fatal).Reason+": launch failed" {
		t.Errorf("report %+v", r)
	}
	m.tell <- []api.Finding{finding("GPU-mine", api.Warn)}
	f.eventually("it is only warned of", func() bool { h := f.beats["a"].Health; return len(h) == 1 && h[0].Severity == api.Warn })
	f.assign("job2", 1, false, "a")
	f.eventually("it is reported", func() bool { return len(f.reports) == 2 })
	if r := f.reported()[1]; len(r.Broken) != 0 || r.Error != "launch failed" {
		t.Errorf("report %+v", r)
	}
}

// A node that is refused ends though it is still watching.
func TestARefusedNodeStopsWatching(t *testing.T) {
	f, m := newFake(t), newMonitor()
	f.refuse = 409
	stop := f.start("a", t.TempDir(), nothing, func(c *Config) { c.Monitor = m })
	if err := stop(); err == nil {
		t.Error("the node was taken up")
	}
	<-m.ended
}
