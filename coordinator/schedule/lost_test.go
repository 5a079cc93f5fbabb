package schedule

import (
	"testing"
	"time"

	"ressa/coordinator/api"
)

// A node that peers have lost, and that is lost before its lease has ended, is back
// when it beats, not before.
func TestALostNodeIsBackWhenItBeats(t *testing.T) {
	s := newSim(t)
	for _, n := range []string{"n1", "n2", "n3"} {
		s.node(n, "cpu", gigabyte)
	}
	s.pass(time.Second)
	s.submit("aaaaaaaa", 3)
	s.pass(2 * time.Second)
	nodes := s.state.Job("aaaaaaaa").Plan.Nodes
	// A new leader that has not heard one of the survivors cannot plan yet.
	s.leases, s.memo = NewLeases(s.now), Memo{}
	s.nodes[nodes[1]].silent = true
	s.pass(500 * time.Millisecond)
	s.nodes[nodes[2]].silent = true
	s.report("aaaaaaaa", 0, api.Failed, "connection lost", 2)
	s.pass(2 * time.Second)
	lost := func() bool { return s.state.Node(nodes[2]).State == api.NodeLost }
	if !lost() {
		t.Fatalf("node %s is ready, though it is silent and peers have lost it", nodes[2])
	}
	s.nodes[nodes[2]].silent = false
	s.pass(500 * time.Millisecond)
	if lost() {
		t.Errorf("node %s beats and is lost", nodes[2])
	}
}
