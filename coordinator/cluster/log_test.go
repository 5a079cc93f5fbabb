package cluster

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
)

// Where a bit flips in the database beside a log, opening it fails as damaged, or the log
// has all its entries: it neither ends the process by a panic nor starts empty.
func TestDamagedDatabasesOfALogAreTold(t *testing.T) {
	dir := t.TempDir()
	meta := &metadb.BoltMetaDB{}
	l, err := openLog(dir, meta)
	if err != nil {
		t.Fatalf("an empty folder: %v", err)
	}
	const entries = 20
	for i := uint64(1); i <= entries; i++ {
		err := errors.Join(l.SetUint64([]byte("CurrentTerm"), 7), l.StoreLogs([]*raft.Log{{Index: i, Term: 7, Data: []byte("x")}}))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Close(), meta.Close()); err != nil {
		t.Fatal(err)
	}
	clean, err := os.ReadFile(filepath.Join(dir, "wal-meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	segment, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	segment = segment[:4096] // the rest is zero
	var used []int
	for at, b := range clean {
		if b != 0 {
			used = append(used, at)
		}
	}
	dice := rand.New(rand.NewPCG(3, 4))
	told := 0
	for range 150 {
		raw := append([]byte{}, clean...)
		at, bit := used[dice.IntN(len(used))], dice.IntN(8)
		raw[at] ^= 1 << bit
		dir := t.TempDir()
		err := errors.Join(os.WriteFile(filepath.Join(dir, "wal-meta.db"), raw, 0o644), os.WriteFile(filepath.Join(dir, filepath.Base(segments[0])), segment, 0o644))
		if err != nil {
			t.Fatal(err)
		}
		meta := &metadb.BoltMetaDB{}
		l, err := openLog(dir, meta)
		if err != nil {
			if told++; !errors.Is(err, ErrDamaged) {
				t.Errorf("bit %d of byte %d: %v", bit, at, err)
			}
			if err := meta.Close(); err != nil { // as a member that does not start does
				t.Errorf("bit %d of byte %d: close: %v", bit, at, err)
			}
			continue
		}
		last, err := l.LastIndex()
		if term, termErr := l.GetUint64([]byte("CurrentTerm")); err != nil || termErr != nil || last != entries || term < 7 {
			t.Errorf("bit %d of byte %d: the log ends at %d, term %d: %v, %v", bit, at, last, term, err, termErr)
		}
		if err := errors.Join(l.Close(), meta.Close()); err != nil {
			t.Error(err)
		}
	}
	if told == 0 {
		t.Error("nothing was told")
	}
}
