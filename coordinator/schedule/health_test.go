package schedule

import (
	"fmt"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// finds has a node tell what is wrong with its device, or with one beside it.
func (s *sim) finds(node, device, severity, what string) {
	reason := fmt.Sprintf("GPU 0 (GPU-%s): %s", node, what)
	s.say("node %s finds (%s): %s", node, severity, reason)
	s.nodes[node].health = append(s.nodes[node].health, api.Finding{Device: device, UUID: "GPU-" + node, Severity: severity, Reason: reason})
}

// show says what a user sees of nodes.
func (s *sim) show() {
	for _, n := range s.state.Nodes() {
		r := NodeRecord(s.state, n, s.leases.View(s.now))
		s.say("node %s shows as %s %q with %s", r.Name, r.State, r.Reason, plural(len(r.Health), "finding"))
	}
}

const fallen = "XID 79: GPU has fallen off the bus"

func gpuStories() map[string]func(s *sim) {
	three := func(s *sim, kind string) {
		for _, n := range []string{"n1", "n2", "n3"} {
			s.node(n, kind, gigabyte)
		}
		s.pass(time.Second)
		s.submit("aaaaaaaa", 2)
		s.pass(2 * time.Second)
	}
	return map[string]func(s *sim){
		"a gpu fails": func(s *sim) {
			three(s, "cuda-sm90")
			s.finds("n1", "cuda:0", api.Warn, "91 °C, it slows down from 90 °C on")
			s.pass(time.Second)
			s.finds("n2", "cuda:0", api.Fatal, fallen)
			s.pass(time.Second)
			s.show()
			s.submit("bbbbbbbb", 3)
			s.pass(time.Second)
			s.say("job bbbbbbbb waits now: %s", s.state.Job("bbbbbbbb").Reason)
			s.say("another leads")
			s.leases, s.memo = NewLeases(s.now), Memo{}
			s.pass(time.Second)
			s.nodes["n2"].silent = true
			s.pass(4 * time.Second)
			s.node("n2", "cuda-sm90", gigabyte) // on a GPU that was reset
			s.pass(time.Second)
			s.report("aaaaaaaa", 0, api.Succeeded, "")
			s.pass(time.Second)
		},
		"a gpu fails under its worker": func(s *sim) {
			three(s, "cuda-sm90")
			s.finds("n2", "cuda:0", api.Fatal, fallen)
			s.beat()
			s.report("aaaaaaaa", 1, api.Failed, "CUDA error: unspecified launch failure")
			s.pass(time.Second)
		},
		"all gpus fail": func(s *sim) {
			three(s, "cuda-sm90")
			for _, n := range []string{"n1", "n2", "n3"} {
				s.finds(n, "cuda:0", api.Fatal, "95 °C, it switches itself off at 95 °C")
			}
			s.pass(time.Second)
			s.submit("bbbbbbbb", 1)
			s.pass(time.Second)
			s.say("n3 cools down")
			s.nodes["n3"].health = nil
			s.pass(time.Second)
		},
		"a gpu beside the processor fails": func(s *sim) {
			three(s, "cpu")
			s.finds("n1", "", api.Fatal, fallen)
			s.pass(time.Second)
			s.show()
		},
		"a gpu fails while its job is cancelled": func(s *sim) {
			three(s, "cuda-sm90")
			s.say("user cancels")
			s.must(&state.Cancel{Job: "aaaaaaaa", Reason: "cancelled by a user"})
			s.finds("n2", "cuda:0", api.Fatal, fallen)
			s.pass(time.Second)
			s.report("aaaaaaaa", 0, api.Cancelled, "")
		},
	}
}

// What the leader decides when GPUs fail.
func TestGPUScenarios(t *testing.T) { scenarios(t, gpuStories()) }

// What a node told in an earlier session is not held against it, nor what another
// device than its own has.
func TestUnfit(t *testing.T) {
	n := &state.Node{Info: api.NodeInfo{Name: "n", Session: "s", Devices: []api.Device{{Name: "cuda:1"}}}}
	for _, c := range []struct {
		session, device, severity string
		want                      bool
	}{
		{"s", "cuda:1", api.Fatal, true}, {"r", "cuda:1", api.Fatal, false}, {"s", "cuda:0", api.Fatal, false},
		{"s", "", api.Fatal, false}, {"s", "cuda:1", api.Warn, false}, {"", "cuda:1", api.Fatal, false},
	} {
		l := Lease{Session: c.session, Health: []api.Finding{{Severity: api.Warn, Device: "cuda:1"}, {Device: c.device, Severity: c.severity, Reason: "broken"}}}
		if got := Unfit(n, l); (got == "broken") != c.want {
			t.Errorf("%+v: found %q", c, got)
		}
	}
}
