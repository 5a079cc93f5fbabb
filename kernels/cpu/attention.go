//go:build cgo

package cpu

// #include "kernels.h"
import "C"

import (
	"fmt"
	"unsafe"

	"ressa/kernels"
)

const (
	// attentionBlock is how many queries a task of the forward pass takes of a long sequence.
	attentionBlock = 64
	// fewQueries is the number of queries up to which scores are dot products.
	fewQueries = 3
	// groupRows is the size of a group of heads from which their single queries
	// are treated as the rows of one block.
	groupRows = 4
)

// AttentionForward writes O and LogSumExp. Rows that see no key get 0 and −∞.
func (s *stream) AttentionForward(a kernels.AttentionArgs) {
	g := s.attention("attention", a)
	if s.err != nil {
		return
	}
	work := attentionWork(a)
	switch group := a.Heads / a.KVHeads; {
	case a.QueryLen == 1 && group >= groupRows:
		s.run(s.table.attention_group, a.Batch*a.KVHeads, C.RK_ATTENTION_SCRATCH, work)
	case a.QueryLen <= fewQueries:
		s.run(s.table.attention_rows, a.Batch*a.Heads, C.RK_ATTENTION_SCRATCH, work)
	default:
		blocks := (a.QueryLen + attentionBlock - 1) / attentionBlock
		g.block, g.blocks = attentionBlock, C.int64_t(blocks)
		s.run(s.table.attention_queries, a.Batch*a.Heads*blocks, C.RK_ATTENTION_SCRATCH, work)
	}
}

// AttentionBackward overwrites DQ, DK and DV. A tile of keys adds to dQ after the
// tile before it, so that tiles may be shared out and five products still do. Where
// there are heads enough a task is a head, and nothing waits.
func (s *stream) AttentionBackward(a kernels.AttentionArgs, grads kernels.AttentionGrads) {
	const op = "attention backward"
	g := s.attention(op, a)
	s.fail(grads.Check(a))
	g.d_o = s.mat(op, "dO", grads.DO, -1, -1, f32)
	g.dq = s.mat(op, "dQ", grads.DQ, -1, -1, f32)
	g.dk = s.mat(op, "dK", grads.DK, -1, -1, f32)
	g.dv = s.mat(op, "dV", grads.DV, -1, -1, f32)
	if s.err != nil {
		return
	}
	heads, rows := a.Batch*a.KVHeads, a.Batch*a.QueryLen
	tiles := (a.Pitch() + C.RK_ATTENTION_KEYS - 1) / C.RK_ATTENTION_KEYS
	mem := s.shared(8*heads*tiles + 4*a.Heads*rows)
	if s.err != nil {
		return
	}
	clear(unsafe.Slice((*int64)(mem), heads*tiles))
	g.progress, g.delta = (*C.int64_t)(mem), (*C.float)(unsafe.Add(mem, 8*heads*tiles))
	g.batch_rows = C.int64_t(rows)
	blocks, block := tiles, 1
	if heads >= 2*s.device.threads {
		blocks, block = 1, tiles
	}
	g.blocks, g.block = C.int64_t(blocks), C.int64_t(block)
	scratch := 4 * 2 * C.RK_ATTENTION_KEYS * (a.HeadDim + C.RK_GRADIENT_QUERIES)
	s.run(s.table.attention_backward, heads*blocks, scratch, 3*attentionWork(a))
}

// attentionArgs is the argument struct of all attention kernels.
type attentionArgs C.struct_rk_attention

// attention returns the arguments that forward and backward share.
func (s *stream) attention(op string, a kernels.AttentionArgs) *attentionArgs {
	g := arguments[attentionArgs](s)
	s.fail(a.Check())
	g.q = s.mat(op, "Q", a.Q, -1, -1, f32)
	g.o = s.mat(op, "O", a.O, -1, -1, f32)
	g.k = s.mat(op, "K", a.K, -1, -1, f32)
	g.v = s.mat(op, "V", a.V, -1, -1, f32)
	g.lse = s.mat(op, "LogSumExp", a.LogSumExp, -1, -1, f32)
	g.lengths = s.optional(op, "Lengths", a.Lengths, 1, a.Batch, i32)
	g.heads, g.kv_heads, g.dim = C.int64_t(a.Heads), C.int64_t(a.KVHeads), C.int64_t(a.HeadDim)
	g.q_len, g.k_len, g.pitch = C.int64_t(a.QueryLen), C.int64_t(a.KeyLen), C.int64_t(a.Pitch())
	g.scale = C.float(a.Scale)
	if a.Causal {
		g.causal = 1
	}
	if s.err == nil && g.lengths.data != nil {
		for i, n := range unsafe.Slice((*int32)(g.lengths.data), a.Batch) {
			if n < 0 || int(n) > a.KeyLen {
				s.err = fmt.Errorf("%s: lengths[%d] is %d, want 0 to %d", op, i, n, a.KeyLen)
			}
		}
	}
	return g
}

// attentionWork is the elementary operations of a forward pass, in units of
// memory-bound work: a multiply-add in registers costs an eighth of one.
func attentionWork(a kernels.AttentionArgs) int {
	return a.Batch * a.Heads * a.QueryLen * a.KeyLen * (2*a.HeadDim + 32) / 8
}
