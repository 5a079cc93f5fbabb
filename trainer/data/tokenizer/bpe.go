package tokenizer

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"strings"
)

// bpe is byte-pair encoding with merge ranks (Sennrich, Haddow, Birch, "Neural
// Machine Translation of Rare Words with Subword Units", ACL 2016).
type bpe struct {
	vocab        map[string]int32
	merges       map[[2]int32]merge
	bytes        [256]int32 // ids of <0x00>…<0xFF>; −1 where missing
	byteFallback bool
	unknown      int32 // −1: none, unknown characters are dropped
	fuseUnknown  bool
	ignoreMerges bool // a piece that is a token as a whole is not merged
}

type merge struct{ rank, id int32 }

type bpeFile struct {
	Type          string            `json:"type"`
	Dropout       *float64          `json:"dropout"`
	UnknownToken  *string           `json:"unk_token"`
	Prefix        *string           `json:"continuing_subword_prefix"`
	Suffix        *string           `json:"end_of_word_suffix"`
	FuseUnknown   bool              `json:"fuse_unk"`
	ByteFallback  bool              `json:"byte_fallback"`
	IgnoreMerges  bool              `json:"ignore_merges"`
	Vocab         map[string]int32  `json:"vocab"`
	Merges        []json.RawMessage `json:"merges"`
	CacheCapacity *int              `json:"cache_capacity"` // changes speed only
}

func parseBPE(raw json.RawMessage) (*bpe, map[string]int32, error) {
	var f bpeFile
	if err := strict(raw, "model", &f); err != nil {
		return nil, nil, err
	}
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		return nil, nil, fmt.Errorf("model.dropout: %v is not supported, want null", *f.Dropout)
	case f.Prefix != nil && *f.Prefix != "":
		return nil, nil, fmt.Errorf("model.continuing_subword_prefix: %q is not supported, want null", *f.Prefix)
	case f.Suffix != nil && *f.Suffix != "":
		return nil, nil, fmt.Errorf("model.end_of_word_suffix: %q is not supported, want null", *f.Suffix)
	case len(f.Vocab) == 0:
		return nil, nil, fmt.Errorf("model.vocab is empty")
	}
	m := &bpe{
		vocab: f.Vocab, merges: make(map[[2]int32]merge, len(f.Merges)), unknown: -1,
		byteFallback: f.ByteFallback, fuseUnknown: f.FuseUnknown, ignoreMerges: f.IgnoreMerges,
	}
	if f.UnknownToken != nil {
		id, ok := f.Vocab[*f.UnknownToken]
		if !ok {
			return nil, nil, fmt.Errorf("model.unk_token: %q is not in model.vocab", *f.UnknownToken)
		}
		m.unknown = id
	}
	for b := range m.bytes {
		m.bytes[b] = -1
		if id, ok := f.Vocab[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.bytes[b] = id
		}
	}
	for rank, r := range f.Merges {
		left, right, err := readMerge(r)
		if err != nil {
			return nil, nil, fmt.Errorf("model.merges[%d]: %w", rank, err)
		}
		var ids [3]int32
		for i, token := range []string{left, right, left + right} {
			id, ok := f.Vocab[token]
			if !ok {
				return nil, nil, fmt.Errorf("model.merges[%d]: %q is not in model.vocab", rank, token)
			}
			ids[i] = id
		}
		m.merges[[2]int32{ids[0], ids[1]}] = merge{int32(rank), ids[2]}
	}
	return m, f.Vocab, nil
}

// readMerge reads "left right" or ["left", "right"].
func readMerge(raw json.RawMessage) (left, right string, err error) {
	var joined string
	if json.Unmarshal(raw, &joined) == nil {
		left, right, ok := strings.Cut(joined, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return "", "", fmt.Errorf("%q is not two tokens and a space between", joined)
		}
		return left, right, nil
	}
	var pair []string
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return "", "", fmt.Errorf("%s is not a pair of tokens", raw)
	}
	return pair[0], pair[1], nil
}

func (m *bpe) id(token string) (int32, bool) {
	id, ok := m.vocab[token]
	return id, ok
}

func (m *bpe) tokenize(ids []int32, text string) ([]int32, error) {
	if text == "" {
		return ids, nil
	}
	if m.ignoreMerges {
		if id, ok := m.vocab[text]; ok {
			return append(ids, id), nil
		}
	}
	return m.mergeAll(ids, m.symbols(text)), nil
}

// symbols are the ids of the characters of text, before any merge.
func (m *bpe) symbols(text string) []int32 {
	out := make([]int32, 0, len(text))
	pending := false // an unknown run whose token is not written yet
	for i, r := range text {
		c := text[i : i+len(string(r))]
		if id, ok := m.vocab[c]; ok {
			if pending {
				out, pending = append(out, m.unknown), false
			}
			out = append(out, id)
			continue
		}
		if m.byteFallback && m.hasBytes(c) {
			for _, b := range []byte(c) {
				out = append(out, m.bytes[b])
			}
			continue
		}
		if m.unknown < 0 {
			continue
		}
		if pending && !m.fuseUnknown {
			out = append(out, m.unknown)
		}
		pending = true
	}
	if pending {
		out = append(out, m.unknown)
	}
	return out
}

func (m *bpe) hasBytes(c string) bool {
	for _, b := range []byte(c) {
		if m.bytes[b] < 0 {
			return false
		}
	}
	return true
}

// mergeAll applies the lowest-ranked merge, the leftmost of equals, until none is
// left: O(n log n) with a heap over a linked list.
func (m *bpe) mergeAll(ids, symbols []int32) []int32 {
	n := len(symbols)
	next, prev, gone := make([]int, n), make([]int, n), make([]bool, n)
	q := &mergeQueue{}
	push := func(at int) {
		if at >= 0 && next[at] < n {
			if e, ok := m.merges[[2]int32{symbols[at], symbols[next[at]]}]; ok {
				heap.Push(q, candidate{e, at})
			}
		}
	}
	for i := range symbols {
		next[i], prev[i] = i+1, i-1
	}
	for i := range symbols {
		push(i)
	}
	for q.Len() > 0 {
		c := heap.Pop(q).(candidate)
		at := c.at
		if gone[at] || next[at] >= n {
			continue
		}
		right := next[at]
		if e, ok := m.merges[[2]int32{symbols[at], symbols[right]}]; !ok || e.id != c.id {
			continue // a neighbour was merged away since
		}
		symbols[at], gone[right] = c.id, true
		next[at] = next[right]
		if next[at] < n {
			prev[next[at]] = at
		}
		push(prev[at])
		push(at)
	}
	for i, id := range symbols {
		if !gone[i] {
			ids = append(ids, id)
		}
	}
	return ids
}

type candidate struct {
	merge
	at int
}

type mergeQueue []candidate

func (q mergeQueue) Len() int { return len(q) }
func (q mergeQueue) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].at < q[j].at
}
func (q mergeQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *mergeQueue) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *mergeQueue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q = (*q)[:last]
	return c
}
