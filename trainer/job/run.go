package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/activity"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/objects"
	"ressa/trainer/model"
	"ressa/trainer/prune"
	"ressa/trainer/step"
	"ressa/trainer/team"
	"ressa/trainer/trace"
)

// Options are what a run needs beside its job.
type Options struct {
	Dir    string
	Device kernels.Device
	// On says what the device is, and why none that could be better; it may be empty.
	On string
	// Lanes is how many microbatches are computed at the same time; no bit depends on it.
	Lanes   int
	Replace bool
	Emit    func(api.Event) // called from one goroutine at a time
	Log     *slog.Logger
	Now     func() time.Time
	// Trace records steps; nil records none.
	Trace *trace.Recorder
	// Team is the worker's view of a team; nil runs the job in this process alone.
	Team *team.Team
	// Generation is that of the team's plan.
	Generation int
	// Memory, where it is set, is what the worker keeps of the job between generations.
	Memory *Memory
	// Publish, where it is set, is told of every checkpoint that is on disk. It does
	// not wait.
	Publish func(api.Published)
	// Progress, where it is set, is told whenever this worker has got further. Calls
	// do not overlap.
	Progress func(Progress)
	// WentOn, where it is set, is told by the chief once training has gone on in this
	// generation: from where, and what it cost. It does not wait.
	WentOn func(api.Origin)
}

// Progress is how far one worker is.
type Progress struct {
	Phase string
	Step  int
	// Microbatches that each of the worker's roles has done, in the order of the
	// plan's Roles.
	Microbatches []int
}

// Run runs a job from its start. The result says what state it ended in also
// where there is an error; errors that are the user's to mend are api.InputError.
func Run(ctx context.Context, j api.Job, o Options) (api.Result, error) {
	f, err := claim(o.Dir)
	if err != nil {
		return api.Result{}, api.Invalid(err)
	}
	defer f.release()
	if err := f.fresh(o.Replace); err != nil {
		return api.Result{}, err
	}
	return start(ctx, j, o, f, newState(j), false)
}

func newState(j api.Job) *state {
	return &state{Job: j.Name, Scores: map[string]*api.Score{}, Steps: j.Train.Steps}
}

// Work does one worker's part in the job of o.Team: all of its workers call it.
// The chief keeps the run in o.Dir and goes on with what an earlier generation left
// there; of the others o.Dir is scratch. The chief's result is the job's.
func Work(ctx context.Context, j api.Job, o Options) (api.Result, error) {
	f, err := claim(o.Dir)
	if err != nil {
		return api.Result{}, err
	}
	defer f.release()
	if !o.Team.Chief() {
		o.Emit = func(api.Event) {}
		s, known := o.Memory.recall(j)
		return start(ctx, j, o, f, s, known)
	}
	s, err := readState(o.Dir)
	_, none := f.readJob()
	switch {
	case none != nil:
		// What a worker of an earlier generation left is not a run.
		if err := f.discard("checkpoints"); err != nil { // copies of another chief's
			return api.Result{}, err
		}
		s, known := o.Memory.recall(j)
		return start(ctx, j, o, f, s, known)
	case err != nil:
		// What it said is found out again: checkpoints tell how far training is.
		if !errors.Is(err, os.ErrNotExist) {
			o.Log.Warn("state of the run not read; what it knew is computed again", "error", err)
		}
		s = newState(j)
	}
	return start(ctx, j, o, f, s, true)
}

// Resume goes on with the run that o.Dir holds.
func Resume(ctx context.Context, o Options) (api.Result, error) {
	if _, err := os.Stat(o.Dir); err != nil {
		return api.Result{}, api.Invalid(fmt.Errorf("no run to resume: %w", err))
	}
	f, err := claim(o.Dir)
	if err != nil {
		return api.Result{}, api.Invalid(err)
	}
	defer f.release()
	j, err := f.readJob()
	if err != nil {
		return api.Result{}, err
	}
	s, err := readState(o.Dir)
	if errors.Is(err, os.ErrNotExist) {
		s = newState(j)
	} else if err != nil {
		return api.Result{}, api.Invalid(err)
	}
	if s.State == api.Succeeded {
		return api.Result{}, api.Invalid(fmt.Errorf("the run in %s has succeeded; there is nothing to resume", o.Dir))
	}
	return start(ctx, j, o, f, s, true)
}

// run is a job on its way through its phases.
type run struct {
	Options
	job    api.Job
	folder *folder
	state  *state
	events *os.File
	torn   bool // the last line of the event log may be half a line
	// What could not be written last: reported once, not at every event.
	unlogged, unsaved bool
	started           time.Time

	team    *team.Team
	subject *Subject
	datasets
	kept          *opened       // what stays open; nil before the model is opened
	probes        []*model.Lane // for work outside training, without trained values
	patterns      map[string]sparse.Pattern
	masks         prune.Masks  // of the stages that are held
	allMasks      []towerMasks // by stage; on the chief
	masksKept     bool         // the folder holds the masks, and they are whole
	applied       *prune.Applied
	attachments   []*adapter.Attachment // by stage; nil where it is not held
	engine        *step.Engine
	identity      checkpoint.Identity
	done          []int // microbatches, by stage
	taken         int   // step whose checkpoint training ended with
	trainable     bool  // the engine holds a state that training came to
	buddies       *buddies
	saving        *saving       // nil without one under way
	ended         []point       // what training came to, where memory keeps it
	origin        *origin       // where training goes on from; nil once it was told
	logged        time.Time     // when an earlier process last wrote to the event log
	before, after mark          // of the last step: before what comes between steps, and after it
	objects       objects.Store // that the job names; nil where it names none
	shipping      *shipping     // to it; nil without
	steps         []api.Step
	result        api.Result
	phase         *trace.Span // that goes on
	prepared      bool        // input was checked: errors from here on are failures of the run
	resumed       bool        // an earlier process began the run
	over          bool        // and finished it: result is what it wrote
}

func start(ctx context.Context, j api.Job, o Options, f *folder, s *state, resumed bool) (api.Result, error) {
	o.Lanes = min(o.Lanes, j.Train.Microbatches) // more would have nothing to compute
	o.Generation = max(1, o.Generation)
	r := &run{Options: o, job: j, folder: f, state: s, started: o.Now(), resumed: resumed}
	if info, err := os.Stat(f.path(eventsFile)); err == nil {
		r.logged = info.ModTime()
	}
	defer r.close()
	err := r.phases(ctx)
	if err != nil {
		r.remember(context.WithoutCancel(ctx))
	}
	return r.finish(ctx, err)
}

// part does a part of the job, which shows as what the worker is doing.
func part(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, end := activity.Begin(ctx, what)
	defer end()
	return do(ctx)
}

// phases runs what is left of the job.
func (r *run) phases(ctx context.Context) error {
	ctx, end := activity.Begin(ctx, "between two phases")
	defer end()
	if err := part(ctx, "opening model and data", r.prepare); err != nil {
		if r.Team != nil {
			return err // the team has agreed on it
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return api.Invalid(err)
	}
	r.prepared = true
	if err := r.meet(ctx); err != nil || r.over {
		return err
	}
	dense := r.job.Model.Init == "pretrained"
	pruned := r.job.Prune.Method != "none"
	if dense {
		if err := r.score(ctx, "dense", r.untrained(), false); err != nil {
			return err
		}
	}
	if pruned {
		if err := part(ctx, "pruning", r.prune); err != nil {
			return err
		}
		if err := r.score(ctx, "pruned", r.untrained(), false); err != nil {
			return err
		}
	}
	if err := part(ctx, "hashing the base", r.base); err != nil {
		return err
	}
	if r.job.Train.Steps > 0 {
		if err := part(ctx, "attaching adapters", r.attach); err != nil {
			return err
		}
		if err := r.trainSteps(ctx); err != nil {
			return err
		}
		if err := r.roundTrained(ctx); err != nil {
			return err
		}
		if err := r.score(ctx, "repaired", r.trained(), false); err != nil {
			return err
		}
	}
	if r.job.Evaluate.Blind {
		if err := r.score(ctx, "blind", r.trained(), true); err != nil {
			return err
		}
	}
	r.awaitShipments()
	if err := r.gatherRanks(ctx); err != nil {
		return err
	}
	if err := r.team.Leave(ctx); err != nil {
		return err
	}
	return part(ctx, "exporting", r.export)
}

// roundTrained rounds what training ended with to what is exported.
func (r *run) roundTrained(ctx context.Context) error {
	for stage, a := range r.attachments {
		if a == nil {
			continue
		}
		a.Remask(true)
		if err := a.RoundTrained(ctx, r.engine.Lanes(stage)[0]); err != nil {
			return err
		}
	}
	return nil
}

func openLanes(d kernels.Device, n int) ([]*model.Lane, error) {
	var lanes []*model.Lane
	for range n {
		s, err := d.NewStream()
		if err != nil {
			closeLanes(lanes)
			return nil, fmt.Errorf("open a lane: %w", err)
		}
		lanes = append(lanes, &model.Lane{Stream: s, Pool: model.NewPool(d)})
	}
	return lanes, nil
}

func closeLanes(lanes []*model.Lane) {
	for _, l := range lanes {
		_ = l.Stream.Close() // its error was reported when it was synchronised
		l.Pool.Close()
	}
}

// release gives back the model and what it is trained with, in the reverse order
// of opening.
func (r *run) release() {
	r.stopSave()
	r.closeStore()
	r.buddies.close()
	r.buddies = nil
	if r.engine != nil {
		_ = r.engine.Close() // errors of its streams were reported by the step
		r.engine = nil
	}
	closeLanes(r.probes)
	r.probes = nil
	for _, a := range r.attachments {
		if a != nil {
			a.Detach()
		}
	}
	r.attachments = nil
	if r.applied != nil {
		r.applied.Release()
		r.applied = nil
	}
	if r.subject != nil {
		r.keepModel()
	}
}

// close releases everything.
func (r *run) close() {
	r.release()
	r.leave()
	if r.events != nil {
		_ = r.events.Close()
	}
}
