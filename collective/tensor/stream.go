package tensor

import (
	"encoding/binary"
	"fmt"
)

// Message headers of Arrow IPC (format/Message.fbs).
const (
	schemaHeader = 1
	batchHeader  = 3
)

// Every message begins with this, then the length of its metadata.
const continuation = 0xffffffff

// cut takes the next message off an Arrow stream: the header table of the wanted
// kind, and the body.
func cut(stream []byte, kind int64) (header table, body, rest []byte, err error) {
	metadata, rest, err := cutMetadata(stream)
	if err != nil {
		return table{}, nil, nil, err
	}
	if len(metadata) == 0 {
		return table{}, nil, nil, fmt.Errorf("the stream ends early: %w", ErrTruncated)
	}
	message := (&flat{b: metadata}).root()
	got, length := message.integer(1, 1, 0), message.integer(3, 8, 0)
	header = message.table(2)
	switch {
	case message.f.err != nil:
		return table{}, nil, nil, message.f.err
	case got != kind || header.pos < 0:
		return table{}, nil, nil, fmt.Errorf("message of kind %d, want %d: %w", got, kind, ErrCorrupt)
	case length < 0:
		return table{}, nil, nil, fmt.Errorf("body of %d bytes: %w", length, ErrCorrupt)
	case length > int64(len(rest)):
		return table{}, nil, nil, fmt.Errorf("body of %d bytes, %d are left: %w", length, len(rest), ErrTruncated)
	}
	return header, rest[:length:length], rest[length:], nil
}

// cutMetadata takes the metadata of the next message, none at the stream's end.
func cutMetadata(stream []byte) (metadata, rest []byte, err error) {
	if len(stream) < 8 {
		return nil, nil, fmt.Errorf("%d bytes left where a message begins: %w", len(stream), ErrTruncated)
	}
	if c := binary.LittleEndian.Uint32(stream); c != continuation {
		return nil, nil, fmt.Errorf("message begins with %08x, want %08x: %w", c, uint32(continuation), ErrCorrupt)
	}
	n := int64(binary.LittleEndian.Uint32(stream[4:]))
	rest = stream[8:]
	if n > int64(len(rest)) {
		return nil, nil, fmt.Errorf("metadata of %d bytes, %d are left: %w", n, len(rest), ErrTruncated)
	}
	return rest[:n:n], rest[n:], nil
}

// ended verifies that the stream ends here.
func ended(stream []byte) error {
	metadata, rest, err := cutMetadata(stream)
	if err == nil && (len(metadata) > 0 || len(rest) > 0) {
		err = fmt.Errorf("something follows the record: %w", ErrCorrupt)
	}
	return err
}

// batch is a record batch: the lengths of its arrays and where its buffers lie.
type batch struct {
	nodes   []node
	buffers [][]byte
}

type node struct{ length, nulls int64 }

// readBatch reads the header of a record batch of one row without compression.
func readBatch(h table, body []byte, columns int) (*batch, error) {
	rows := h.integer(0, 8, 0)
	nodesAt, nodes := h.vector(1, 16)
	buffersAt, buffers := h.vector(2, 16)
	if h.f.err != nil {
		return nil, h.f.err
	}
	if rows != 1 || h.slot(3) >= 0 {
		return nil, fmt.Errorf("record of %d rows, compressed: %v, want 1 plain row: %w", rows, h.slot(3) >= 0, ErrCorrupt)
	}
	// A column has two arrays, itself and its items, and at most four buffers.
	if nodes != 2*columns || buffers > 4*columns {
		return nil, fmt.Errorf("%d arrays and %d buffers for %d columns: %w", nodes, buffers, columns, ErrCorrupt)
	}
	b := &batch{}
	end := int64(0) // of the buffer before
	for i := range nodes {
		b.nodes = append(b.nodes, node{h.f.i64(nodesAt + 16*i), h.f.i64(nodesAt + 16*i + 8)})
	}
	for i := range buffers {
		offset, length := h.f.i64(buffersAt+16*i), h.f.i64(buffersAt+16*i+8)
		if offset < 0 || length < 0 || offset > int64(len(body)) || length > int64(len(body))-offset {
			return nil, fmt.Errorf("buffer of %d bytes at %d of a body of %d: %w", length, offset, len(body), ErrTruncated)
		}
		// Bytes that belong to one column only are copied only once.
		if offset < end {
			return nil, fmt.Errorf("buffer at %d, the one before ends at %d: %w", offset, end, ErrCorrupt)
		}
		end = offset + length
		b.buffers = append(b.buffers, body[offset:offset+length:offset+length])
	}
	return b, h.f.err
}

// take removes the next array and its buffers, of which the first is the
// validity bitmap; nothing may be null.
func (b *batch) take(buffers int) (length int64, data [][]byte, err error) {
	if len(b.nodes) < 1 || len(b.buffers) < buffers {
		return 0, nil, fmt.Errorf("buffers are missing: %w", ErrTruncated)
	}
	n := b.nodes[0]
	data = b.buffers[1:buffers]
	b.nodes, b.buffers = b.nodes[1:], b.buffers[buffers:]
	if n.nulls != 0 || n.length < 0 {
		return 0, nil, fmt.Errorf("array of %d values, %d of them null: %w", n.length, n.nulls, ErrCorrupt)
	}
	return n.length, data, nil
}

// row verifies the array of the column itself: one row. It returns the buffers
// beside the validity bitmap.
func (b *batch) row(buffers int) ([][]byte, error) {
	length, data, err := b.take(buffers)
	if err == nil && length != 1 {
		err = fmt.Errorf("%d rows, want 1: %w", length, ErrCorrupt)
	}
	return data, err
}

// items returns the bytes of a column's items, which are size bytes each.
func (b *batch) items(size int) ([]byte, error) {
	length, data, err := b.take(2)
	if err != nil {
		return nil, err
	}
	if length > int64(len(data[0])/size) {
		return nil, fmt.Errorf("%d bytes for %d items of %d: %w", len(data[0]), length, size, ErrTruncated)
	}
	return data[0][:int(length)*size], nil
}
