package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/prune"
	"ressa/trainer/report"
	"ressa/trainer/step"
)

// Options are what a run needs beside its job.
type Options struct {
	Dir    string
	Device kernels.Device
	// Lanes is how many microbatches are computed at the same time; no bit depends on it.
	Lanes   int
	Replace bool
	Emit    func(api.Event) // called from one goroutine at a time
	Log     *slog.Logger
	Now     func() time.Time
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
	s := &state{Job: j.Name, Scores: map[string]*api.Score{}, Steps: j.Train.Steps}
	return start(ctx, j, o, f, s, false)
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
		s = &state{Job: j.Name, Scores: map[string]*api.Score{}, Steps: j.Train.Steps}
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

	subject                 *Subject
	train, validation, test data.Dataset
	probes                  []*model.Lane // for work outside training, without trained values
	patterns                map[string]sparse.Pattern
	masks                   prune.Masks
	applied                 *prune.Applied
	attachments             []*adapter.Attachment // vision, language
	engine                  *step.Engine
	identity                checkpoint.Identity
	steps                   []api.Step
	result                  api.Result
	prepared                bool // input was checked: errors from here on are failures of the run
	resumed                 bool // an earlier process began the run
}

func start(ctx context.Context, j api.Job, o Options, f *folder, s *state, resumed bool) (api.Result, error) {
	o.Lanes = min(o.Lanes, j.Train.Microbatches) // more would have nothing to compute
	r := &run{Options: o, job: j, folder: f, state: s, started: o.Now(), resumed: resumed}
	defer r.close()
	err := r.phases(ctx)
	return r.finish(ctx, err)
}

// phases runs what is left of the job.
func (r *run) phases(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return api.Invalid(err)
	}
	r.prepared = true
	dense := r.job.Model.Init == "pretrained"
	pruned := r.job.Prune.Method != "none"
	if dense {
		if err := r.score(ctx, "dense", probes(r.probes), false); err != nil {
			return err
		}
	}
	if pruned {
		if err := r.prune(ctx); err != nil {
			return err
		}
		if err := r.score(ctx, "pruned", probes(r.probes), false); err != nil {
			return err
		}
	}
	if err := r.base(ctx); err != nil {
		return err
	}
	if r.job.Train.Steps > 0 {
		if err := r.attach(ctx); err != nil {
			return err
		}
		if err := r.trainSteps(ctx); err != nil {
			return err
		}
		for i, a := range r.attachments {
			a.Remask(true)
			if err := a.RoundTrained(ctx, r.engine.Lanes(i)[0]); err != nil {
				return err
			}
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
	return r.export(ctx)
}

// prepare opens everything that the job names, before anything is written but
// the job itself.
func (r *run) prepare(ctx context.Context) error {
	if err := r.folder.writeJob(r.job); err != nil {
		return err
	}
	var err error
	if r.events, err = os.OpenFile(r.folder.path(eventsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	// A killed process may have left half a line.
	if info, err := r.events.Stat(); err == nil {
		r.torn = info.Size() > 0
	}
	r.enter("prepare", "")
	if r.identity, err = r.identify(); err != nil {
		return err
	}
	if r.resumed && r.state.Config != "" && r.state.Config != r.identity.Config {
		return fmt.Errorf("%s: the job was changed since the run began; a changed job is a new run: %w", r.folder.path(jobFile), checkpoint.ErrOtherJob)
	}
	r.state.Config = r.identity.Config
	if err := r.openModel(ctx); err != nil {
		return err
	}
	return r.openData(ctx)
}

// identify says what the checkpoints of the run belong to, but for the base.
func (r *run) identify() (checkpoint.Identity, error) {
	id := checkpoint.Identity{Job: r.job.Name, NumericKind: r.Device.Kind()}
	if r.job.Train.Numerics == "relaxed" {
		id.NumericKind = ""
	}
	raw, err := yaml.Marshal(r.job)
	if err != nil {
		return id, err
	}
	sum := sha256.Sum256(raw)
	id.Config = hex.EncodeToString(sum[:])
	return id, nil
}

// openModel opens and rounds the job's model, and the masks that it brings.
func (r *run) openModel(ctx context.Context) error {
	dir, err := modelDir(r.job.Model.Path, r.Dir)
	if err != nil {
		return err
	}
	if r.patterns, err = patterns(r.job.Prune); err != nil {
		return err
	}
	if r.subject, err = OpenSubject(ctx, r.Device, SubjectOptions{Dir: dir, Random: r.job.Model.Init == "random", Seed: r.job.Seed,
		SHA256: r.job.Model.SHA256, Template: r.job.Data.Template, MaxLength: r.job.Data.MaxLength}); err != nil {
		return err
	}
	if err := r.fits(); err != nil {
		return err
	}
	if r.probes, err = openLanes(r.Device, r.Lanes); err != nil {
		return err
	}
	return r.round(ctx)
}

// fits verifies what the job asks of the model: patterns, masks that it names, and
// ranks.
func (r *run) fits() error {
	if err := r.subject.fitPatterns(r.job.Prune, r.patterns); err != nil {
		return err
	}
	if r.job.Prune.Masks != "" && r.job.Prune.Method != "none" {
		masks, err := prune.Load(filepath.Join(r.job.Prune.Masks, "masks.safetensors"), hf.Canonical)
		if err != nil {
			return fmt.Errorf("prune.masks: %w", err)
		}
		r.masks = masks
		if err := r.checkMasks(); err != nil {
			return fmt.Errorf("prune.masks: %w", err)
		}
	}
	if r.job.Train.Steps == 0 || !adapter.Method(r.job.Adapter.Method).LowRank() {
		return nil
	}
	for _, t := range r.subject.towers() {
		for _, n := range t.Linears() {
			if rank := r.rank(t.role); t.Prunable(n) && rank > min(n.In(), n.Out()) {
				return fmt.Errorf("adapter: rank %d of the %s tower exceeds the smaller side of %s (%d, %d)", rank, t.role, n.Weight.Name, n.Out(), n.In())
			}
		}
	}
	return nil
}

// checkMasks verifies that the masks fulfil the towers' patterns.
func (r *run) checkMasks() error {
	for _, t := range r.subject.towers() {
		if pattern, ok := r.patterns[t.role]; ok {
			if err := r.masks.Only(t.Tower).Check(pattern); err != nil {
				return fmt.Errorf("%s tower: %w", t.role, err)
			}
		}
	}
	return nil
}

// round makes the model compute with what will be exported: effective weights
// rounded in every product, and, where they are not trained, norms, biases and
// embeddings rounded once.
func (r *run) round(ctx context.Context) error {
	for _, t := range r.subject.towers() {
		adapter.Round(t.Tower, exportDType(r.job))
		if r.job.Adapter.Method == string(adapter.Full) {
			continue
		}
		if err := adapter.RoundFrozen(ctx, r.probes[0], t.Tower, exportDType(r.job)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) openData(ctx context.Context) error {
	var err error
	if r.train, err = OpenData(ctx, "data.train", r.job.Data.Train, r.job.Seed); err != nil {
		return err
	}
	if r.job.Data.Test.Given() {
		if r.test, err = OpenData(ctx, "data.test", r.job.Data.Test, r.job.Seed); err != nil {
			return err
		}
	}
	switch {
	case r.job.Data.Validation.Given():
		if r.validation, err = OpenData(ctx, "data.validation", r.job.Data.Validation, r.job.Seed); err != nil {
			return err
		}
	case r.job.Train.ValidateEvery > 0:
		// The last twentieth of the training data, and no less than one example.
		n := max(1, r.train.Len()/20)
		if n == r.train.Len() {
			return fmt.Errorf("data.validation: missing, and data.train has too few examples (%d) to share", n)
		}
		r.validation = part{r.train, r.train.Len() - n, n}
		r.train = part{r.train, 0, r.train.Len() - n}
	}
	for _, s := range []struct {
		field string
		set   data.Dataset
	}{{"data.train", r.train}, {"data.validation", r.validation}, {"data.test", r.test}} {
		if s.set == nil {
			continue
		}
		if err := encodes(s.field, s.set, r.subject.Encoder); err != nil {
			return err
		}
	}
	return nil
}

// patterns parses the pattern of each tower that is pruned.
func patterns(p api.Prune) (map[string]sparse.Pattern, error) {
	out := map[string]sparse.Pattern{}
	for _, role := range []string{step.Vision, step.Language} {
		text := p.TowerPattern(role)
		if text == api.Dense {
			continue
		}
		pattern, err := sparse.ParsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.TowerKey(role), err)
		}
		out[role] = pattern
	}
	return out, nil
}

func exportDType(j api.Job) kernels.DType { return dtype(j.Export.DType) }

func dtype(name string) kernels.DType {
	if name == "bf16" {
		return kernels.BF16
	}
	return kernels.F32
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

// close releases everything, in the reverse order of opening.
func (r *run) close() {
	if r.engine != nil {
		_ = r.engine.Close() // errors of its streams were reported by the step
	}
	closeLanes(r.probes)
	for _, a := range r.attachments {
		a.Detach()
	}
	if r.applied != nil {
		r.applied.Release()
	}
	if r.subject != nil {
		r.subject.Close()
	}
	for _, set := range []data.Dataset{r.train, r.validation, r.test} {
		closeSet(set)
	}
	if r.events != nil {
		_ = r.events.Close()
	}
}

// enter starts a phase.
func (r *run) enter(phase, message string) {
	r.state.Phase = phase
	r.save(api.Running)
	r.emit(api.Event{Event: "phase", Phase: phase, Message: message})
}

// save writes state.json. A failure is logged: it costs status its freshness and
// resume nothing but work.
func (r *run) save(s string) {
	r.state.State, r.state.PID, r.state.At = s, os.Getpid(), r.Now()
	err := r.folder.writeState(r.state)
	if err != nil && !r.unsaved {
		r.Log.Warn("state not written", "error", err)
	}
	r.unsaved = err != nil
}

// emit passes an event on and appends it to the log.
func (r *run) emit(e api.Event) {
	e.Job = r.job.Name
	seconds := r.Now().Sub(r.started).Seconds()
	e.Seconds = &seconds
	if r.events != nil && e.Result == nil {
		r.logEvent(e)
	}
	r.Emit(e)
}

// logEvent appends a line to the event log, behind an end of line where the one
// before may be torn. Of failures in a row the first is reported.
func (r *run) logEvent(e api.Event) {
	raw, err := json.Marshal(e)
	if err != nil {
		return // an infinite number: the event is shown all the same
	}
	raw = append(raw, '\n')
	if r.torn {
		raw = append([]byte{'\n'}, raw...)
	}
	_, err = r.events.Write(raw)
	if err != nil && !r.unlogged {
		r.Log.Warn("event not logged", "error", err)
	}
	r.torn, r.unlogged = err != nil, err != nil
}

// finish writes the result and turns err into what the caller reports.
func (r *run) finish(ctx context.Context, err error) (api.Result, error) {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	res := &r.result
	res.Event, res.Job, res.State = "result", r.job.Name, api.Succeeded
	res.Pattern, res.Method, res.Seed = r.job.Prune.Pattern, r.job.Adapter.Method, r.job.Seed
	res.Steps, res.Generations, res.NumericKind = r.state.Step, 1, r.Device.Kind()
	res.Seconds = r.state.Seconds + r.Now().Sub(r.started).Seconds()
	res.Dense, res.Pruned, res.Repaired, res.Blind = r.state.Scores["dense"], r.state.Scores["pruned"], r.state.Scores["repaired"], r.state.Scores["blind"]
	res.Sparsity, res.Ranks = r.sparsity(), ranks(os.Getpid(), r.state.Microdone)
	if res.Dense != nil && res.Pruned != nil && res.Repaired != nil && res.Dense.Score != res.Pruned.Score {
		recovery := (res.Repaired.Score - res.Pruned.Score) / (res.Dense.Score - res.Pruned.Score)
		res.Recovery = &recovery
	}
	if err != nil {
		res.State, res.Error = api.Failed, err.Error()
		if api.ExitCode(err) == api.ExitCancelled {
			res.State = api.Cancelled
		}
	}
	r.state.Seconds, r.state.Error = res.Seconds, res.Error
	if err == nil {
		if err = errors.Join(r.writeResult(), r.writePlot()); err != nil {
			res.State, res.Error, r.state.Error = api.Failed, err.Error(), err.Error()
		}
	}
	if r.prepared || r.resumed || res.State == api.Cancelled {
		r.save(res.State)
	} else {
		// The job never started: leave nothing that looks like a run.
		_ = r.events.Close()
		r.events = nil
		r.folder.undo()
	}
	r.emit(api.Event{Event: "result", Result: res})
	return *res, err
}

func (r *run) writeResult() error {
	raw, err := json.MarshalIndent(r.result, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", resultFile, err)
	}
	return durable.WriteFile(r.folder.path(resultFile), append(raw, '\n'))
}

func (r *run) writePlot() error {
	title := fmt.Sprintf("%s · %s %s · %s · seed %d", r.job.Name, r.job.Prune.Method, r.job.Prune.Pattern, r.job.Adapter.Method, r.job.Seed)
	raw, err := report.PNG(report.Data{Title: title, Steps: r.steps, Scores: r.result.Scores(), Layers: r.layers()})
	if err != nil {
		return err
	}
	return durable.WriteFile(r.folder.path(plotFile), raw)
}
