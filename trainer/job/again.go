package job

import (
	"context"
	"errors"
	"fmt"
	"os"

	"ressa/coordinator/api"
	"ressa/trainer/adapter"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/export"
)

// ExportSpec says what [Export] writes of a run.
type ExportSpec struct {
	Dir         string // where the folder appears; must be empty or missing
	Step        int    // of the checkpoint; 0 is the newest
	Best        bool   // the checkpoint with the best validation score instead
	AdapterOnly bool   // the adapter in PEFT's layout instead of the merged model
}

// Exported tells what [Export] wrote.
type Exported struct {
	Dir           string
	Step          int    // of the checkpoint
	Hash          string // of the weights; empty for an adapter alone
	AdapterSHA256 string // of everything that was trained, as in a result
}

// Export writes what the run in o.Dir had trained at one of its checkpoints. It
// leaves the run as it is; o.Replace and o.Emit are not used.
func Export(ctx context.Context, o Options, s ExportSpec) (Exported, error) {
	if _, err := os.Stat(o.Dir); err != nil {
		return Exported{}, api.Invalid(fmt.Errorf("no run to export: %w", err))
	}
	f, err := claim(o.Dir)
	if err != nil {
		return Exported{}, api.Invalid(err)
	}
	defer f.release()
	j, err := f.readJob()
	if err != nil {
		return Exported{}, err
	}
	o.Emit = func(api.Event) {}
	r := &run{Options: o, job: j, folder: f, state: &state{Scores: map[string]*api.Score{}}, started: o.Now()}
	defer r.close()
	list, err := r.store().List()
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: %w", r.Dir, checkpoint.ErrNone)
	}
	if err != nil {
		return Exported{}, api.Invalid(err)
	}
	at, err := r.reopen(ctx, s)
	if err != nil {
		return Exported{}, api.Invalid(err)
	}
	out := Exported{Dir: s.Dir, Step: at}
	if out.AdapterSHA256, err = r.trainedHash(ctx); err != nil {
		return out, err
	}
	if s.AdapterOnly {
		return out, r.writeAdapter(ctx, s.Dir)
	}
	done, err := export.Write(ctx, r.target(s.Dir))
	out.Hash = done.Hash
	return out, err
}

// reopen brings the run to where one of its checkpoints was written, all of the
// model in this process, and returns the checkpoint's step. A run that trains
// nothing has none.
func (r *run) reopen(ctx context.Context, s ExportSpec) (int, error) {
	var err error
	if r.identity, err = r.identify(); err != nil {
		return 0, err
	}
	if err := r.openModel(ctx); err != nil {
		return 0, err
	}
	if r.job.Prune.Method != "none" {
		if _, err := os.Stat(r.masksPath()); r.job.Prune.Masks == "" && err != nil {
			return 0, fmt.Errorf("the run's masks: %w", err)
		}
		if err := r.prune(ctx); err != nil {
			return 0, err
		}
	}
	if err := r.base(ctx); err != nil || r.job.Train.Steps == 0 {
		return 0, err
	}
	if err := r.attach(ctx); err != nil {
		return 0, err
	}
	c, err := r.choose(ctx, s)
	if err != nil {
		return 0, err
	}
	at := c.Manifest.Step
	if err := r.load(ctx, c, at); err != nil {
		return 0, err
	}
	return at, r.roundTrained(ctx)
}

func (r *run) choose(ctx context.Context, s ExportSpec) (c *checkpoint.Checkpoint, err error) {
	store := r.store()
	switch {
	case s.Best:
		if r.job.Train.ValidateEvery == 0 {
			return nil, errors.New("the job did not validate: no checkpoint is the best")
		}
		c, _, err = store.Best(ctx, r.identity)
	case s.Step > 0:
		c, err = store.Load(ctx, s.Step, r.identity)
	default:
		c, _, err = store.Latest(ctx, r.identity)
	}
	return c, err
}

// writeAdapter writes the adapters of both towers to a folder of their own.
func (r *run) writeAdapter(ctx context.Context, dir string) error {
	if !r.attachments[0].Options.Method.LowRank() {
		return api.Invalid(fmt.Errorf("adapter.method: the job trained %q, which has no adapter to write", r.job.Adapter.Method))
	}
	target := r.target(dir)
	var parts []adapter.Part
	for _, t := range target.Towers {
		parts = append(parts, adapter.Part{Attachment: t.Attachment, Lane: t.Lane})
	}
	d, err := durable.CreateDir(dir)
	if err != nil {
		return err
	}
	defer d.Discard()
	if _, err := adapter.WritePEFT(ctx, d.Path, r.job.Model.Path, parts); err != nil {
		return err
	}
	if _, err := adapter.ReadPEFT(d.Path); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return d.Commit(false)
}
