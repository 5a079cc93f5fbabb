package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/leader"
	"ressa/coordinator/state"
	"ressa/shard"
)

// users hand jobs in and change their minds.
type users struct {
	c      *cluster
	client client
	jobs   []jobFile
	nodes  []int             // that each job asks for
	known  map[string]string // by name: the ID that a submission was answered with
	gone   map[string]bool   // names of jobs that somebody has cancelled
	asked  map[int]bool      // requests without an answer
	calls  int
	states map[string][]point // of an undisturbed run, by job and step
}

// submit hands a job in, again and again until the answer is there, and now and then
// once more.
func (u *users) submit() {
	i := len(u.jobs)
	j := jobFile{Name: fmt.Sprintf("job%d", i+1), Steps: 5 + u.c.dice.IntN(60), Every: 2 + u.c.dice.IntN(10), Bytes: 1 << 20, Strict: u.c.chance(2), Bad: u.c.chance(12)}
	u.jobs, u.nodes = append(u.jobs, j), append(u.nodes, u.c.dice.IntN(len(u.c.nodes)+1))
	spec, err := json.Marshal(j)
	if err != nil {
		u.c.violate("%v", err)
	}
	request := api.JobRequest{Spec: string(spec), Nodes: u.nodes[i], Token: "token-" + j.Name}
	u.c.say("a user submits %s for %d nodes: %s", j.Name, u.nodes[i], spec)
	u.ask("submit "+j.Name, func() handler {
		return propose(&state.Submit{ID: fmt.Sprintf("id%06d", u.c.dice.IntN(1e6)), Name: j.Name, Request: request})
	}, func(a answer) {
		if a.err != nil {
			u.c.violate("the submission of %s is refused: %v", j.Name, a.err)
			return
		}
		id := a.value.(state.Reply).Job.ID
		if known := u.known[j.Name]; known != "" && known != id {
			u.c.violate("the submission of %s is answered by %s, and by %s before", j.Name, id, known)
		}
		if u.known[j.Name] == "" {
			u.c.say("%s is job %s", j.Name, id)
		}
		u.known[j.Name] = id
	})
}

// ask repeats a request until it has an answer.
func (u *users) ask(what string, do func() handler, then func(answer)) {
	u.calls++
	call := u.calls
	u.asked[call] = true
	extra := u.c.chance(4) // a request that is made twice
	var try func()
	try = func() {
		u.client.call(u.c.between(time.Second, 5*time.Second), fmt.Sprint(what, " ", call), do(), func(a answer) {
			if errors.Is(a.err, errUnreachable) || elsewhere(a.err) || errors.Is(a.err, state.ErrConflict) && strings.Contains(a.err.Error(), "is taken") {
				u.c.after(u.c.between(100*time.Millisecond, time.Second), try)
				return
			}
			delete(u.asked, call)
			then(a)
			if extra {
				extra = false
				u.asked[call] = true
				u.c.after(u.c.between(0, 5*time.Second), try)
			}
		})
	}
	try()
}

// find returns a job of the leader's state.
func find(m *member, name string) *state.Job {
	for _, j := range m.fsm.State().Jobs() {
		if j.Name == name {
			return j
		}
	}
	return nil
}

// change cancels or resumes a job, as package server does.
func (u *users) change(name string, cancel bool) {
	what := map[bool]string{true: "cancel", false: "resume"}[cancel]
	u.c.say("a user wants to %s %s", what, name)
	if cancel {
		u.gone[name] = true
	}
	u.ask(what+" "+name, func() handler {
		return func(ctx context.Context, m *member) (any, error) {
			if !m.loop.Leads() {
				return nil, leader.ErrNotLeader
			}
			j := find(m, name)
			switch {
			case j == nil:
				return nil, state.ErrNotFound
			case cancel && j.Over(), !cancel && (j.State == api.Pending || j.State == api.Starting || j.State == api.Running):
				return nil, nil
			case cancel:
				return m.loop.Propose(ctx, &state.Cancel{Job: j.ID, Reason: "cancelled by a user"})
			}
			return m.loop.Propose(ctx, &state.Resume{Job: j.ID, Reason: "resumed by a user"})
		}
	}, func(a answer) { u.c.say("%s %s: %v", what, name, a.err) })
}

func (u *users) drain(node string, on bool) {
	u.c.say("a user drains %s: %v", node, on)
	u.ask("drain "+node, func() handler { return propose(&state.Drain{Name: node, Drain: on, Reason: "asked for by a user"}) }, func(answer) {})
}

// expect returns the state of a job after so many steps, as it has to be.
func (u *users) expect(j jobFile, step int) point {
	known := u.states[j.Name]
	if known == nil {
		p := point{0, map[string]uint64{}}
		for tower, n := range map[string]int{shard.Vision: visionBlocks, shard.Language: languageBlocks} {
			for b := range n {
				h := fnv.New64a()
				fmt.Fprint(h, j.Name, tower, b)
				p.blocks[fmt.Sprint(tower, b)] = h.Sum64()
			}
		}
		known = []point{p}
	}
	for len(known) <= step {
		known = append(known, after(known[len(known)-1]))
	}
	u.states[j.Name] = known
	return known[step]
}

// job returns a job that was submitted, by its name.
func (u *users) job(name string) jobFile {
	i := slices.IndexFunc(u.jobs, func(j jobFile) bool { return j.Name == name })
	return u.jobs[i]
}

// result returns what a job has to come to.
func (u *users) result(name string) string {
	j := u.job(name)
	return fmt.Sprintf("%x", after(u.expect(j, j.Steps)).blocks)
}

// check verifies that every submission that was answered is there, once, and has come
// to a good end.
func (u *users) check(s *state.State) {
	for _, j := range u.jobs {
		id := u.known[j.Name]
		job := s.Job(id)
		switch {
		case id == "":
			u.c.violate("the submission of %s has no answer", j.Name)
		case job == nil || job.Name != j.Name:
			u.c.violate("%s, which was job %s, is lost", j.Name, id)
		case job.State == api.Cancelled && u.gone[j.Name], job.State == api.Succeeded && !j.Bad, job.State == api.Failed && j.Bad:
		default:
			u.c.violate("job %s is %s in the end: %s", id, job.State, job.Reason)
		}
	}
}
