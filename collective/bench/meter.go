package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"ressa/collective/allreduce"
	"ressa/collective/link"
	"ressa/collective/reduce"
	"ressa/collective/tensor"
	"ressa/collective/vector"
	"ressa/kernels"
)

// meter measures on one rank.
type meter struct {
	plan    Plan
	session *link.Session
	reducer *allreduce.Reducer
	ring    *ring
	count   int // of exchanges: their keys

	own, out []float32 // what this rank contributes; the sum
	keep     *allreduce.Keep
	wire     []byte // of a message
}

// batch is how many bytes are moved between two looks at the clock, at least.
const batch = 32 << 20

// measure runs all kinds in turns at one size.
func (m *meter) measure(ctx context.Context, size int) ([]Row, error) {
	n := size / 4
	m.own, m.out = make([]float32, n), make([]float32, n)
	for i := range m.own {
		m.own[i] = value(m.plan.Rank, i)
	}
	m.keep = allreduce.NewKeep(n)
	for i := 0; i < n; i += 2 {
		if err := m.keep.Range(i, i+1); err != nil {
			return nil, err
		}
	}
	rows := make([]Row, len(m.plan.Kinds))
	for turn := range m.plan.Turns + 1 {
		repeat := max(1, min(64, batch/size))
		for i, kind := range m.plan.Kinds {
			if turn == 0 { // warms up, and checks the sums
				repeat = 1
			}
			seconds, err := m.turn(ctx, kind, repeat)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			rows[i].Kind, rows[i].World, rows[i].Size = kind, m.plan.World, size
			if turn > 0 {
				rows[i].Times = append(rows[i].Times, seconds)
			}
		}
	}
	return rows, nil
}

// value is element i of what a rank contributes: sums of them are exact in fp32 and
// nearly all in bf16 too.
func value(rank, i int) float32 { return float32((i%61 + rank) % 64) }

// turn returns the seconds of one exchange, until the last rank was done.
func (m *meter) turn(ctx context.Context, kind string, repeat int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if t, ok := ctx.Deadline(); ok {
		if err := m.ring.until(t); err != nil {
			return 0, err
		}
	}
	copy(m.out, m.own) // sums are made in place, again and again
	if err := m.session.Barrier(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	for range repeat {
		if err := m.exchange(ctx, kind); err != nil {
			return 0, err
		}
	}
	took := time.Since(begin).Seconds() / float64(repeat)
	if repeat == 1 {
		if err := m.verify(kind); err != nil {
			return 0, err
		}
	}
	m.count++
	all, err := m.session.AllGather(ctx, nil, fmt.Sprint("time ", m.count), binary.LittleEndian.AppendUint64(nil, math.Float64bits(took)))
	if err != nil {
		return 0, err
	}
	for _, b := range all {
		if len(b) == 8 {
			took = max(took, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	}
	return took, nil
}

// exchange runs a kind once.
func (m *meter) exchange(ctx context.Context, kind string) error {
	m.count++
	key := fmt.Sprint(m.count)
	switch kind {
	case Ring:
		return m.ring.allReduce(m.out)
	case Pipe:
		return m.pipe()
	case Arrow:
		return m.activation(ctx, key)
	}
	d := allreduce.Reduction{Key: key, Len: len(m.out), Wire: kernels.F32}
	for r := range m.plan.World {
		d.Owners = append(d.Owners, r)
	}
	if kind == BF16 || kind == MaskedBF16 {
		d.Wire = kernels.BF16
	}
	if kind == Masked || kind == MaskedBF16 {
		d.Keep = m.keep
	}
	return m.reducer.AllReduce(ctx, d, []allreduce.Part{{Subtree: reduce.Leaf(m.plan.Rank), Value: m.out}}, m.out)
}

// verify compares a sum with what it must be.
func (m *meter) verify(kind string) error {
	if kind == Pipe || kind == Arrow {
		return nil
	}
	step := max(1, len(m.out)/4096) | 1
	for i := 0; i < len(m.out); i += step {
		want := float32(0)
		for r := range m.plan.World {
			want += value(r, i)
		}
		switch {
		case (kind == Masked || kind == MaskedBF16) && i%2 == 1:
			want = 0
		case kind == BF16 || kind == MaskedBF16:
			want = kernels.RoundTo(kernels.BF16, want)
		}
		if math.Float32bits(m.out[i]) != math.Float32bits(want) {
			return fmt.Errorf("element %d of the sum is %v, want %v", i, m.out[i], want)
		}
	}
	return nil
}

// pipe sends plain bytes from rank 0 to rank 1, which answers with one.
func (m *meter) pipe() error {
	var err error
	switch m.plan.Rank {
	case 0:
		if _, err = m.ring.next.Write(vector.Bytes(m.own)); err == nil {
			err = m.passRing()
		}
	case 1:
		if _, err = io.ReadFull(m.ring.prev, vector.Bytes(m.out)); err == nil {
			_, err = m.ring.next.Write([]byte{1})
		}
	default:
		err = m.passRing()
		if err == nil {
			_, err = m.ring.next.Write([]byte{1})
		}
	}
	return err
}

// passRing waits for the byte that goes round.
func (m *meter) passRing() error {
	_, err := io.ReadFull(m.ring.prev, make([]byte, 1))
	return err
}

// activation sends a tensor message from rank 0 to rank 1, from host memory to host
// memory.
func (m *meter) activation(ctx context.Context, key string) error {
	head := tensor.Header{Generation: 1, Edge: "vision>language"}
	const cols = 64
	switch m.plan.Rank {
	case 0:
		msg := &tensor.Message{Header: head, Arrays: []tensor.Array{{Name: "features", DType: kernels.F32, Rows: len(m.own) / cols, Cols: cols, Data: vector.Bytes(m.own)}}}
		if need := tensor.Bound(msg); cap(m.wire) < need {
			m.wire = make([]byte, need)
		}
		raw, err := tensor.Encode(m.wire, msg)
		if err != nil {
			return err
		}
		return m.session.Send(ctx, 1, key, raw)
	case 1:
		if need := 4*len(m.out) + 4096; cap(m.wire) < need {
			m.wire = make([]byte, need)
		}
		n, err := m.session.RecvInto(ctx, 0, key, m.wire[:cap(m.wire)])
		if err != nil {
			return err
		}
		_, err = tensor.Decode(m.wire[:n], tensor.Want{Header: head})
		return err
	}
	return nil
}
