package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/cluster"
	"ressa/coordinator/snapshot"
	"ressa/coordinator/state"
)

// run brings a job to generation g on a node, as a leader's decisions do.
func run(t *testing.T, m *member, job string, g int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var bodies []state.Body
	if g == 1 {
		bodies = append(bodies, &state.Register{Info: api.NodeInfo{Name: "n-" + job, Session: "s", Version: "test", Devices: []api.Device{{Name: "cpu", Kind: "cpu-avx2"}}}, Reason: "a new node"},
			&state.Inspected{Job: job, Node: "n-" + job, Inspection: api.Inspection{Name: "job", Steps: 3, Microbatches: 2, Wire: "fp32"}})
	}
	bodies = append(bodies, &state.Plan{Job: job, Generation: g, Plan: onOne("n-" + job), Kind: "cpu-avx2", Devices: []string{"cpu"}, Sessions: []string{"s"}, Reason: "a test"})
	for _, b := range bodies {
		if _, err := m.Propose(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
}

// A snapshot brings the jobs of its time back to all members, behind the generations
// that they have had since, and a member that was away takes it over.
func TestSnapshotIsRestored(t *testing.T) {
	all := threePatient(t)
	ctx := context.Background()
	submit(t, all[0], "aaaaaaaa")
	run(t, all[0], "aaaaaaaa", 1)
	meta, raw, err := all[0].Snapshot(ctx)
	if err != nil || meta.Index == 0 || meta.Term == 0 || meta.Coordinator != "a" || meta.Ressa != "test" {
		t.Fatalf("%+v, %v", meta, err)
	}
	if again, same, err := all[0].Snapshot(ctx); err != nil || again.Index < meta.Index || !bytes.Equal(same, raw) {
		t.Errorf("a second one is of index %d, %v", again.Index, err)
	}
	if _, _, err := all[1].Snapshot(ctx); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a follower's snapshot: %v", err)
	}
	all[2].stop()
	run(t, all[0], "aaaaaaaa", 2)
	run(t, all[0], "aaaaaaaa", 3)
	submit(t, all[0], "bbbbbbbb")
	if _, err := all[1].Restore(ctx, meta, raw); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a follower restores: %v", err)
	}
	before := all[0].State().Index()
	for _, bad := range [][]byte{nil, raw[:len(raw)/2], []byte(`{"v":99}`)} {
		if _, err := all[0].Restore(ctx, meta, bad); err == nil || all[0].State().Index() != before {
			t.Errorf("half a state: %v", err)
		}
	}
	done, err := all[0].Restore(ctx, meta, raw)
	if err != nil || done.Jobs != 1 || len(done.Again) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	all[2] = open(t, all[2].config)
	for _, m := range all {
		eventually(t, m.ID()+" has the restored state", func() bool {
			s := m.State()
			j := s.Job("aaaaaaaa")
			return j != nil && j.State == api.Pending && j.Generation == 4 && s.Job("bbbbbbbb") == nil && len(s.Members()) == 3
		})
	}
	if _, err := all[0].Propose(ctx, &state.Report{Job: "aaaaaaaa", Report: api.Report{Node: "n-aaaaaaaa", Generation: 3, State: api.Failed, ExitCode: 1}}); !errors.Is(err, state.ErrStaleGeneration) {
		t.Errorf("a worker of generation 3: %v", err)
	}
	run(t, all[0], "aaaaaaaa", 5)
	all[0].stop()
	leader := await(t, all[1:])
	submit(t, leader, "cccccccc")
	for _, m := range all[1:] {
		eventually(t, m.ID()+" goes on", func() bool {
			j := m.State().Job("aaaaaaaa")
			return j.Generation == 5 && m.State().Job("cccccccc") != nil
		})
	}
}

// What all coordinators knew is brought back to new ones, of which there may be fewer.
func TestSnapshotOfAClusterThatIsGone(t *testing.T) {
	all := threePatient(t)
	submit(t, all[0], "aaaaaaaa")
	run(t, all[0], "aaaaaaaa", 1)
	meta, raw, err := all[0].Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := snapshot.Write(&b, meta, raw); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		m.stop()
	}
	m := patient(t, "z", t.TempDir())
	eventually(t, "z leads", leads(m))
	if meta, raw, err = snapshot.Read(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Restore(context.Background(), meta, raw); err != nil {
		t.Fatal(err)
	}
	j := m.State().Job("aaaaaaaa")
	if j.State != api.Pending || j.Generation <= 100_000 || len(m.State().Members()) != 1 || len(m.State().Nodes()) != 0 {
		t.Errorf("job %s in generation %d, members %v", j.State, j.Generation, m.State().Members())
	}
	submit(t, m, "bbbbbbbb")
	m.stop()
	m = open(t, m.config)
	eventually(t, "z leads again", leads(m))
	if m.State().Job("aaaaaaaa") == nil || m.State().Job("bbbbbbbb") == nil || m.State().Job("aaaaaaaa").Generation != j.Generation {
		t.Error("the restored state is gone after a restart")
	}
}

// patient starts a member with leases that no test outlasts.
func patient(t *testing.T, id, dir string, join ...string) *member {
	t.Helper()
	c := cluster.DefaultConfig(time.Hour)
	c.ID, c.Dir, c.Addr, c.Join, c.Version, c.Logger = id, filepath.Join(dir, id), "127.0.0.1:0", join, "test", quiet()
	return open(t, c)
}

func threePatient(t *testing.T) []*member {
	t.Helper()
	dir := t.TempDir()
	a := patient(t, "a", dir)
	eventually(t, "a leads", leads(a))
	all := []*member{a, patient(t, "b", dir, a.url()), patient(t, "c", dir, a.url())}
	for _, m := range all {
		eventually(t, m.ID()+" knows three members", func() bool { return len(m.State().Members()) == 3 })
	}
	return all
}

// await returns who leads.
func await(t *testing.T, among []*member) (leader *member) {
	t.Helper()
	eventually(t, "somebody leads", func() bool {
		for _, m := range among {
			if leads(m)() {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}
