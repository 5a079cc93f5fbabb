package group

import (
	"encoding/binary"
	"fmt"
	"io"

	"ressa/collective/castagnoli"
)

// kind says what a frame is for.
type kind uint8

const (
	kindHello   kind = iota + 1 // "I am here": answered by a welcome on every path
	kindWelcome                 // answer to a hello
	kindData                    // a chunk: total, offset, tag, payload
	kindAck                     // offset: bytes of the message that came; more may be sent
	kindHave                    // offset: bytes that came; there is no room for more yet
	kindProbe                   // "how much of it have you?": answered by an ack or have
	kindRefuse                  // the receiver failed the message; payload: why
	kindCancel                  // the sender gave the message up
	kindAbort                   // payload: why
)

// gap as the path of an ack or have: a chunk before the one that came is missing.
const gap = 0xff

// frame is what travels in one NATS message.
type frame struct {
	kind       kind
	path       uint8 // hello, welcome: which of the sender's paths; ack, have: gap or 0; probe: how often it was in vain
	from       int
	generation uint64
	id         uint64 // of the message, unique for a sender and a receiver; of a hello: the sender's session
	total      uint64 // bytes of the message; of a hello and its welcome: which round
	offset     uint64 // of a probe: its number
	oldest     uint64 // smallest id that the sender still works on; of an ack or have: the probe it answers
	size       int    // bytes of the payload
	sum        uint32 // CRC-32C of the payload
	tag        string
	payload    []byte // of a frame to be sent
}

const (
	frameMagic = "RSG2"
	headerSize = 64
	maxTag     = 255
	maxReason  = 1024
)

// appendHead writes what goes ahead of the payload: header and tag, under a checksum
// of their own, so that a receiver may act on them before it has read the payload.
func (f *frame) appendHead(b []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	b = append(b, frameMagic...)
	b = le.AppendUint32(b, 0)
	b = append(b, byte(f.kind), byte(len(f.tag)), f.path, 0)
	b = le.AppendUint32(b, uint32(f.from))
	b = le.AppendUint64(b, f.generation)
	b = le.AppendUint64(b, f.id)
	b = le.AppendUint64(b, f.total)
	b = le.AppendUint64(b, f.offset)
	b = le.AppendUint64(b, f.oldest)
	b = le.AppendUint32(b, uint32(len(f.payload)))
	b = le.AppendUint32(b, castagnoli.Checksum(f.payload))
	b = append(b, f.tag...)
	le.PutUint32(b[start+4:], castagnoli.Checksum(b[start+8:]))
	return b
}

// readHead reads header and tag of a frame in a NATS message of size bytes from r,
// which then yields the payload: f.size bytes with the checksum f.sum. What it
// returns is consistent in itself: the chunk lies within the message. Of a message
// that is no frame it wraps [ErrCorrupt]; other errors are those of r.
func readHead(r io.Reader, size int) (frame, error) {
	if size < headerSize {
		return frame{}, fmt.Errorf("%d bytes that are no frame: %w", size, ErrCorrupt)
	}
	var room [headerSize + maxTag]byte
	b := room[:headerSize]
	if _, err := io.ReadFull(r, b); err != nil {
		return frame{}, err
	}
	if string(b[:4]) != frameMagic {
		return frame{}, fmt.Errorf("%d bytes that begin with %q: %w", size, b[:4], ErrCorrupt)
	}
	tagEnd := headerSize + int(b[9])
	if tagEnd > size {
		return frame{}, fmt.Errorf("tag of %d bytes in a frame of %d: %w", b[9], size, ErrCorrupt)
	}
	if _, err := io.ReadFull(r, room[headerSize:tagEnd]); err != nil {
		return frame{}, err
	}
	le := binary.LittleEndian
	if got, want := le.Uint32(b[4:]), castagnoli.Checksum(room[8:tagEnd]); got != want {
		return frame{}, fmt.Errorf("checksum %08x, content has %08x: %w", got, want, ErrCorrupt)
	}
	f := frame{
		kind: kind(b[8]), path: b[10], from: int(le.Uint32(b[12:])),
		generation: le.Uint64(b[16:]), id: le.Uint64(b[24:]), total: le.Uint64(b[32:]), offset: le.Uint64(b[40:]), oldest: le.Uint64(b[48:]),
		size: int(le.Uint32(b[56:])), sum: le.Uint32(b[60:]), tag: string(room[headerSize:tagEnd]),
	}
	switch {
	case f.kind < kindHello || f.kind > kindAbort || b[11] != 0:
		return frame{}, fmt.Errorf("kind %d: %w", f.kind, ErrCorrupt)
	case f.size != size-tagEnd:
		return frame{}, fmt.Errorf("payload of %d bytes, want %d: %w", size-tagEnd, f.size, ErrCorrupt)
	case f.kind == kindData && (f.offset > f.total || uint64(f.size) > f.total-f.offset):
		return frame{}, fmt.Errorf("chunk of %d bytes at %d of %d: %w", f.size, f.offset, f.total, ErrCorrupt)
	case f.kind != kindData && f.size > maxReason:
		return frame{}, fmt.Errorf("payload of %d bytes in a frame of kind %d: %w", f.size, f.kind, ErrCorrupt)
	}
	return f, nil
}

// readPayload reads the payload of a frame into b, which has its size.
func (f *frame) readPayload(r io.Reader, b []byte) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if got := castagnoli.Checksum(b); got != f.sum {
		return fmt.Errorf("checksum %08x of a payload, content has %08x: %w", f.sum, got, ErrCorrupt)
	}
	return nil
}
