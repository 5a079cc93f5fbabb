package checkpoint

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// steps returns the steps that a store lists.
func steps(t *testing.T, s *Store) []int {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, l := range list {
		if l.Err == nil {
			out = append(out, l.Manifest.Step)
		}
	}
	return out
}

// scored returns a snapshot with a score.
func scored(step int, score float64) Snapshot {
	s := snapshot(step)
	s.Metrics["score"] = score
	return s
}

func TestRetention(t *testing.T) {
	all := []Snapshot{scored(1, 5), scored(2, 9), scored(3, 1), scored(4, 9), scored(5, 4), scored(6, 3)}
	cases := []struct {
		name string
		r    Retention
		want []int
	}{
		{"all", Retention{}, []int{1, 2, 3, 4, 5, 6}},
		{"last two", Retention{Last: 2}, []int{5, 6}},
		{"last and lowest", Retention{Last: 2, BestBy: "score"}, []int{3, 5, 6}},
		{"last and highest, the first of two", Retention{Last: 1, BestBy: "score", Higher: true}, []int{2, 6}},
		{"a metric that nobody has", Retention{Last: 1, BestBy: "none"}, []int{6}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &Store{Dir: t.TempDir(), Retention: c.r}
			if err := os.WriteFile(filepath.Join(s.Dir, "model.safetensors"), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			save(t, s, all...)
			if got := steps(t, s); !slices.Equal(got, c.want) {
				t.Errorf("kept %v, want %v", got, c.want)
			}
			if n := len(files(t, s.Dir)); n != 2*len(c.want)+1 {
				t.Errorf("%d files, want a blob and a manifest each, and the user's own: %q", n, files(t, s.Dir))
			}
			if c.r.BestBy == "score" {
				best, skipped, err := s.Best(context.Background(), identity())
				if err != nil || len(skipped) != 0 || best.Step != c.want[0] {
					t.Errorf("best %v, %v, want step %d", best, err, c.want[0])
				}
			}
		})
	}
}

func TestRetentionKeepsASharedBlob(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Retention: Retention{Last: 1}}
	same := snapshot(10)
	save(t, s, same)
	same.Generation = 2
	save(t, s, same)
	c, _, err := s.Latest(context.Background(), identity())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(files(t, s.Dir)) != 2 || c.Generation != 2 {
		t.Errorf("files %q", files(t, s.Dir))
	}
}

func TestRetentionDoesNotCountDamagedOnes(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Retention: Retention{Last: 2}}
	saved := save(t, s, snapshot(1), snapshot(2))
	if err := os.Remove(filepath.Join(s.Dir, saved[1].Blob)); err != nil {
		t.Fatal(err)
	}
	save(t, s, snapshot(3))
	if got := steps(t, s); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("kept %v, want the two whole ones", got)
	}
}

func TestLeftoversOfAKilledWriterGo(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Retention: Retention{Last: 3}}
	orphan, err := s.createFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orphan.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	blob := saveElsewhere(t, 99)
	if err := os.Link(blob, filepath.Join(s.Dir, filepath.Base(blob))); err != nil {
		t.Fatal(err)
	}
	save(t, s, snapshot(1))
	if got := files(t, s.Dir); len(got) != 2 {
		t.Errorf("left %q", got)
	}
}

// saveElsewhere returns the path of a blob in a store of its own.
func saveElsewhere(t *testing.T, step int) string {
	t.Helper()
	s := &Store{Dir: t.TempDir()}
	return filepath.Join(s.Dir, save(t, s, snapshot(step))[0].Blob)
}
