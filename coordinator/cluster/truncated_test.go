package cluster

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
)

// A leader that was cut off takes back what nobody else has. Its log opens again, and
// everything in it can be read.
func TestALogThatWasTakenBackOpensAgain(t *testing.T) {
	dir := t.TempDir()
	for round, to := range []uint64{20, 25, 30} {
		meta := &metadb.BoltMetaDB{}
		l, err := openLog(dir, meta)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		first, err := l.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		for i := uint64(1); i <= first; i++ {
			var e raft.Log
			if err := l.GetLog(i, &e); err != nil || e.Index != i {
				t.Fatalf("round %d: entry %d: %v", round, i, err)
			}
		}
		for i := first + 1; i <= to; i++ {
			if err := l.StoreLog(&raft.Log{Index: i, Term: 1, Data: []byte("entry")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.SetUint64([]byte("CurrentTerm"), 1); err != nil {
			t.Fatal(err)
		}
		if err := l.DeleteRange(to-2, to); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := meta.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
