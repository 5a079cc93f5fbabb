package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint"
	"ressa/trainer/checkpoint/objects"
)

// outside reports whether the job names a store outside the nodes.
func (r *run) outside() bool { return r.job.Train.Store != api.NodesStore }

// openStore opens the store that the job names. Every worker of a run that begins
// tries it: any of them may be the chief of a later generation. A run that goes on
// does without a store that is away for a while.
func (r *run) openStore(ctx context.Context) error {
	if !r.outside() {
		return nil
	}
	failed := func(err error) error { return fmt.Errorf("train.checkpoint_store: %s: %w", r.job.Train.Store, err) }
	s, err := api.ParseCheckpointStore(r.job.Train.Store)
	if err != nil {
		return failed(err)
	}
	if r.objects, err = objects.Open(ctx, s); err != nil {
		return failed(err)
	}
	if r.resumed || r.Generation > 1 {
		return nil
	}
	probe := checkpoint.Archive{Objects: r.objects, Patience: checkpoint.DefaultPatience()}
	probe.Patience.Attempts = 2
	if err := probe.Check(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return failed(err)
	}
	return nil
}

// archive is the job's part of the store.
func (r *run) archive() *checkpoint.Archive {
	return &checkpoint.Archive{Objects: r.objects, Folder: checkpoint.ArchiveFolder(r.identity), Retention: r.store().Retention, Patience: checkpoint.DefaultPatience()}
}

// shipment is a checkpoint of the chief's disk that goes to the store.
type shipment struct {
	manifest checkpoint.Manifest
	nodes    []string // whose disks hold it
	saved    bool     // in the store
	err      error
}

// shipping sends checkpoints to the store beside training, one at a time. Only the
// newest waits for its turn: a store that is slower than training gets fewer.
type shipping struct {
	stop context.CancelFunc
	done chan struct{} // closed when nothing is on its way any more

	mu    sync.Mutex
	next  *shipment
	ended []shipment
}

// ship sends a checkpoint on its way to the store.
func (r *run) ship(ctx context.Context, m checkpoint.Manifest, nodes []string) {
	next := &shipment{manifest: m, nodes: nodes}
	if s := r.shipping; s != nil && s.queue(next) {
		return
	}
	r.pollShipments()
	s := &shipping{next: next, done: make(chan struct{})}
	ctx, s.stop = context.WithCancel(ctx)
	archive, store := r.archive(), r.store()
	go s.run(ctx, func(ctx context.Context, x *shipment) { x.saved, x.err = archive.Save(ctx, store, x.manifest) })
	r.shipping = s
}

// queue lets a shipment wait, where one is on its way.
func (s *shipping) queue(x *shipment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return false
	default:
	}
	if old := s.next; old != nil {
		old.err = errors.New("an older one was still on its way")
		s.ended = append(s.ended, *old)
	}
	s.next = x
	return true
}

func (s *shipping) run(ctx context.Context, send func(context.Context, *shipment)) {
	defer s.stop()
	for {
		s.mu.Lock()
		x := s.next
		s.next = nil
		if x == nil {
			close(s.done)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		send(ctx, x)
		s.mu.Lock()
		s.ended = append(s.ended, *x)
		s.mu.Unlock()
	}
}

// pollShipments takes in what has arrived.
func (r *run) pollShipments() {
	s := r.shipping
	if s == nil {
		return
	}
	s.mu.Lock()
	ended := s.ended
	s.ended = nil
	s.mu.Unlock()
	for _, x := range ended {
		r.arrived(x)
	}
}

// lastShipment bounds how long the end of a job waits for its last checkpoint to be
// in the store: nothing depends on it any more but other runs of the same job.
const lastShipment = time.Minute

// awaitShipments waits for what is on its way to the store.
func (r *run) awaitShipments() {
	s := r.shipping
	if s == nil {
		return
	}
	late := time.AfterFunc(lastShipment, s.stop)
	defer late.Stop()
	<-s.done // ends with the context that it was begun in
	r.pollShipments()
}

// arrived tells how a shipment ended. A store that cannot be reached costs the
// checkpoint there, not training.
func (r *run) arrived(s shipment) {
	p := api.Published{Generation: s.manifest.Generation, Step: s.manifest.Step, SHA256: s.manifest.Checksum, Nodes: s.nodes}
	if s.saved {
		p.Store = r.job.Train.Store
	}
	if s.err != nil {
		said := fmt.Sprintf("checkpoint of step %d: %s: %v", s.manifest.Step, r.job.Train.Store, s.err)
		if !s.saved {
			said = "training goes on, " + said
		}
		r.Log.Warn("a checkpoint is not in the store", "error", s.err)
		r.emit(api.Event{Event: "note", Message: said})
	}
	if r.Publish != nil {
		r.Publish(p)
	}
}

// closeStore gives up what is on its way to the store, and closes it.
func (r *run) closeStore() {
	if s := r.shipping; s != nil {
		s.mu.Lock()
		s.next = nil
		s.mu.Unlock()
		s.stop()
		<-s.done
		r.shipping = nil
	}
	if r.objects != nil {
		_ = r.objects.Close()
		r.objects = nil
	}
}

// fromStore brings what only the store has to the chief's disk: the newest
// checkpoint, where it is newer than all that memories and disks hold, or the best
// one of a state that a memory holds.
func (r *run) fromStore(ctx context.Context, disk int, stored []int) (brought bool, err error) {
	raw, err := r.team.Gather(ctx, "what is nearer than the store", encoded(r.says(disk, stored)))
	if err != nil || !r.team.Chief() {
		return false, err
	}
	all := make([]memories, len(raw))
	for w := range raw {
		if err := decoded(raw[w], &all[w]); err != nil {
			return false, err
		}
	}
	_, nearest := onDisk(all)
	inMemory, seen := newest(all).Steps, 0
	for _, m := range all {
		seen = max(seen, m.Seen)
	}
	nearest = max(nearest, inMemory)
	archive := r.archive()
	if nearest > 0 { // recovery does not wait for a store that is away
		archive.Patience.Attempts, archive.Patience.Request = 2, 3*time.Second
	}
	began, steps := r.Now(), 0
	if inMemory == 0 || inMemory < seen-1 { // else the store has nothing newer
		var skipped []checkpoint.Skipped
		steps, skipped, err = archive.Newest(ctx, r.store(), nearest, r.Generation)
		r.report(skipped)
	}
	for _, best := range bestElsewhere(all, max(nearest, steps)) {
		if err != nil {
			break
		}
		if err = archive.Fetch(ctx, r.store(), best, r.Generation); err == nil {
			brought = true
		} else if errors.Is(err, checkpoint.ErrNone) {
			err = nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil && nearest > 0: // there is something to go on from
		r.emit(api.Event{Event: "note", Message: fmt.Sprintf("%s not asked for a newer checkpoint: %v", r.job.Train.Store, err)})
	case err != nil:
		return false, fmt.Errorf("checkpoints in %s: %w", r.job.Train.Store, err)
	}
	if steps > 0 {
		r.emit(api.Event{Event: "note", Message: fmt.Sprintf("took the checkpoint of step %d from %s in %v", steps, r.job.Train.Store, r.Now().Sub(began).Round(time.Millisecond))})
	}
	return brought || steps > 0, nil
}

// bestElsewhere are the best validated steps of points beyond so many steps that no
// disk holds.
func bestElsewhere(all []memories, beyond int) []int {
	var out []int
	for _, m := range all {
		for _, p := range m.Points {
			if b := p.Mark.Best; p.Mark.Steps > beyond && b > 0 && !slices.Contains(out, b) &&
				!slices.ContainsFunc(all, func(m memories) bool { return slices.Contains(m.Stored, b) }) {
				out = append(out, b)
			}
		}
	}
	return out
}
