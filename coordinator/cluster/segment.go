package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"ressa/coordinator/api"
)

// ErrDamaged is returned for a log that is not what was written.
var ErrDamaged = errors.New("damaged")

// replaceIt is how a member whose folder is damaged is got over.
const replaceIt = "take this coordinator out (ressa operator raft remove), empty its folder and have it --join again"

// checkLog reads the segments of a log and compares them with their checksums, which
// the log itself does for its last write only: a bit that flipped would be served to
// the other members, or cut off all that follows. What a crash leaves behind the last
// write is no damage; neither can a last write that is damaged be told from one that
// a crash cut short, and the other members have it. It reports whether there is any entry.
func checkLog(dir string) (written bool, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return false, err
	}
	slices.Sort(names)
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			return false, err
		}
		at, whole := checkSegment(raw)
		if !whole {
			return false, api.Invalid(fmt.Errorf("%w: %s: what was written at byte %d does not match its checksum; %s", ErrDamaged, name, at, replaceIt))
		}
		written = written || at > 0
	}
	return written, nil
}

// A segment is a header of 32 bytes and then frames: 8 bytes, of which the first is the
// kind and the last four are the length of what follows, which is padded to 8, or in a
// commit the CRC-32C of all since the commit before. A write is one or more entries and
// a commit. Zeros follow the last write.
const (
	segmentHeader = 32
	frameHeader   = 8
	frameEntry    = 1
	frameIndex    = 2
	frameCommit   = 3
)

// longSearch bounds the search for the start of a write, of which nothing is known.
const longSearch = 64 << 10

// checkSegment returns where the writes end that match their checksums, and whether
// nothing that was written later does.
func checkSegment(raw []byte) (end int, whole bool) {
	next := min(segmentHeader, len(raw))
	for {
		at, ok := commitAfter(raw, next)
		if !ok || checksum(raw[end:at]) != frameValue(raw, at) {
			break
		}
		end = at + frameHeader
		next = end
	}
	mark := end // after the last thing that looks like a commit
	for at := max(end, segmentHeader); at+frameHeader <= len(raw); at += frameHeader {
		if !isFrame(raw, at, frameCommit) {
			continue
		}
		sum := frameValue(raw, at)
		if mark > end && isWrite(raw, mark, at, sum) {
			return end, false
		}
		for start := at - frameHeader; start > max(end, at-longSearch); start -= frameHeader {
			if isWrite(raw, start, at, sum) {
				return end, false
			}
		}
		mark = at + frameHeader
	}
	return end, true
}

// commitAfter follows the frames from one on to the next commit.
func commitAfter(raw []byte, at int) (commit int, ok bool) {
	for at+frameHeader <= len(raw) {
		switch {
		case isFrame(raw, at, frameCommit):
			return at, true
		case isFrame(raw, at, frameEntry), isFrame(raw, at, frameIndex):
			at += frameHeader + (int(frameValue(raw, at))+frameHeader-1)/frameHeader*frameHeader
		default:
			return 0, false
		}
	}
	return 0, false
}

// isWrite reports whether frames from start on lead to the commit at end, and match its
// checksum.
func isWrite(raw []byte, start, end int, sum uint32) bool {
	if !isFrame(raw, start, frameEntry) {
		return false
	}
	at, ok := commitAfter(raw, start)
	return ok && at == end && checksum(raw[start:end]) == sum
}

func isFrame(raw []byte, at int, kind byte) bool {
	return raw[at] == kind && raw[at+1] == 0 && raw[at+2] == 0 && raw[at+3] == 0
}

func frameValue(raw []byte, at int) uint32 { return binary.LittleEndian.Uint32(raw[at+4:]) }

func checksum(raw []byte) uint32 { return crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)) }
