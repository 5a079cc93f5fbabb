package agent

import "ressa/coordinator/api"

// Bounds of what a worker keeps of one kind of lines.
const (
	maxKeptLines = 32 << 10
	maxKeptBytes = 8 << 20
)

// buffer keeps the last lines that were sent, numbered from 1.
type buffer struct {
	gone  uint64 // lines that no longer fit
	lines [][]byte
	bytes int
}

func (b *buffer) first() uint64 { return b.gone + 1 }
func (b *buffer) last() uint64  { return b.gone + uint64(len(b.lines)) }

// add keeps a line; the oldest go for it.
func (b *buffer) add(line []byte) {
	b.lines, b.bytes = append(b.lines, line), b.bytes+len(line)
	for len(b.lines) > maxKeptLines || b.bytes > maxKeptBytes {
		b.bytes -= len(b.lines[0])
		b.lines[0] = nil
		b.lines, b.gone = b.lines[1:], b.gone+1
	}
}

// from returns lines from number seq on, or from the first that there is: at most
// [api.MaxPiece] bytes of them, but one at least where there is one.
func (b *buffer) from(seq uint64) (first uint64, lines [][]byte) {
	first = max(seq, b.first())
	if first > b.last() {
		return first, nil
	}
	lines = b.lines[first-b.first():]
	size := 0
	for i, line := range lines {
		if size += len(line); i > 0 && size > api.MaxPiece {
			return first, lines[:i]
		}
	}
	return first, lines
}
