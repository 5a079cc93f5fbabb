package schedule

import (
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
	"ressa/shard"
)

// What the chief says of where training went on is committed once, and only when all
// coordinators understand it.
func TestWhereTrainingWentOnIsCommittedOnce(t *testing.T) {
	s := newSim(t)
	s.node("n1", "cpu", 8<<30)
	s.node("n2", "cpu", 8<<30)
	s.submit("aaaaaaaa", 2)
	s.pass(2 * time.Second)
	s.nodes["n1"].silent = true
	s.pass(5 * time.Second)
	j := s.state.Job("aaaaaaaa")
	if j.Generation != 2 || j.State != api.Running {
		t.Fatalf("the job is %s in generation %d", j.State, j.Generation)
	}
	origin := api.Origin{From: api.FromMemory, Step: 3, StepsLost: 1, Pause: 4.5}
	chief := j.Plan.Nodes[0]
	tell := func(o *api.Origin) {
		s.leases.Observe(chief, api.Beat{Session: j.Sessions[0], Tasks: []api.Task{{Job: j.ID, Generation: 2, State: api.Running, Phase: "train", Step: 4, Origin: o}}}, s.now)
	}
	told := func(understood int) (out []*state.WentOn) {
		for _, c := range Decide(Input{Config: s.config, State: s.state, Leases: s.leases.View(s.now), Now: s.now, Plan: shard.MakePlan, Understood: understood}).Commands {
			if w, ok := c.Body.(*state.WentOn); ok {
				out = append(out, w)
			}
		}
		return out
	}
	tell(nil)
	if got := told(2); len(got) > 0 {
		t.Errorf("nothing was told, and %+v is committed", got[0])
	}
	tell(&api.Origin{From: "nonsense", Pause: -1})
	if got := told(2); len(got) > 0 {
		t.Errorf("nonsense was told, and %+v is committed", got[0])
	}
	tell(&origin)
	for _, old := range []int{0, 1} {
		if got := told(old); len(got) > 0 {
			t.Errorf("coordinators that understand version %d get %+v", old, got[0])
		}
	}
	got := told(2)
	if len(got) != 1 || got[0].Origin != origin || got[0].Generation != 2 {
		t.Fatalf("committed is %+v", got)
	}
	s.must(got[0])
	if again := told(2); len(again) > 0 {
		t.Errorf("committed once more: %+v", again[0])
	}
	if c := s.state.Job(j.ID).Change(2); c == nil || c.Origin != origin {
		t.Errorf("change %+v", c)
	}
}
