package job

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/trainer/export"
	"ressa/trainer/model"
	"ressa/trainer/step"
)

// export writes the merged checkpoint and takes its figures into the result.
func (r *run) export(ctx context.Context) error {
	out := r.folder.path("output")
	r.enter("export", out)
	spec := r.target(out)
	spec.Overwrite = true
	done, err := export.Write(ctx, spec)
	if err != nil {
		return err
	}
	r.result.Output, r.result.RoundedAway = out, done.Merge.Lost()
	if r.engine != nil {
		r.result.AdapterSHA256, err = r.trainedHash(ctx)
	}
	r.emit(api.Event{Event: "note", Message: "exported " + out + ", content hash " + done.Hash})
	return err
}

// target is the export of the run's model, as it is trained by now, to dir.
func (r *run) target(dir string) export.Spec {
	spec := r.subject.target(dir, r.job.Model.Path, exportDType(r.job))
	spec.Masks = r.masks
	first := r.trained()[0]
	lanes := []*model.Lane{first.Vision, first.Language}
	for i, t := range r.subject.towers() {
		tower := export.Tower{Tower: t.Tower, Lane: lanes[i], Pattern: r.patterns[t.role]}
		if len(r.attachments) > 0 {
			tower.Attachment = r.attachments[i]
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
