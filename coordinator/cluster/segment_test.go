package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"ressa/coordinator/api"
)

// writtenLog writes a log of the library that coordinators use and returns its folder,
// its segments, and where in the first one the last write begins.
func writtenLog(t *testing.T, entries, segment int) (dir string, segments []string, last int) {
	t.Helper()
	dir = t.TempDir()
	l, err := wal.Open(dir, wal.WithSegmentSize(segment))
	if err != nil {
		t.Fatal(err)
	}
	used := func() int {
		raw, err := os.ReadFile(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		return len(bytes.TrimRight(raw, "\x00"))
	}
	for i := 1; i <= entries; i++ {
		batch := []*raft.Log{{Index: uint64(2*i - 1), Term: 1, Data: []byte(strings.Repeat("a", i%50))}, {Index: uint64(2 * i), Term: 1, Data: fmt.Append(nil, "entry ", i)}}
		if segments, err = filepath.Glob(filepath.Join(dir, "*.wal")); err != nil {
			t.Fatal(err)
		}
		last = used()
		if err := l.StoreLogs(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if segments, err = filepath.Glob(filepath.Join(dir, "*.wal")); err != nil {
		t.Fatal(err)
	}
	return dir, segments, last
}

// A bit that flips anywhere but in the last write of a log is told, whether the log has
// one segment or several; in the last write it is as if a crash had cut that short.
func TestFlippedBitsOfALogAreTold(t *testing.T) {
	for _, size := range []int{64 << 10, 1 << 10} {
		dir, segments, last := writtenLog(t, 40, size)
		if _, err := checkLog(dir); err != nil || (size < 4<<10) != (len(segments) > 1) {
			t.Fatalf("an undamaged log of %d segments: %v", len(segments), err)
		}
		raw, err := os.ReadFile(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		last = (last + 7) &^ 7
		if len(segments) > 1 {
			last = len(bytes.TrimRight(raw, "\x00")) - 200 // an index and its commit are the last write
		}
		missed := 0
		for at := range last {
			for bit := range 8 {
				raw[at] ^= 1 << bit
				if end, whole := checkSegment(raw); whole {
					t.Errorf("bit %d of byte %d of %d is flipped, and the segment whole to %d", bit, at, last, end)
					if missed++; missed > 5 {
						t.FailNow()
					}
				}
				raw[at] ^= 1 << bit
			}
		}
		raw[last/2] ^= 4
		if err := os.WriteFile(segments[0], raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := checkLog(dir); !errors.Is(err, ErrDamaged) || api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), segments[0]) {
			t.Errorf("a damaged log: %v", err)
		}
	}
}

// What a crash leaves behind the last write is no damage: the first part of another
// write, in any state, or the last one without some of its sectors.
func TestTornTailsOfALogAreNoDamage(t *testing.T) {
	_, segments, last := writtenLog(t, 40, 64<<10)
	clean, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	used := (len(bytes.TrimRight(clean, "\x00")) + 7) &^ 7
	dice := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		raw := bytes.Clone(clean)
		if dice.IntN(2) == 0 {
			torn := make([]byte, dice.IntN(2000))
			for i := range torn {
				torn[i] = byte(dice.IntN(4) * dice.IntN(64)) // many zeros and small kinds
			}
			copy(raw[used:], torn)
			if dice.IntN(2) == 0 {
				copy(raw[used:], clean[last:used-8]) // a write as the last, without its commit
			}
		} else {
			from := last + dice.IntN(used-last)
			clear(raw[from : from+dice.IntN(used-from)])
		}
		if end, whole := checkSegment(raw); !whole {
			t.Fatalf("found damage behind byte %d of %d; the last write begins at %d", end, used, last)
		}
	}
}

// No file makes the check fail but by saying so.
func FuzzSegment(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 40))
	f.Add(append(make([]byte, 32), frameEntry, 0, 0, 0, 255, 255, 255, 255, frameCommit, 0, 0, 0, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if end, _ := checkSegment(raw); end < 0 || end > len(raw) {
			t.Errorf("ends at %d of %d", end, len(raw))
		}
	})
}
