package job

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/adapter"
	"ressa/trainer/optim"
	"ressa/trainer/prune"
	"ressa/trainer/team"
)

// Memory is what a worker's process keeps of a job from one generation to the next:
// how far the job was, its masks, and the trained state of the stages that the worker
// held, as it was when the generation broke off and one step before. The next
// generation goes on from the newest step that its workers' memories hold together,
// without a checkpoint. What was opened for the job stays open, too: see
// [Memory.Close]. The zero value knows nothing; a nil one keeps nothing. It is safe
// for concurrent use.
type Memory struct {
	mu     sync.Mutex
	known  bool // the fields below are of the job with this configuration
	config string
	state  state
	steps  []api.Step
	masks  prune.Masks
	points []point // of different steps

	stepped time.Time // when the last step was made; zero before
	opened  *opened   // nil while a run has it
}

// point is a trained state, or a part of one, after so many steps.
type point struct {
	mark
	tensors team.Bytes // F32, little-endian, named as in a checkpoint
}

// mark is where training was at a point.
type mark struct {
	Steps int
	// Best and Since are of validation: the step of the best score, and how many
	// validations ago that was.
	Best, Since int
	BestScore   float64
	// Between says that what comes after the step is done: validation, checkpoint.
	Between bool
}

// recall returns how far the job was, and whether that is known.
func (m *Memory) recall(j api.Job) (s *state, known bool) {
	if m == nil {
		return newState(j), false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		return newState(j), false
	}
	return m.state.clone(), true
}

func (s *state) clone() *state {
	out := *s
	out.Scores = maps.Clone(s.Scores)
	return &out
}

// past returns what the steps so far did.
func (m *Memory) past() []api.Step {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.steps
}

func (m *Memory) maskEntries() prune.Masks {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.masks
}

// at returns what is known of the state after so many steps.
func (m *Memory) at(steps int) team.Bytes {
	if m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range m.points {
			if p.Steps == steps {
				return p.tensors
			}
		}
	}
	return team.Bytes{}
}

// remembers reports whether trained state is kept in memory: that of adapters is,
// unless the job asks for less. Where all parameters are trained it is several times
// the model, and checkpoints have to do.
func (r *run) remembers() bool {
	return r.Memory != nil && r.job.Train.KeepState == api.KeepMemory && adapter.Method(r.job.Adapter.Method).LowRank()
}

// remember keeps what the next generation can use. What this one did not come to
// know stays as it was: it may have failed while it recovered.
func (r *run) remember(ctx context.Context) {
	m := r.Memory
	if m == nil || !r.prepared {
		return
	}
	points, err := r.points(ctx)
	if err != nil {
		r.Log.Warn("trained state not kept in memory", "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known && m.config != r.identity.Config {
		m.points, m.masks, m.steps = nil, nil, nil
	}
	m.known, m.config, m.state = true, r.identity.Config, *r.state.clone()
	m.state.Seconds += r.Now().Sub(r.started).Seconds()
	if r.applied != nil { // the masks are those of the model, checked
		m.masks = r.masks
	}
	if points != nil {
		m.points, m.steps = points, slices.Clone(r.steps)
	}
}

// points reads the trained state of the stages that are held to the host.
func (r *run) points(ctx context.Context) ([]point, error) {
	if r.ended != nil {
		return r.ended, nil
	}
	if r.engine == nil || !r.trainable || !r.remembers() {
		return nil, nil
	}
	now, ok := r.engine.Applied()
	if !ok {
		return nil, nil
	}
	last := r.after
	if last.Steps != now { // the step was made, what follows was not come to
		last = r.before
		last.Steps, last.Between = now, false
	}
	earlier := r.before
	earlier.Steps, earlier.Between = now-1, true
	out := []point{{last, team.Bytes{}}, {earlier, team.Bytes{}}}
	for _, t := range r.subject.towers() {
		for i, v := range []*optim.Vector{r.engine.Vector(t.stage), r.engine.Before(t.stage)} {
			if v == nil {
				continue
			}
			slots, err := readSlots(ctx, r.probes[0].Stream, v)
			if err != nil {
				return nil, err
			}
			for _, s := range slots {
				out[i].tensors[s.Name] = s.Raw
			}
		}
	}
	for _, p := range out {
		if err := r.buddies.keep(ctx, p); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(out, func(p point) bool { return len(p.tensors) == 0 }), nil
}

// here is where training is.
func (r *run) here(between bool) mark {
	return mark{r.state.Step, r.state.Best, r.state.Since, r.state.BestScore, between}
}

// memories is what a worker says of what training can go on from.
type memories struct {
	Points []held
	Needs  []string // names of what its stages consist of
	Stored []int    // steps of the checkpoints on its disk
	Disk   int      // steps of the newest of them; 0 for none
	Seen   int      // steps that it knows to have been made
	Since  float64  // seconds since it made its last step; 0 where that is not known
}

// held is a point that a worker holds, with the names of its part.
type held struct {
	Mark  mark
	Names []string
}

// onDisk returns the newest checkpoint that any worker has, and the first who has it.
func onDisk(all []memories) (holder, steps int) {
	for w, m := range all {
		if m.Disk > steps {
			holder, steps = w, m.Disk
		}
	}
	return holder, steps
}

// says is what this worker says.
func (r *run) says(disk int, stored []int) memories {
	out := memories{Needs: r.needed(), Stored: stored, Disk: disk, Seen: r.state.Step, Since: r.sinceStep()}
	if r.resumed && r.team.Chief() {
		if past := pastSteps(r.folder.path(eventsFile), r.job.Train.Steps); len(past) > 0 {
			out.Seen = max(out.Seen, past[len(past)-1].Step)
		}
	}
	if !r.remembers() {
		return out
	}
	r.Memory.mu.Lock()
	defer r.Memory.mu.Unlock()
	for _, p := range r.Memory.points {
		out.Points = append(out.Points, held{p.mark, p.tensors.Names()})
		out.Seen = max(out.Seen, p.Steps)
	}
	return out
}

// newest returns the newest point that the workers' memories hold together; of zero
// steps where there is none. Where the checkpoint of the best validation is on
// nobody's disk, a point is of no use.
func newest(all []memories) mark {
	var found mark
	have := map[int]map[string]bool{}
	var stored []int
	for _, m := range all {
		stored = append(stored, m.Stored...)
		for _, p := range m.Points {
			if have[p.Mark.Steps] == nil {
				have[p.Mark.Steps] = map[string]bool{}
			}
			for _, name := range p.Names {
				have[p.Mark.Steps][name] = true
			}
		}
	}
	for _, m := range all {
		for _, p := range m.Points {
			better := p.Mark.Steps > found.Steps || p.Mark.Steps == found.Steps && p.Mark.Between && !found.Between
			if better && (p.Mark.Best == 0 || slices.Contains(stored, p.Mark.Best)) && covers(have[p.Mark.Steps], all) {
				found = p.Mark
			}
		}
	}
	return found
}

// covers reports whether names are all that anybody needs.
func covers(names map[string]bool, all []memories) bool {
	for _, m := range all {
		for _, n := range m.Needs {
			if !names[n] {
				return false
			}
		}
	}
	return true
}
