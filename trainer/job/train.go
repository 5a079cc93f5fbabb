package job

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/activity"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/optim"
	"ressa/trainer/step"
)

// scoreMetric is the validation score in a checkpoint's metrics, by which the
// best one is kept.
const scoreMetric = "validation_score"

func (r *run) store() *checkpoint.Store {
	retention := checkpoint.Retention{Last: r.job.Train.Keep}
	if r.job.Train.ValidateEvery > 0 {
		retention.BestBy, retention.Higher = scoreMetric, true
	}
	return &checkpoint.Store{Dir: r.folder.path("checkpoints"), Retention: retention}
}

// objectiveOf translates the job's objective.
func objectiveOf(j api.Job) (objective.Config, error) {
	c := objective.Config{Lambda: j.Distill.Lambda, Temperature: j.Distill.Temperature, Reduction: j.Distill.KLReduction}
	for _, name := range objective.Teachers() {
		weight, ok := j.Distill.Teachers[name]
		if !ok || !c.Distils() {
			continue
		}
		t, err := objective.NewTeacher(name, weight)
		if err != nil {
			return c, err
		}
		c.Teachers = append(c.Teachers, t)
	}
	return c, c.Check()
}

// rank is that of a tower's adapters.
func (r *run) rank(role string) int {
	if role == step.Vision && r.job.Adapter.VisionRank > 0 {
		return r.job.Adapter.VisionRank
	}
	return r.job.Adapter.Rank
}

// attach puts what is trained on the stages that are held and opens the engine.
func (r *run) attach(ctx context.Context) error {
	for _, l := range r.probes { // their work is done but for little
		if err := l.Stream.Synchronize(ctx); err != nil {
			return err
		}
		l.Pool.Trim()
	}
	o, err := objectiveOf(r.job)
	if err != nil {
		return err
	}
	method, err := adapter.ParseMethod(r.job.Adapter.Method)
	if err != nil {
		return err
	}
	parts := r.subject.Parts
	layouts := make([]*model.Layout, len(parts))
	r.attachments = make([]*adapter.Attachment, len(parts))
	for _, t := range r.subject.towers() {
		a, err := adapter.Attach(ctx, r.Device, t.Tower, adapter.Options{
			Method: method, Rank: r.rank(t.role), Alpha: r.job.Adapter.Alpha, Projector: r.job.Adapter.Projector, Round: exportDType(r.job)})
		if err != nil {
			return fmt.Errorf("%s tower: %w", t.role, err)
		}
		r.attachments[t.stage], layouts[t.stage] = a, a.Layout
	}
	trained, err := r.trainedLengths(ctx, layouts)
	if err != nil {
		return err
	}
	graph, err := r.graph(o, trained)
	if err != nil {
		return err
	}
	if err := r.pack(ctx, graph, method); err != nil {
		return err
	}
	peers, err := r.team.Peers(dtype(r.job.Train.Wire))
	if err != nil {
		return err
	}
	largest, lane, err := r.largest(ctx)
	if err != nil {
		return err
	}
	train := r.job.Train
	again, err := model.ParseRecompute(train.Recompute)
	if err != nil {
		return err
	}
	var observer step.Observer
	if r.remembers() && !r.team.Alone() {
		observer = r
	}
	r.engine, err = step.NewEngine(r.Device, step.Config{
		Graph: graph, Layouts: layouts, Objective: o,
		Optimiser: r.optimiser(),
		Schedule:  optim.Schedule{Kind: train.Schedule, Base: train.LR, Warmup: train.Warmup, Floor: train.Floor, Steps: train.Steps},
		Wire:      dtype(train.Wire), Lanes: r.lanes(), Peers: peers, Order: r.team.Plan().Order(), Keep: r.remembers(), Observer: observer,
		Recompute: again, Largest: largest, Lane: lane,
	})
	if err != nil {
		return err
	}
	for _, t := range r.subject.towers() {
		if err := r.attachments[t.stage].Init(ctx, r.probes[0].Stream, r.engine.Vector(t.stage).Values, r.job.Seed); err != nil {
			return err
		}
	}
	return nil
}

// optimiser translates the job's optimiser.
func (r *run) optimiser() optim.Config {
	t := r.job.Train
	return optim.Config{Beta1: t.Beta1, Beta2: t.Beta2, Eps: t.Eps, WeightDecay: t.WeightDecay, ClipNorm: t.ClipNorm}
}

// Confirm implements [step.Observer] for the buddies.
func (r *run) Confirm(ctx context.Context, s int) error { return r.buddies.Confirm(ctx, s) }

// Settled implements [step.Observer] for the buddies.
func (r *run) Settled(ctx context.Context, s step.Settled) error { return r.buddies.Settled(ctx, s) }

// lanes is how many microbatches this worker keeps in flight: no fewer than keep
// its peers busy.
func (r *run) lanes() int {
	n := r.Lanes
	if in := r.team.Plan().InFlight; in != nil {
		n = max(n, in[r.team.Worker()])
	}
	return min(n, r.job.Train.Microbatches)
}

// trainedLengths returns how many elements each stage trains.
func (r *run) trainedLengths(ctx context.Context, layouts []*model.Layout) ([]int, error) {
	out := make([]int, len(layouts))
	for i, l := range layouts {
		if l != nil {
			out[i] = l.Len
		}
	}
	all, err := r.team.Gather(ctx, "what is trained", encoded(out))
	if err != nil {
		return nil, err
	}
	for w, raw := range all {
		var said []int
		if err := decoded(raw, &said); err != nil {
			return nil, err
		}
		if len(said) != len(out) {
			return nil, fmt.Errorf("worker %d has %d stages, want %d", w, len(said), len(out))
		}
		for i, n := range said {
			out[i] = max(out[i], n)
		}
	}
	return out, nil
}

// graph makes the nodes of a step, one for each stage of the plan. trained are the
// elements that each stage trains.
func (r *run) graph(o objective.Config, trained []int) (step.Graph, error) {
	var g step.Graph
	below := 0 // elements that the stages before train
	for i, stage := range r.team.Plan().Stages {
		part := r.subject.Parts[i]
		g.Towers = append(g.Towers, stage.Tower)
		if i == 0 {
			g.Inputs = append(g.Inputs, nil)
		} else {
			g.Inputs = append(g.Inputs, []int{i - 1})
		}
		if part.Tower == nil {
			g.Nodes = append(g.Nodes, step.Remote(fmt.Sprintf("%s stage %d", stage.Tower, stage.Index)))
		} else {
			n := &step.TowerNode{Role: stage.Tower, Stage: stage.Index, Tower: part.Tower, Flows: step.LanguageFlows(o), InputGradient: i > 0 && below > 0}
			if stage.Tower == step.Vision {
				n.Flows = step.VisionFlows(o)
			}
			if stage.Index > 0 {
				n.Flows = step.LaterFlows(n.Flows)
			}
			if i == len(r.subject.Parts)-1 {
				language, ok := part.Tower.(model.Language)
				if !ok {
					return g, fmt.Errorf("the last stage is of the %s tower", stage.Tower)
				}
				n.Loss = &step.Loss{Language: language, Config: o}
			}
			g.Nodes = append(g.Nodes, n)
		}
		below += trained[i]
	}
	return g, nil
}

// trainSteps trains from the newest checkpoint to the last step.
func (r *run) trainSteps(ctx context.Context) (err error) {
	var first int
	err = part(ctx, "going back to where training was", func(ctx context.Context) (err error) {
		first, err = r.restore(ctx)
		return err
	})
	if err != nil {
		return err
	}
	message := fmt.Sprintf("%s, %d steps of %d samples in %d microbatches", r.job.Adapter.Method, r.job.Train.Steps, r.job.Train.Batch, r.job.Train.Microbatches)
	if first > 0 {
		message += fmt.Sprintf(", resumed after step %d", first)
	}
	r.steps = r.pastSteps(first)
	r.enter("train", message)
	looks := r.team.Plan().Stages[0].Owners
	f := &feed{set: r.train, encoder: r.subject.Encoder, blank: r.subject.Encoder.WithoutPixels(),
		looks: func(m int) bool { return looks[m] == r.team.Worker() }, pad: r.subject.Pad, seed: r.job.Seed, batch: r.job.Train.Batch, micro: r.job.Train.Microbatches}
	if !r.after.Between { // the step was made, and the generation broke off before this
		if stopEarly, err := r.betweenSteps(ctx); err != nil {
			return err
		} else if stopEarly {
			return r.takeBest(ctx)
		}
	}
	last := r.job.Train.Steps
	if r.exhausted() {
		last = first // an earlier process stopped training here
	}
	fctx, stop := context.WithCancel(ctx)
	batches := f.prefetch(fctx, first, last)
	defer func() {
		stop()
		for range batches { // its goroutine ends before what it reads is closed
		}
		if ctx.Err() == nil && r.team.Alone() { // training failed by itself: what was to be saved is worth having
			err = errors.Join(err, r.awaitSave(ctx))
		}
	}()
	for {
		_, end := activity.Begin(ctx, "waiting for data")
		x, more := <-batches
		end()
		if !more {
			break
		}
		if x.err != nil {
			return x.err
		}
		began := r.Now()
		tctx, traced := r.Trace.Begin(ctx, x.step+1)
		sctx, end := activity.Begin(tctx, fmt.Sprintf("step %d", x.step+1))
		done, err := r.engine.Step(sctx, x.step, x.batches)
		end()
		traced.End(done.Slow, err)
		if err != nil {
			return err
		}
		r.record(done, r.Now().Sub(began))
		stopEarly, err := r.betweenSteps(tctx)
		if err != nil {
			return err
		}
		if stopEarly {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.takeBest(ctx)
}

func (r *run) record(x step.Result, took time.Duration) {
	r.state.Step = x.Step + 1
	r.before = r.here(false)
	r.wentOn(true)
	r.count()
	s := api.Step{Step: x.Step + 1, Steps: r.job.Train.Steps, Loss: x.Loss, CE: x.CE, KL: x.KL, GradNorm: x.GradNorm, LR: x.LR,
		Tokens: x.Tokens, PeakMemory: x.PeakMemory, Seconds: took.Seconds()}
	r.steps = append(r.steps, s)
	r.result.PeakMemory = max(r.result.PeakMemory, x.PeakMemory)
	r.emit(api.Event{Event: "step", Step: &s})
}

// betweenSteps validates and saves where the job says so, and reports whether
// training has stopped getting better.
func (r *run) betweenSteps(ctx context.Context) (stop bool, err error) {
	s, t := r.state.Step, r.job.Train
	metrics := map[string]float64{}
	if t.ValidateEvery > 0 && (s%t.ValidateEvery == 0 || s == t.Steps) {
		score, err := r.evaluate(ctx, "validation", r.validation, r.job.Evaluate.ValidationLimit, r.trained(), false)
		if err != nil {
			return false, err
		}
		metrics[scoreMetric] = score.Score
		r.emit(api.Event{Event: "validation", Of: "validation", Score: score})
		if r.state.Best == 0 || score.Score > r.state.BestScore {
			r.state.Best, r.state.BestScore, r.state.Since = s, score.Score, 0
		} else {
			r.state.Since++
		}
		stop = r.exhausted()
	}
	if stop {
		r.emit(api.Event{Event: "note", Message: fmt.Sprintf("stopped after step %d: no better validation score in %d validations", s, t.Patience)})
	}
	if len(metrics) > 0 || stop || s == t.Steps || t.CheckpointEvery > 0 && s%t.CheckpointEvery == 0 {
		// A validated one may be what training ends with.
		if err := r.checkpoint(ctx, s, metrics, len(metrics) > 0); err != nil {
			return false, err
		}
	} else if err := r.pollSave(ctx); err != nil {
		return false, err
	}
	r.after = r.here(true)
	return stop, nil
}

// exhausted reports whether validation has not got better for long enough.
func (r *run) exhausted() bool {
	p := r.job.Train.Patience
	return p > 0 && r.job.Train.ValidateEvery > 0 && r.state.Since >= p
}

// takeBest goes back to the checkpoint with the best validation score, where
// there is one and it is not the last.
func (r *run) takeBest(ctx context.Context) error {
	if err := r.keepLast(ctx); err != nil {
		return err
	}
	r.taken = r.state.Step
	if r.job.Train.ValidateEvery == 0 || r.state.Best == 0 || r.state.Best == r.state.Step {
		return nil
	}
	r.taken = r.state.Best
	holder, here, err := r.whoStores(ctx, r.taken)
	if err == nil && holder < 0 {
		err = fmt.Errorf("step %d: %w", r.taken, checkpoint.ErrNone)
	}
	var c *checkpoint.Checkpoint
	if err == nil && holder == r.team.Worker() {
		c, err = r.store().Load(ctx, r.taken, r.identity)
	}
	if err != nil {
		return fmt.Errorf("take the best checkpoint: %w", err)
	}
	if err := r.load(ctx, c, r.taken); err != nil {
		return err
	}
	if !here { // the chief exports from its own disk
		if err := r.checkpoint(ctx, r.taken, map[string]float64{scoreMetric: r.state.BestScore}, true); err != nil {
			return err
		}
	}
	r.emit(api.Event{Event: "note", Message: fmt.Sprintf("took the best checkpoint, of step %d", r.taken)})
	return nil
}

// whoStores returns the first worker whose disk holds the checkpoint of a step, -1
// where none does, and whether the chief's does.
func (r *run) whoStores(ctx context.Context, s int) (holder int, chief bool, err error) {
	list, err := r.store().List()
	if err != nil {
		return 0, false, err
	}
	there := slices.ContainsFunc(list, func(l checkpoint.Listed) bool {
		return l.Err == nil && l.Manifest.Step == s && l.Manifest.Matches(r.identity) == nil
	})
	all, err := r.team.Gather(ctx, "who has a checkpoint", encoded(there))
	if err != nil {
		return 0, false, err
	}
	holder = -1
	for w, raw := range all {
		if err := decoded(raw, &there); err != nil {
			return 0, false, err
		}
		if there && holder < 0 {
			holder = w
		}
		chief = chief || there && w == 0
	}
	return holder, chief, nil
}

// keepLast makes sure that memory and the chief's disk hold what training came to:
// what follows changes it.
func (r *run) keepLast(ctx context.Context) error {
	if r.remembers() {
		if err := r.buddies.flush(ctx); err != nil {
			return err
		}
		var err error
		if r.ended, err = r.points(ctx); err != nil {
			return err
		}
	}
	if err := r.awaitSave(ctx); err != nil {
		return err
	}
	_, there, err := r.whoStores(ctx, r.state.Step)
	if err != nil || there {
		return err
	}
	metrics := map[string]float64{}
	if r.state.Best == r.state.Step {
		metrics[scoreMetric] = r.state.BestScore
	}
	return r.checkpoint(ctx, r.state.Step, metrics, true)
}

// pastSteps returns what the steps up to last did, from the event log or from
// memory, whichever knows more.
func (r *run) pastSteps(last int) []api.Step {
	var out []api.Step
	if r.team.Chief() {
		out = pastSteps(r.folder.path(eventsFile), last)
	}
	for _, known := range [][]api.Step{r.steps, r.Memory.past()} {
		var upTo []api.Step
		for _, s := range known {
			if s.Step <= last {
				upTo = append(upTo, s)
			}
		}
		if len(upTo) > len(out) {
			out = upTo
		}
	}
	return out
}

// pastSteps reads from the event log what the steps up to last did, for the
// picture. Lines that a crash cut short are passed over, and of a step that was
// repeated the later one counts.
func pastSteps(path string, last int) []api.Step {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	byStep := make(map[int]api.Step, last)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20) // the sparsity of a large model's layers is one line
	for lines.Scan() {
		var e api.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Step != nil && e.Step.Step <= last {
			byStep[e.Step.Step] = *e.Step
		}
	}
	var out []api.Step
	for s := 1; s <= last; s++ {
		if x, ok := byStep[s]; ok {
			out = append(out, x)
		}
	}
	return out
}
