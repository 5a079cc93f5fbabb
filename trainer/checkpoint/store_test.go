package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/trainer/checkpoint/durable"
	"ressa/trainer/checkpoint/safetensors"
)

func identity() Identity {
	return Identity{Job: "j1", Config: "c1", Base: "b1", NumericKind: "cpu-generic/1"}
}

// snapshot returns a state whose tensors depend on the step.
func snapshot(step int) Snapshot {
	data := make([]byte, 4*6)
	for i := range 6 {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(step)+float32(i)/8))
	}
	values := safetensors.Tensor{DType: safetensors.F32, Shape: []int{2, 3}, Data: data}
	return Snapshot{
		Identity: identity(), Seed: math.MaxUint64, Step: step, Generation: 1,
		CreatedAt: time.Date(2020, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600)),
		Tensors:   []safetensors.Entry{safetensors.NewEntry("language/m", values), safetensors.NewEntry("language/values", values)},
		Metrics:   map[string]float64{"loss": 1 / float64(step+1), "accuracy": 0.1},
	}
}

func save(t *testing.T, s *Store, snapshots ...Snapshot) []Manifest {
	t.Helper()
	var ms []Manifest
	for _, snap := range snapshots {
		m, err := s.Save(context.Background(), snap)
		if err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	return ms
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestSaveAndLoad(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "new", "store")}
	saved := save(t, s, snapshot(10), snapshot(20))
	c, skipped, err := s.Latest(context.Background(), identity())
	if err != nil || len(skipped) != 0 {
		t.Fatal(err, skipped)
	}
	defer c.Close()
	if c.Step != 20 || c.Seed != math.MaxUint64 || c.Metrics["loss"] != 1.0/21 || c.Identity != identity() ||
		!c.CreatedAt.Equal(snapshot(20).CreatedAt) || c.SHA256 != saved[1].SHA256 || c.Checksum != saved[1].Checksum {
		t.Errorf("loaded %+v, saved %+v", c.Manifest, saved[1])
	}
	if got := c.Names(); !slices.Equal(got, []string{"language/m", "language/values"}) {
		t.Errorf("names %q", got)
	}
	v, err := c.Tensor("language/values")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Float32(); err != nil || !slices.Equal(got, []float32{20, 20.125, 20.25, 20.375, 20.5, 20.625}) || !slices.Equal(v.Shape, []int{2, 3}) {
		t.Errorf("values %v %v %v", v.Shape, got, err)
	}
	earlier, err := s.Load(context.Background(), 10, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	defer earlier.Close()
	if earlier.Step != 10 {
		t.Errorf("step %d", earlier.Step)
	}
	if _, err := s.Load(context.Background(), 15, Identity{}); !errors.Is(err, ErrNone) {
		t.Errorf("step 15: %v, want ErrNone", err)
	}
}

func TestEmptyStore(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, _, err := (&Store{Dir: dir}).Latest(context.Background(), identity()); !errors.Is(err, ErrNone) {
			t.Errorf("error %v, want ErrNone", err)
		}
	}
}

func TestSameStateSameBytes(t *testing.T) {
	a, b := &Store{Dir: t.TempDir()}, &Store{Dir: t.TempDir()}
	other := snapshot(10)
	slices.Reverse(other.Tensors)
	x, y := save(t, a, snapshot(10))[0], save(t, b, other)[0]
	if x.Checksum != y.Checksum || !slices.Equal(files(t, a.Dir), files(t, b.Dir)) {
		t.Errorf("%+v and %+v differ", x, y)
	}
	// Another generation comes to the same state: one blob, two manifests.
	other.Generation, other.NumericKind = 2, "cpu-generic/1"
	if z := save(t, b, other)[0]; z.Blob != x.Blob || len(files(t, b.Dir)) != 3 {
		t.Errorf("blob %s, want %s; files %q", z.Blob, x.Blob, files(t, b.Dir))
	}
	if c, err := b.Load(context.Background(), 10, Identity{}); err != nil || c.Generation != 2 {
		t.Errorf("loaded %v, want generation 2", err)
	} else if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestOtherJobIsRefused(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	save(t, s, snapshot(10))
	cases := []struct {
		field  string
		change func(*Identity)
		want   error
		saves  bool
	}{
		{"job: found", func(id *Identity) { id.Job = "j2" }, ErrOtherJob, false},
		{"job configuration", func(id *Identity) { id.Config = "c2" }, ErrOtherJob, false},
		{"base", func(id *Identity) { id.Base = "b2" }, ErrOtherJob, false},
		{"numeric kind", func(id *Identity) { id.NumericKind = "cuda-sm90/1" }, ErrOtherKind, true},
	}
	for _, c := range cases {
		want := identity()
		c.change(&want)
		_, _, latest := s.Latest(context.Background(), want)
		_, load := s.Load(context.Background(), 10, want)
		for _, err := range []error{latest, load} {
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.field) || !strings.Contains(err.Error(), "expected") {
				t.Errorf("%s: error %v, want %v", c.field, err, c.want)
			}
		}
		snap := snapshot(11)
		snap.Identity = want
		before := files(t, s.Dir)
		if _, err := s.Save(context.Background(), snap); (err == nil) != c.saves || !c.saves && !errors.Is(err, c.want) {
			t.Errorf("%s: Save gives %v", c.field, err)
		}
		if !c.saves && !slices.Equal(before, files(t, s.Dir)) {
			t.Errorf("%s: a refused Save left %q", c.field, files(t, s.Dir))
		}
	}
}

func TestStaleGenerationIsRefused(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	newer := snapshot(10)
	newer.Generation = 3
	save(t, s, newer)
	if _, err := s.Save(context.Background(), snapshot(20)); !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "found generation 3") {
		t.Errorf("error %v, want ErrStale", err)
	}
}

func TestBadSnapshotsAreRefused(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Snapshot)
		want   string
	}{
		{"step", func(s *Snapshot) { s.Step = -1 }, "step: found -1"},
		{"generation", func(s *Snapshot) { s.Generation = -1 }, "generation: found -1"},
		{"no job", func(s *Snapshot) { s.Job = "" }, "job: found nothing"},
		{"NaN metric", func(s *Snapshot) { s.Metrics["loss"] = math.NaN() }, `metrics: "loss": found NaN`},
		{"dtype", func(s *Snapshot) { s.Tensors[0].DType = safetensors.BF16 }, `tensor "language/m": found BF16, expected F32`},
		{"short source", func(s *Snapshot) { s.Tensors[1].Shape = []int{7} }, `tensor "language/values": its source gave 24 bytes`},
		{"year", func(s *Snapshot) { s.CreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "year"},
	}
	for _, c := range cases {
		s := &Store{Dir: t.TempDir()}
		snap := snapshot(10)
		c.change(&snap)
		if _, err := s.Save(context.Background(), snap); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if left := files(t, s.Dir); len(left) != 0 {
			t.Errorf("%s: left %q", c.name, left)
		}
	}
}

func TestOneWriterAtATime(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	unlock, err := lock(context.Background(), s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Millisecond)
	defer cancel()
	if _, err := s.Save(ctx, snapshot(1)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v, want a wait for the other writer", err)
	}
	unlock()
	save(t, s, snapshot(1))
}

// failing is a file on a disk that fills up after some bytes.
type failing struct {
	pending
	left *int
	err  error
}

func (f failing) Write(p []byte) (int, error) {
	if *f.left -= len(p); *f.left < 0 {
		return 0, f.err
	}
	return f.pending.Write(p)
}

func TestFullDiskLeavesTheStoreAsItWas(t *testing.T) {
	full := errors.New("no space left on device")
	base := &Store{Dir: t.TempDir()}
	save(t, base, snapshot(10))
	before := files(t, base.Dir)
	succeeded := false
	for space := 0; !succeeded; space += 97 { // each time the write fails further on
		left := space
		s := &Store{Dir: base.Dir, create: func(dir string) (pending, error) {
			f, err := durable.Create(dir)
			return failing{f, &left, full}, err
		}}
		if _, err := s.Save(context.Background(), snapshot(20)); err == nil {
			succeeded = true
		} else if !errors.Is(err, full) {
			t.Fatal(err)
		} else if got := files(t, base.Dir); !slices.Equal(got, before) {
			t.Fatalf("with room for %d bytes: left %q, want %q", space, got, before)
		}
	}
	if got := files(t, base.Dir); len(got) != len(before)+2 {
		t.Errorf("files %q", got)
	}
}

// broken is a file that cannot be committed.
type broken struct{ pending }

func (broken) Commit(string) error { return io.ErrUnexpectedEOF }

func TestFailedCommitLeavesTheStoreAsItWas(t *testing.T) {
	for fails := range 2 { // the blob, then the manifest
		n := 0
		s := &Store{Dir: t.TempDir(), create: func(dir string) (pending, error) {
			f, err := durable.Create(dir)
			if n++; n == fails+1 {
				return broken{f}, err
			}
			return f, err
		}}
		if _, err := s.Save(context.Background(), snapshot(1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v", err)
		}
		if left := files(t, s.Dir); len(left) != 0 {
			t.Errorf("left %q", left)
		}
	}
}
