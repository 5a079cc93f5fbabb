package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/cluster"
	"ressa/coordinator/state"
	"ressa/shard"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// onOne is a plan with everything on one node.
func onOne(node string) shard.Plan {
	return shard.Plan{Nodes: []string{node}, Microbatches: 2, Stages: []shard.Stage{
		{Tower: shard.Vision, Hi: 1, Workers: []int{0}, Owners: []int{0, 0}}, {Tower: shard.Language, Hi: 1, Workers: []int{0}, Owners: []int{0, 0}}}}
}

func whoIs(m *member, id string) (addr string, there bool) {
	for _, x := range m.State().Members() {
		if x.ID == id {
			return x.Addr, true
		}
	}
	return "", false
}

// A member that is lost for good is taken out and another takes its place; then the
// new one's vote counts as that of any other.
func TestMemberIsReplaced(t *testing.T) {
	all := threePatient(t)
	ctx := context.Background()
	submit(t, all[0], "aaaaaaaa")
	all[2].stop()
	if err := all[0].Leave(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	submit(t, all[0], "bbbbbbbb")
	d := patient(t, "d", t.TempDir(), all[0].url(), all[1].url())
	eventually(t, "d knows both jobs and all members", func() bool {
		return d.State().Job("aaaaaaaa") != nil && d.State().Job("bbbbbbbb") != nil && len(d.State().Members()) == 3
	})
	if _, there := whoIs(d, "c"); there {
		t.Error("c is a member still")
	}
	all[1].stop() // of three, one may be away
	submit(t, all[0], "cccccccc")
	all[1] = open(t, all[1].config)
	all[0].stop()
	leader := await(t, []*member{all[1], d})
	submit(t, leader, "dddddddd")
	for _, m := range []*member{all[1], d} {
		eventually(t, m.ID()+" has everything", func() bool { return len(m.State().Jobs()) == 4 })
	}
}

// A leader that is lost between the two halves of taking a member out leaves one that
// the state does not know and that counts in the majority: it can still be taken out.
func TestMemberIsTakenOutByHalves(t *testing.T) {
	all := threePatient(t)
	ctx := context.Background()
	all[2].stop()
	if _, err := all[0].Propose(ctx, &state.RemoveMember{ID: "c", Reason: "asked for"}); err != nil {
		t.Fatal(err)
	}
	if err := all[0].Leave(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	d := patient(t, "d", t.TempDir(), all[0].url(), all[1].url())
	all[1].stop() // of three, one may be away; of four with c, two may not
	submit(t, all[0], "aaaaaaaa")
	eventually(t, "d has the job", func() bool { return d.State().Job("aaaaaaaa") != nil })
	if err := all[0].Leave(ctx, "c"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("one that is nowhere: %v", err)
	}
}

// A member that comes back at the same address without its folder is taken out and up
// again, and goes on as a whole one.
func TestMemberLosesItsDisk(t *testing.T) {
	all := threePatient(t)
	submit(t, all[0], "aaaaaaaa")
	all[2].stop()
	lost := all[2].config
	lost.Addr, lost.Join = all[2].Addr(), []string{all[0].url()}
	if err := os.RemoveAll(lost.Dir); err != nil {
		t.Fatal(err)
	}
	c := open(t, lost)
	eventually(t, "c has the job again", func() bool { return c.State().Job("aaaaaaaa") != nil && len(c.State().Members()) == 3 })
	if _, err := os.Stat(filepath.Join(lost.Dir, "joining")); !os.IsNotExist(err) {
		t.Errorf("the mark of a member that is not taken up is left: %v", err)
	}
	all[0].stop()
	leader := await(t, []*member{all[1], c})
	submit(t, leader, "bbbbbbbb")
}

// What only the leader and a member that lost its folder had acknowledged is not lost
// with the leader: the member gives no vote to the one who lacks it.
func TestMemberWithoutItsFolderHasNoVote(t *testing.T) {
	all := threePatient(t)
	all[1].stop()
	submit(t, all[0], "aaaaaaaa") // is on a and c
	all[2].stop()
	all[0].stop()
	lost := all[2].config
	if err := os.RemoveAll(lost.Dir); err != nil {
		t.Fatal(err)
	}
	lost.Addr, lost.Join, lost.JoinWait = all[2].Addr(), []string{all[0].url(), all[1].url()}, 4*time.Second
	b := open(t, all[1].config) // lacks the job
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if x, err := cluster.Open(ctx, lost); err == nil {
		t.Errorf("c was taken up by a minority: %v", x.Close())
	}
	if _, _, ok := b.Leader(); ok || len(b.State().Jobs()) > 0 {
		t.Error("b leads, without what was committed")
	}
	if _, err := os.Stat(filepath.Join(lost.Dir, "joining")); err != nil {
		t.Errorf("the folder does not tell that its member was not taken up: %v", err)
	}
	plain := lost
	plain.Join = nil
	if x, err := cluster.Open(ctx, plain); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "--join") {
		t.Errorf("a folder that was not taken up is opened without --join: %v, %v", x, err)
	}
	a := open(t, all[0].config)
	lost.JoinWait = 30 * time.Second
	c := open(t, lost)
	for _, m := range []*member{a, b, c} {
		eventually(t, m.ID()+" has the job", func() bool { return m.State().Job("aaaaaaaa") != nil })
	}
}

// While members are upgraded one after the other, jobs are as they were, commands that
// older ones do not understand wait, and everything goes on.
func TestMembersAreUpgradedOneByOne(t *testing.T) {
	all := threePatient(t)
	submit(t, all[0], "aaaaaaaa")
	run(t, all[0], "aaaaaaaa", 1)
	submit(t, all[0], "bbbbbbbb")
	for i := range all {
		all[i].stop()
		all[i].config.Version = "next"
		all[i] = open(t, all[i].config)
		leader := await(t, all)
		eventually(t, all[i].ID()+" tells its version", func() bool {
			for _, x := range leader.State().Members() {
				if x.ID == all[i].ID() {
					return x.Version == "next"
				}
			}
			return false
		})
		submit(t, await(t, all), fmt.Sprintf("upgrade%d", i))
		for _, m := range all {
			eventually(t, m.ID()+" has all jobs as they were", func() bool {
				a := m.State().Job("aaaaaaaa")
				return len(m.State().Jobs()) == 3+i && a.State == api.Starting && a.Generation == 1 && m.State().Job("bbbbbbbb").State == api.Pending
			})
		}
	}
}

// A member may not be taken out where those who stay could not decide without those who
// are away.
func TestAMajorityStays(t *testing.T) {
	all := threePatient(t)
	ctx := context.Background()
	all[1].stop()
	eventually(t, "b is missed", func() bool {
		for _, m := range all[0].Members() {
			if m.ID == "b" {
				return !m.Alive
			}
		}
		return false
	})
	for _, id := range []string{"a", "c"} {
		if err := all[0].Leave(ctx, id); !errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "1 of 2 would answer and no majority; away: b") {
			t.Errorf("take out %s: %v", id, err)
		}
	}
	if err := all[0].Leave(ctx, "b"); err != nil {
		t.Errorf("take out who is away: %v", err)
	}
	submit(t, all[0], "aaaaaaaa")
}

// A log that was lost alone, beside its snapshots, is no new member's.
func TestALogThatIsLostAloneIsTold(t *testing.T) {
	m := start(t, "a", t.TempDir())
	eventually(t, "a leads", m.Leads)
	submit(t, m, "aaaaaaaa")
	if _, _, err := m.Snapshot(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.stop()
	if err := os.RemoveAll(filepath.Join(m.config.Dir, "raft", "log")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	x, err := cluster.Open(ctx, m.config)
	if err == nil {
		_ = x.Close()
	}
	if !errors.Is(err, cluster.ErrDamaged) || api.ExitCode(err) != api.ExitInvalid {
		t.Errorf("without its log: %v", err)
	}
}
