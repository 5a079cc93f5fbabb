package group

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// kind says what a frame is for.
type kind uint8

const (
	kindHello   kind = iota + 1 // "I am here": answered by a welcome
	kindWelcome                 // answer to a hello
	kindData                    // a chunk: total, offset, tag, payload
	kindAck                     // offset: bytes of the message that were received
	kindRefuse                  // the receiver failed the message; payload: why
	kindCancel                  // the sender gave the message up
	kindAbort                   // payload: why
)

// frame is what travels in one NATS message.
type frame struct {
	kind       kind
	from       int
	generation uint64
	id         uint64 // of the message, unique per sender
	total      uint64 // bytes of the message
	offset     uint64
	tag        string
	payload    []byte
}

const (
	frameMagic = "RSG1"
	headerSize = 48
	maxTag     = 255
	maxReason  = 1024
)

// append writes the frame, checksum over all that follows it, to b.
func (f *frame) append(b []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = append(b, frameMagic...)
	b = le.AppendUint32(b, 0)
	b = append(b, byte(f.kind), byte(len(f.tag)), 0, 0)
	b = le.AppendUint32(b, uint32(f.from))
	b = le.AppendUint64(b, f.generation)
	b = le.AppendUint64(b, f.id)
	b = le.AppendUint64(b, f.total)
	b = le.AppendUint64(b, f.offset)
	b = append(b, f.tag...)
	b = append(b, f.payload...)
	le.PutUint32(b[start+4:], crc32.Checksum(b[start+8:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// parseFrame reads a frame; its payload lies in b. What it returns is
// consistent in itself: the chunk lies within the message.
func parseFrame(b []byte) (frame, error) {
	if len(b) < headerSize || string(b[:4]) != frameMagic {
		return frame{}, fmt.Errorf("%d bytes that are no frame: %w", len(b), ErrCorrupt)
	}
	le := binary.LittleEndian
	if got, want := le.Uint32(b[4:]), crc32.Checksum(b[8:], crc32.MakeTable(crc32.Castagnoli)); got != want {
		return frame{}, fmt.Errorf("checksum %08x, content has %08x: %w", got, want, ErrCorrupt)
	}
	f := frame{
		kind: kind(b[8]), from: int(le.Uint32(b[12:])),
		generation: le.Uint64(b[16:]), id: le.Uint64(b[24:]), total: le.Uint64(b[32:]), offset: le.Uint64(b[40:]),
	}
	tagEnd := headerSize + int(b[9])
	switch {
	case f.kind < kindHello || f.kind > kindAbort || b[10] != 0 || b[11] != 0:
		return frame{}, fmt.Errorf("kind %d: %w", f.kind, ErrCorrupt)
	case tagEnd > len(b):
		return frame{}, fmt.Errorf("tag of %d bytes in a frame of %d: %w", b[9], len(b), ErrCorrupt)
	}
	f.tag, f.payload = string(b[headerSize:tagEnd]), b[tagEnd:]
	if f.kind == kindData && (f.offset > f.total || uint64(len(f.payload)) > f.total-f.offset) {
		return frame{}, fmt.Errorf("chunk of %d bytes at %d of %d: %w", len(f.payload), f.offset, f.total, ErrCorrupt)
	}
	return f, nil
}
