package cluster

import (
	"fmt"
	"path/filepath"
	"runtime/debug"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"ressa/coordinator/api"
)

// segments opens the segments of a log.
type segments struct{ *segment.Filer }

// Open opens a segment that nothing is added to any more. One of which entries were
// taken back, as those are that a leader wrote who was cut off, says so to the database
// and has no index (hashicorp/raft-wal#31): where its entries are is found out as it is
// for the last segment.
func (s segments) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart == 0 {
		return s.RecoverTail(info)
	}
	return s.Filer.Open(info)
}

// openLog opens the log in a folder once it was checked, with the database beside it
// that knows its segments and Raft's term. What that says has to fit the entries.
func openLog(dir string, meta *metadb.BoltMetaDB) (l *wal.WAL, err error) {
	damaged := func(found any) error {
		return api.Invalid(fmt.Errorf("%w: %s: %v; %s", ErrDamaged, filepath.Join(dir, "wal-meta.db"), found, replaceIt))
	}
	written, err := checkLog(dir)
	if err != nil {
		return nil, err
	}
	// The database is mapped: pages that make no sense lead anywhere.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			l, err = nil, damaged(p)
		}
	}()
	if l, err = wal.Open(dir, wal.WithMetaStore(meta), wal.WithSegmentFiler(segments{segment.NewFiler(dir, fs.New())})); err != nil {
		if written {
			err = damaged(err)
		}
		return nil, err
	}
	last, err := l.LastIndex()
	if err == nil && last == 0 && written {
		err = damaged("it knows of no entry, and there are some")
	}
	if err == nil && last > 0 {
		var entry raft.Log
		var term uint64
		if err = l.GetLog(last, &entry); err == nil {
			term, err = l.GetUint64([]byte("CurrentTerm"))
		}
		if err != nil || term < entry.Term {
			err = damaged(fmt.Sprintf("term %d, and the last entry is of term %d: %v", term, entry.Term, err))
		}
	}
	if err != nil {
		_ = l.Close() // the error before says more
		return nil, err
	}
	return l, nil
}

// checkTerm compares the term of a log with that of the snapshots beside it: a log that
// was lost alone has forgotten what the member acknowledged and whom it voted for.
func checkTerm(dir string, l *wal.WAL, snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	term, err := l.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return fmt.Errorf("log in %s: %w", dir, err)
	}
	for _, s := range list {
		if s.Term > term {
			return api.Invalid(fmt.Errorf("log: %w: %s: term %d, and a snapshot beside it is of term %d; %s", ErrDamaged, dir, term, s.Term, replaceIt))
		}
	}
	return nil
}
