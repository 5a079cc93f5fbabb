package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint/objects"
	"ressa/trainer/checkpoint/objects/objectstest"
	"ressa/trainer/checkpoint/safetensors"
)

// place is a store that archives are tested on.
type place struct {
	objects.Store
	stop, start func()
}

// places are all kinds of stores. Short tests leave out the S3 server, which has to
// be built.
func places(t *testing.T) map[string]place {
	t.Helper()
	dir := objectstest.NewDirectory(t)
	jet := objectstest.StartJetStream(t, 1)
	out := map[string]place{
		"directory": {open(t, dir.URL()), dir.Stop, dir.Start},
		"jetstream": {open(t, jet.URL()), jet.Stop, jet.Start},
	}
	if !testing.Short() {
		s3 := objectstest.StartS3(t, t.Setenv)
		out["s3"] = place{open(t, s3.URL()), s3.Stop, s3.Start}
	}
	return out
}

func open(t *testing.T, url string) objects.Store {
	t.Helper()
	s, err := api.ParseCheckpointStore(url)
	if err != nil {
		t.Fatal(err)
	}
	store, err := objects.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// scene is an archive of a job of its own, with the disk of a chief.
type scene struct {
	*testing.T
	place
	Archive
	disk *Store
	id   Identity
}

func newScene(t *testing.T, p place) *scene {
	s := &scene{T: t, place: p, disk: &Store{Dir: t.TempDir()}, id: identity()}
	s.id.Job = strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())
	s.Archive = Archive{Objects: p.Store, Folder: ArchiveFolder(s.id), Patience: Patience{Attempts: 3, Pause: 20 * time.Millisecond, Request: 3 * time.Second, Rate: 4 << 20}}
	return s
}

// take makes a checkpoint on the disk.
func (s *scene) take(step, generation int) Manifest {
	s.Helper()
	snap := snapshot(step)
	snap.Identity, snap.Generation = s.id, generation
	return save(s.T, s.disk, snap)[0]
}

// saves takes checkpoints and puts them into the archive.
func (s *scene) saves(steps ...int) (out []Manifest) {
	s.Helper()
	for _, step := range steps {
		m := s.take(step, 1)
		if saved, err := s.Save(s.Context(), s.disk, m); !saved || err != nil {
			s.Fatalf("step %d: saved %v, %v", step, saved, err)
		}
		out = append(out, m)
	}
	return out
}

// newest brings the newest checkpoint to an empty disk and returns its step, the
// disk, and how many it passed over.
func (s *scene) newest() (steps int, disk *Store, skipped []Skipped) {
	s.Helper()
	disk = &Store{Dir: filepath.Join(s.TempDir(), "fresh")}
	steps, skipped, err := s.Newest(s.Context(), disk, 0, 7)
	if err != nil {
		s.Fatal(err)
	}
	if steps > 0 {
		c, passed, err := disk.Latest(s.Context(), s.id)
		if err != nil || len(passed) > 0 || c.Step != steps || c.Generation != 7 {
			s.Fatalf("the disk has %+v, %v, %v, want step %d of generation 7", c, passed, err, steps)
		}
		if err := c.Close(); err != nil {
			s.Error(err)
		}
	}
	return steps, disk, skipped
}

// there are the names in the archive.
func (s *scene) there() (names []string) {
	s.Helper()
	list, err := s.Store.List(s.Context(), s.Folder)
	if err != nil {
		s.Fatal(err)
	}
	for _, o := range list {
		names = append(names, strings.TrimPrefix(o.Name, s.Folder+"/"))
	}
	slices.Sort(names)
	return names
}

// change replaces what an object holds.
func (s *scene) change(file string, by func([]byte) []byte) {
	s.Helper()
	body, err := s.Store.Get(s.Context(), s.name(file))
	if err != nil {
		s.Fatal(err)
	}
	raw, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		s.Fatal(err)
	}
	s.write(file, by(raw))
}

func (s *scene) write(file string, raw []byte) {
	s.Helper()
	if err := s.Store.Put(s.Context(), s.name(file), io.NewSectionReader(strings.NewReader(string(raw)), 0, int64(len(raw)))); err != nil {
		s.Fatal(err)
	}
}

// archives run on every place.
var archives = map[string]func(s *scene){
	"save and bring back": func(s *scene) {
		if steps, _, skipped := s.newest(); steps != 0 || len(skipped) != 0 {
			s.Errorf("an empty archive has step %d, %v", steps, skipped)
		}
		if err := s.Fetch(s.Context(), s.disk, 10, 1); !errors.Is(err, ErrNone) {
			s.Errorf("fetch from an empty archive: %v", err)
		}
		ms := s.saves(10, 20)
		steps, disk, skipped := s.newest()
		if steps != 20 || len(skipped) != 0 || len(files(s.T, disk.Dir)) != 2 {
			s.Errorf("step %d, %v, files %q", steps, skipped, files(s.T, disk.Dir))
		}
		if got, err := os.ReadFile(filepath.Join(disk.Dir, ms[1].Blob)); err != nil || len(got) != int(ms[1].Bytes) {
			s.Error(err)
		}
		if steps, _, err := s.Newest(s.Context(), disk, 20, 1); steps != 0 || err != nil {
			s.Errorf("newer than the newest: %d, %v", steps, err)
		}
		if err := s.Fetch(s.Context(), disk, 10, 7); err != nil || len(files(s.T, disk.Dir)) != 4 {
			s.Errorf("%v, files %q", err, files(s.T, disk.Dir))
		}
	},
	"check leaves nothing": func(s *scene) {
		if err := s.Check(s.Context()); err != nil {
			s.Fatal(err)
		}
		if left, err := s.Store.List(s.Context(), "ressa-probe"); err != nil || len(left) != 0 {
			s.Errorf("left %v, %v", left, err)
		}
	},
	"bit flip in a blob": func(s *scene) {
		ms := s.saves(10, 20)
		s.change(ms[1].Blob, func(b []byte) []byte { b[len(b)-3] ^= 4; return b })
		s.passesOver("found SHA-256")
	},
	"another blob under the name": func(s *scene) {
		ms := s.saves(10, 20)
		s.change(ms[1].Blob, func(b []byte) []byte { return make([]byte, len(b)) })
		s.passesOver("found SHA-256")
	},
	"blob that is cut": func(s *scene) {
		ms := s.saves(10, 20)
		s.change(ms[1].Blob, func(b []byte) []byte { return b[:len(b)/2] })
		s.passesOver("found SHA-256")
	},
	"blob that is too long": func(s *scene) {
		ms := s.saves(10, 20)
		s.change(ms[1].Blob, func(b []byte) []byte { return append(b, 0) })
		s.passesOver("found SHA-256")
	},
	"blob that is missing": func(s *scene) {
		ms := s.saves(10, 20)
		if err := s.Delete(s.Context(), s.name(ms[1].Blob)); err != nil {
			s.Fatal(err)
		}
		s.passesOver("is missing")
	},
	"torn manifest": func(s *scene) {
		ms := s.saves(10, 20)
		s.change(ms[1].archived(), func(b []byte) []byte { return b[:len(b)/2] })
		s.passesOver("manifest")
	},
	"bit flip in a manifest": func(s *scene) {
		ms := s.saves(10, 20)
		s.change(ms[1].archived(), func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"accuracy": 0.1`, `"accuracy": 0.3`, 1))
		})
		s.passesOver("checksum")
	},
	"manifest of another job": func(s *scene) {
		s.saves(10)
		other := s.take(20, 1)
		other.Config = "c2"
		text, err := other.encode()
		if err != nil {
			s.Fatal(err)
		}
		s.write(other.archived(), text)
		s.passesOver("another job")
	},
	"nothing whole": func(s *scene) {
		m := s.saves(10)[0]
		s.change(m.Blob, func(b []byte) []byte { return b[1:] })
		if steps, _, skipped := s.newest(); steps != 0 || len(skipped) != 1 {
			s.Errorf("step %d, %v", steps, skipped)
		}
	},
	"retention": func(s *scene) {
		s.Retention = Retention{Last: 2, BestBy: "loss"} // falls with the step: the best is the newest
		s.saves(10, 20, 30, 40)
		if got := s.there(); len(got) != 4 || !strings.HasPrefix(got[len(got)-2], "step-0000000030.") {
			s.Errorf("kept %q", got)
		}
		s.Retention.Higher = true // now the best is the oldest
		s.saves(50, 60)
		if got := s.there(); len(got) != 6 || !strings.HasPrefix(got[len(got)-3], "step-0000000030.") {
			s.Errorf("kept %q, want steps 30, 50 and 60", got)
		}
		steps, disk, _ := s.newest()
		best, _, err := (&Store{Dir: disk.Dir, Retention: s.Retention}).Best(s.Context(), s.id)
		if steps != 60 || err != nil || best.Step != 30 {
			s.Fatalf("step %d, best %+v, %v", steps, best, err)
		}
		if err := best.Close(); err != nil {
			s.Error(err)
		}
	},
	"retention keeps what others are about to name": func(s *scene) {
		s.Retention = Retention{Last: 1}
		about := strings.Repeat("ab", 32) + ".safetensors"
		s.write(about, []byte("half"))
		s.write("notes.txt", []byte("of somebody"))
		ms := s.saves(10, 20)
		if got := s.there(); !slices.Equal(got, sorted(about, "notes.txt", ms[1].Blob, ms[1].archived())) {
			s.Errorf("left %q", got)
		}
	},
	"retention leaves damaged manifests and their blobs": func(s *scene) {
		s.Retention = Retention{Last: 1}
		m := s.saves(10)[0]
		s.change(m.archived(), func(b []byte) []byte { return b[:9] })
		last := s.saves(20, 30)[1]
		if got := s.there(); !slices.Equal(got, sorted(m.Blob, m.archived(), last.Blob, last.archived())) {
			s.Errorf("left %q", got)
		}
	},
	"two jobs": func(s *scene) {
		s.Retention = Retention{Last: 1}
		other := newScene(s.T, s.place)
		other.id.Config = "c2"
		other.Folder = ArchiveFolder(other.id)
		theirs := other.saves(50)
		s.saves(10, 20)
		if steps, _, skipped := s.newest(); steps != 20 || len(skipped) != 0 {
			s.Errorf("step %d, %v", steps, skipped)
		}
		if got := other.there(); !slices.Equal(got, sorted(theirs[0].Blob, theirs[0].archived())) {
			s.Errorf("the other job has %q", got)
		}
	},
	"an older generation writes late": func(s *scene) {
		s.Retention = Retention{Last: 2}
		late := s.take(10, 1)
		same := s.take(20, 1)
		old := s.disk
		s.disk = &Store{Dir: s.TempDir()}
		for _, step := range []int{20, 30} {
			if _, err := s.Save(s.Context(), s.disk, s.take(step, 2)); err != nil {
				s.Fatal(err)
			}
		}
		newer := s.there()
		for _, m := range []Manifest{late, same} {
			if saved, err := s.Save(s.Context(), old, m); !saved || err != nil {
				s.Errorf("the late write: %v, %v", saved, err)
			}
		}
		for _, name := range newer {
			if !slices.Contains(s.there(), name) && !strings.Contains(name, "step-0000000020") {
				s.Errorf("%s is gone", name)
			}
		}
		if steps, _, skipped := s.newest(); steps != 30 || len(skipped) != 0 {
			s.Errorf("step %d, %v", steps, skipped)
		}
		if err := s.Fetch(s.Context(), &Store{Dir: s.TempDir()}, 20, 1); err != nil {
			s.Error(err)
		}
	},
	"a blob that nobody named is written again": func(s *scene) {
		m := s.take(10, 1)
		s.write(m.Blob, make([]byte, m.Bytes)) // of the right size
		if saved, err := s.Save(s.Context(), s.disk, m); !saved || err != nil {
			s.Fatal(saved, err)
		}
		if steps, _, skipped := s.newest(); steps != 10 || len(skipped) != 0 {
			s.Errorf("step %d, %v", steps, skipped)
		}
	},
	"the disk's blob is damaged": func(s *scene) {
		m := s.take(10, 1)
		edit(s.T, filepath.Join(s.disk.Dir, m.Blob), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		if saved, err := s.Save(s.Context(), s.disk, m); saved || !errors.Is(err, ErrDamaged) || len(s.there()) != 0 {
			s.Errorf("%v, %v, left %q", saved, err, s.there())
		}
	},
	"cancelled": func(s *scene) {
		m := s.saves(10)[0]
		ctx, cancel := context.WithCancel(s.Context())
		cancel()
		if saved, err := s.Save(ctx, s.disk, m); saved || !errors.Is(err, context.Canceled) {
			s.Errorf("save: %v, %v", saved, err)
		}
		if _, _, err := s.Newest(ctx, &Store{Dir: s.TempDir()}, 0, 1); !errors.Is(err, context.Canceled) {
			s.Errorf("newest: %v", err)
		}
	},
	"cancelled while a blob is written": func(s *scene) {
		m := s.large(10, 12<<20)
		ctx, cancel := context.WithCancel(s.Context())
		s.Objects = cutting{s.Store, cancel}
		if saved, err := s.Save(ctx, s.disk, m); saved || !errors.Is(err, context.Canceled) {
			s.Errorf("%v, %v", saved, err)
		}
		s.Objects = s.Store
		if steps, _, skipped := s.newest(); steps != 0 || len(skipped) != 0 {
			s.Errorf("step %d, %v", steps, skipped)
		}
	},
	"the server goes while a blob is written": func(s *scene) {
		s.saves(10)
		m := s.large(20, 12<<20)
		s.Objects = cutting{s.Store, s.stop}
		began := time.Now()
		if saved, err := s.Save(s.Context(), s.disk, m); saved || err == nil {
			s.Errorf("saved %v, %v", saved, err)
		}
		if took := time.Since(began); took > 25*time.Second {
			s.Errorf("gave up after %v", took)
		}
		s.start()
		s.Objects = s.Store
		s.Patience.Attempts = 10
		if steps, _, skipped := s.newest(); steps != 10 || len(skipped) != 0 {
			s.Errorf("step %d, %v, want the one before", steps, skipped)
		}
		if saved, err := s.Save(s.Context(), s.disk, m); !saved || err != nil {
			s.Errorf("when it is back: %v, %v", saved, err)
		}
		if steps, _, skipped := s.newest(); steps != 20 || len(skipped) != 0 {
			s.Errorf("step %d, %v", steps, skipped)
		}
	},
	"the server is away for a second": func(s *scene) {
		m := s.take(10, 1)
		s.Patience.Attempts = 10
		s.stop()
		back := time.AfterFunc(time.Second, s.start)
		saved, err := s.Save(s.Context(), s.disk, m)
		if back.Stop() {
			s.start()
		}
		if _, directory := s.Store.(objects.Directory); directory { // not mounted: nothing to wait for
			if saved || !errors.Is(err, objects.ErrRefused) {
				s.Errorf("%v, %v", saved, err)
			}
			return
		}
		if !saved || err != nil {
			s.Fatalf("%v, %v", saved, err)
		}
		if steps, _, _ := s.newest(); steps != 10 {
			s.Errorf("step %d", steps)
		}
	},
}

func TestArchives(t *testing.T) {
	for name, p := range places(t) {
		t.Run(name, func(t *testing.T) {
			for what, test := range archives {
				t.Run(what, func(t *testing.T) { test(newScene(t, p)) })
			}
		})
	}
}

// Large objects go up and come down in parts, whole.
func TestLargeBlobsInS3(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an S3 server")
	}
	s := newScene(t, place{Store: open(t, objectstest.StartS3(t, t.Setenv).URL())})
	m := s.large(10, 70<<20)
	s.Patience.Request = time.Minute
	if saved, err := s.Save(s.Context(), s.disk, m); !saved || err != nil {
		t.Fatal(saved, err)
	}
	if steps, _, skipped := s.newest(); steps != 10 || len(skipped) != 0 {
		t.Errorf("step %d, %v", steps, skipped)
	}
}

// A cluster of three with a replica on each loses any one of its servers, and nothing
// else; with one of three left it takes nothing.
func TestAServerOfJetStreamIsKilled(t *testing.T) {
	jet := objectstest.StartJetStream(t, 3)
	s := newScene(t, place{Store: open(t, jet.URL())})
	s.Patience = Patience{Attempts: 20, Pause: 100 * time.Millisecond, Request: 4 * time.Second, Rate: 4 << 20}
	s.saves(10)
	for i := range 3 {
		jet.Kill(i)
		step := 20 + 10*i
		m := s.large(step, 3<<20)
		if saved, err := s.Save(s.Context(), s.disk, m); !saved || err != nil {
			t.Fatalf("server %d is gone: %v, %v", i, saved, err)
		}
		if steps, _, skipped := s.newest(); steps != step || len(skipped) != 0 {
			t.Fatalf("server %d is gone: step %d, %v", i, steps, skipped)
		}
		jet.Start()
	}
	jet.Kill(0)
	jet.Kill(1)
	s.Patience.Attempts, s.Patience.Request = 2, time.Second
	if saved, err := s.Save(s.Context(), s.disk, s.take(50, 1)); saved || err == nil {
		t.Errorf("one of three took a checkpoint: %v, %v", saved, err)
	}
}

// Who reads an object is not held up by a server that went: its context ends it.
func TestReadingFromJetStreamEndsWithItsContext(t *testing.T) {
	jet := objectstest.StartJetStream(t, 1)
	store := open(t, jet.URL())
	if err := store.Put(t.Context(), "large", io.NewSectionReader(strings.NewReader(strings.Repeat("a", 48<<20)), 0, 48<<20)); err != nil {
		t.Fatal(err)
	}
	limited, release := context.WithTimeout(t.Context(), 30*time.Second)
	defer release()
	ctx, cancel := context.WithCancel(limited)
	body, err := store.Get(ctx, "large")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	jet.Stop()
	time.AfterFunc(500*time.Millisecond, cancel)
	began := time.Now()
	_, err = io.Copy(io.Discard, body)
	if took := time.Since(began); !errors.Is(err, context.Canceled) || took > 10*time.Second {
		t.Errorf("reading ended after %v with %v", took, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

// passesOver expects step 10 after one that cannot be used, and that the archive
// can be added to.
func (s *scene) passesOver(why string) {
	s.Helper()
	steps, _, skipped := s.newest()
	if steps != 10 || len(skipped) != 1 {
		s.Fatalf("step %d after %v, want 10 after one", steps, skipped)
	}
	if err := skipped[0].Err; !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), why) || !strings.Contains(skipped[0].File, s.Folder) {
		s.Errorf("%s: reason %v, want %q", skipped[0].File, err, why)
	}
	s.saves(30)
	if steps, _, _ := s.newest(); steps != 30 {
		s.Errorf("then step %d", steps)
	}
}

// large takes a checkpoint of so many bytes and a few more.
func (s *scene) large(step, size int) Manifest {
	s.Helper()
	raw := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(raw); i += 4 {
		binary.LittleEndian.PutUint32(raw[i:], r.Uint32()&0x3fffffff)
	}
	snap := snapshot(step)
	snap.Identity = s.id
	snap.Tensors = append(snap.Tensors, safetensors.NewEntry("large", safetensors.Tensor{DType: safetensors.F32, Shape: []int{len(raw) / 4}, Data: raw}))
	return save(s.T, s.disk, snap)[0]
}

// cutting does something once a part of a large object was read from the disk.
type cutting struct {
	objects.Store
	cut func()
}

func (c cutting) Put(ctx context.Context, name string, body *io.SectionReader) error {
	if body.Size() < 1<<20 {
		return c.Store.Put(ctx, name, body)
	}
	return c.Store.Put(ctx, name, io.NewSectionReader(&cut{ReaderAt: body, at: 3 << 20, do: c.cut}, 0, body.Size()))
}

type cut struct {
	io.ReaderAt
	at   int64
	do   func()
	done bool
}

func (c *cut) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.at && !c.done {
		c.done = true
		c.do()
	}
	return c.ReaderAt.ReadAt(p, off)
}

func sorted(names ...string) []string {
	slices.Sort(names)
	return names
}
