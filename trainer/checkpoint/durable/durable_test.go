package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree returns the files below dir with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func expectTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := tree(t, dir)
	if len(got) != len(want) {
		t.Errorf("found %v, want %v", got, want)
		return
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s holds %q, want %q", k, got[k], v)
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestFileAppearsOnCommit(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a"), "old")
	f, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if _, err := f.WriteString("new"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "a")); string(b) != "old" {
		t.Errorf("before Commit: %q", b)
	}
	if err := f.Commit("a"); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	expectTree(t, dir, map[string]string{"a": "new"})
	if err := f.Commit("b"); err == nil {
		t.Error("a second Commit passed")
	}
}

func TestFailedCommitLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a", "inside"), "x")
	if err := WriteFile(filepath.Join(dir, "a"), []byte("y")); err == nil {
		t.Error("a directory was replaced by a file")
	}
	expectTree(t, dir, map[string]string{"a/inside": "x"})
}

func TestDirCommit(t *testing.T) {
	cases := []struct {
		name    string
		before  map[string]string
		replace bool
		refused string
	}{
		{"new", nil, false, ""},
		{"empty", map[string]string{}, false, ""},
		{"full", map[string]string{"old": "1"}, false, "not empty"},
		{"full, replaced", map[string]string{"old": "1", "sub/old": "2"}, true, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			base := t.TempDir()
			target := filepath.Join(base, "parent", "target")
			if c.before != nil {
				if err := os.MkdirAll(target, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			for k, v := range c.before {
				put(t, filepath.Join(target, k), v)
			}
			d, err := CreateDir(target)
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(d.Path, "sub", "new"), "n")
			want := map[string]string{"parent/target/sub/new": "n"}
			err = d.Commit(c.replace)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("error %v, want %q", err, c.refused)
				}
				want = map[string]string{}
				for k, v := range c.before {
					want["parent/target/"+k] = v
				}
			} else if err != nil {
				t.Fatal(err)
			}
			expectTree(t, base, want)
			if left, _ := os.ReadDir(filepath.Join(base, "parent")); len(left) != 1 {
				t.Errorf("beside the target: %v", left)
			}
		})
	}
}

func TestSwapByRenames(t *testing.T) {
	base := t.TempDir()
	put(t, filepath.Join(base, "fresh", "f"), "new")
	put(t, filepath.Join(base, "target", "f"), "old")
	if err := swapByRenames(filepath.Join(base, "fresh"), filepath.Join(base, "target")); err != nil {
		t.Fatal(err)
	}
	expectTree(t, base, map[string]string{"fresh/f": "old", "target/f": "new"})
	if err := swapByRenames(filepath.Join(base, "none"), filepath.Join(base, "target")); err == nil {
		t.Error("nothing was swapped in")
	}
	expectTree(t, base, map[string]string{"fresh/f": "old", "target/f": "new"})
}

func TestTargetBehindALink(t *testing.T) {
	base := t.TempDir()
	put(t, filepath.Join(base, "real", "old"), "o")
	if err := os.Symlink("real", filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	d, err := CreateDir(filepath.Join(base, "link"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(d.Path, "new"), "n")
	if err := d.Commit(true); err != nil {
		t.Fatal(err)
	}
	expectTree(t, filepath.Join(base, "real"), map[string]string{"new": "n"})
	if to, err := os.Readlink(filepath.Join(base, "link")); err != nil || to != "real" {
		t.Errorf("the link became %q, %v", to, err)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "kept"), "k")
	if f, err := Create(dir); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil { // as a killed process leaves it
		t.Fatal(err)
	}
	d, err := CreateDir(filepath.Join(dir, "t"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(d.Path, "x"), "x")
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	expectTree(t, dir, map[string]string{"kept": "k"})
}
