package checkpoint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// edit changes a file of a store.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLatestGoesBackToAWholeCheckpoint(t *testing.T) {
	cases := []struct {
		name   string
		damage func(t *testing.T, s *Store, m Manifest)
		want   string
	}{
		{"bit flip in the blob", func(t *testing.T, s *Store, m Manifest) {
			edit(t, filepath.Join(s.Dir, m.Blob), func(b []byte) []byte { b[len(b)-3] ^= 4; return b })
		}, "found SHA-256"},
		{"bit flip in the header", func(t *testing.T, s *Store, m Manifest) {
			edit(t, filepath.Join(s.Dir, m.Blob), func(b []byte) []byte { b[3] ^= 4; return b })
		}, "header length"},
		{"truncated blob", func(t *testing.T, s *Store, m Manifest) {
			edit(t, filepath.Join(s.Dir, m.Blob), func(b []byte) []byte { return b[:len(b)/2] })
		}, "bytes, expected"},
		{"missing blob", func(t *testing.T, s *Store, m Manifest) {
			if err := os.Remove(filepath.Join(s.Dir, m.Blob)); err != nil {
				t.Fatal(err)
			}
		}, "the file is missing"},
		{"bit flip in the manifest", func(t *testing.T, s *Store, m Manifest) {
			edit(t, filepath.Join(s.Dir, m.name()), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"accuracy": 0.1`, `"accuracy": 0.3`, 1))
			})
		}, "checksum: found"},
		{"empty manifest", func(t *testing.T, s *Store, m Manifest) {
			edit(t, filepath.Join(s.Dir, m.name()), func([]byte) []byte { return nil })
		}, "not a JSON object"},
		{"manifest under another name", func(t *testing.T, s *Store, m Manifest) {
			old := filepath.Join(s.Dir, m.name())
			m.Step = 40
			if err := os.Rename(old, filepath.Join(s.Dir, m.name())); err != nil {
				t.Fatal(err)
			}
		}, "agree with the file's name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &Store{Dir: t.TempDir()}
			saved := save(t, s, snapshot(10), snapshot(20), snapshot(30))
			c.damage(t, s, saved[2])
			got, skipped, err := s.Latest(context.Background(), identity())
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.Step != 20 || len(skipped) != 1 {
				t.Fatalf("step %d after %v, want 20 after one", got.Step, skipped)
			}
			why := skipped[0].Err
			if !errors.Is(why, ErrDamaged) || !strings.Contains(why.Error(), c.want) || !strings.Contains(why.Error(), s.Dir) {
				t.Errorf("reason %v, want the file and %q", why, c.want)
			}
			if c.name != "manifest under another name" {
				if _, err := s.Load(context.Background(), 30, identity()); !errors.Is(err, ErrDamaged) {
					t.Errorf("Load: %v, want ErrDamaged", err)
				}
			}
			// What is whole can still be added to, and the damaged step saved anew.
			save(t, s, snapshot(30))
			if again, _, err := s.Latest(context.Background(), identity()); err != nil || again.Step != 30 {
				t.Errorf("after saving again: %v", err)
			} else if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNothingWhole(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	m := save(t, s, snapshot(10))[0]
	if err := os.Remove(filepath.Join(s.Dir, m.Blob)); err != nil {
		t.Fatal(err)
	}
	_, skipped, err := s.Latest(context.Background(), identity())
	if !errors.Is(err, ErrDamaged) || len(skipped) != 1 {
		t.Errorf("error %v after %v, want ErrDamaged", err, skipped)
	}
}

func TestEveryFlippedBitOfAManifest(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	m := save(t, s, snapshot(10))[0]
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for bit := range 8 {
			flipped := append([]byte(nil), text...)
			flipped[i] ^= 1 << bit
			got, err := parseManifest(flipped)
			if err != nil {
				continue
			}
			// A flip may change white space or the case of a key, never what is read.
			if sum, err := got.checksum(); err != nil || sum != m.Checksum {
				t.Fatalf("byte %d, bit %d: read as %+v", i, bit, got)
			}
		}
	}
}

func FuzzManifest(f *testing.F) {
	m := Manifest{Format: manifestFormat, Identity: identity(), SHA256: strings.Repeat("0a", 32), Blob: strings.Repeat("0a", 32) + blobSuffix}
	text, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"format":"ressa checkpoint 1","step":1e99}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		if filepath.Base(m.Blob) != m.Blob || m.Step < 0 {
			t.Fatalf("accepted %+v", m)
		}
		if _, err := m.encode(); err != nil {
			t.Fatal(err)
		}
	})
}
