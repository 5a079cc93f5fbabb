package job

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/export"
	"ressa/trainer/model"
	"ressa/trainer/step"
)

// export writes the merged checkpoint and takes its figures into the result. In a
// team the chief does it alone, from the checkpoint that training ended with: it
// opens the stages that it does not hold, so its node must have the memory for the
// whole model, without what training needs.
func (r *run) export(ctx context.Context) error {
	if !r.team.Chief() {
		return nil
	}
	out := r.folder.path("output")
	r.enter("export", out)
	whole := r
	if !r.team.Alone() {
		r.release()
		r.leave()
		var err error
		if whole, err = r.alone(ctx); err != nil {
			return err
		}
		defer whole.close()
	}
	spec := whole.target(out)
	spec.Overwrite = true
	done, err := export.Write(ctx, spec)
	if err != nil {
		return err
	}
	r.result.Output, r.result.RoundedAway = out, done.Merge.Lost()
	if whole.engine != nil {
		r.result.AdapterSHA256, err = whole.trainedHash(ctx)
	}
	r.emit(api.Event{Event: "note", Message: "exported " + out + ", content hash " + done.Hash})
	return err
}

// alone opens the run as a team of one would have it by now.
func (r *run) alone(ctx context.Context) (*run, error) {
	o := r.Options
	o.Team, o.Emit, o.Progress = nil, func(api.Event) {}, nil
	w := &run{Options: o, job: r.job, folder: r.folder, state: &state{Scores: map[string]*api.Score{}}, started: r.started}
	if _, err := w.reopen(ctx, ExportSpec{Step: r.taken}); err != nil {
		w.close()
		return nil, err
	}
	if w.identity.Base != r.identity.Base {
		w.close()
		return nil, fmt.Errorf("export: the base of the whole model is %s, that of the team's stages %s", w.identity.Base, r.identity.Base)
	}
	return w, nil
}

// target is the export of the run's model, as it is trained by now, to dir. All
// stages are held.
func (r *run) target(dir string) export.Spec {
	spec := r.subject.target(dir, r.job.Model.Path, exportDType(r.job))
	spec.Masks = r.masks
	first := r.trained()[0]
	for _, t := range r.subject.towers() {
		tower := export.Tower{Tower: t.Tower, Lane: first[t.stage], Pattern: r.patterns[t.role]}
		if len(r.attachments) > 0 {
			tower.Attachment = r.attachments[t.stage]
		}
		spec.Towers = append(spec.Towers, tower)
	}
	return spec
}

// trainedHash is the SHA-256 of everything that was trained, by name in canonical
// order: what two runs are compared by, whatever the method.
func (r *run) trainedHash(ctx context.Context) (string, error) {
	h := sha256.New()
	for node := range r.attachments {
		v := r.engine.Vector(node)
		host, err := step.ReadVector(ctx, r.probes[0].Stream, v.Values)
		if err != nil {
			return "", err
		}
		for _, s := range v.Layout.Slots {
			hashSlot(h.Write, s, host)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashSlot feeds a slot's name, shape and values, little-endian, to a hash,
// whose Write never fails.
func hashSlot(write func([]byte) (int, error), s *model.Slot, host []float32) {
	raw := append([]byte(s.Name), 0)
	raw = binary.LittleEndian.AppendUint64(raw, uint64(s.Rows))
	raw = binary.LittleEndian.AppendUint64(raw, uint64(s.Cols))
	_, _ = write(append(raw, kernels.EncodeF32(host[s.Offset:s.Offset+s.Len()])...))
}
