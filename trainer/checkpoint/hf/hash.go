package hf

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ressa/trainer/checkpoint/safetensors"
)

// The hash of a model is the SHA-256, in hexadecimal, of a label, then for the
// weights and for the masks their number and, in the order of their canonical
// names,
//
//	len(name) name len(dtype) dtype dimensions dim₀ dim₁ … SHA-256(bytes)
//
// with every number as 8 bytes, little-endian. Tensors are hashed one by one, so
// that they can be hashed at the same time.
const hashLabel = "ressa model 1\n"

// Hash returns the hash of a model given as entries with canonical names; masks
// may be nil. It is what [Folder.Hash] and [Folder.BaseHash] return once the
// entries are written. Each entry's Write is called once, in order of name.
func Hash(ctx context.Context, weights, masks []safetensors.Entry) (string, error) {
	h := sha256.New()
	_, _ = h.Write([]byte(hashLabel))
	for _, list := range [][]safetensors.Entry{weights, masks} {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b safetensors.Entry) int { return strings.Compare(a.Name, b.Name) })
		number(h, len(list))
		for i, e := range list {
			if i > 0 && list[i-1].Name == e.Name {
				return "", fmt.Errorf("hash: tensor %q: given twice", e.Name)
			}
			sum, err := sumEntry(ctx, e)
			if err != nil {
				return "", fmt.Errorf("hash: tensor %q: %w", e.Name, err)
			}
			describe(h, e.Name, e.DType, e.Shape, sum)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Hash returns the hash of the weights: canonical names, dtypes, shapes and
// bytes, not their spelling or their division into shards.
func (f *Folder) Hash(ctx context.Context) (string, error) {
	return f.hash(ctx, nil)
}

// BaseHash returns the hash of weights and masks together: the immutable base
// that adapters belong to. It equals Hash for a folder without masks.
func (f *Folder) BaseHash(ctx context.Context) (string, error) {
	return f.hash(ctx, f.masks)
}

func (f *Folder) hash(ctx context.Context, masks map[string]stored) (string, error) {
	h := sha256.New()
	_, _ = h.Write([]byte(hashLabel))
	for _, list := range []map[string]stored{f.tensors, masks} {
		names := slices.Sorted(maps.Keys(list))
		sums := make([][]byte, len(names))
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(runtime.GOMAXPROCS(0))
		for i, name := range names {
			group.Go(func() error {
				t, err := list[name].file.Tensor(list[name].key)
				if err == nil {
					sums[i], err = sumEntry(ctx, safetensors.NewEntry(name, t))
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return "", fmt.Errorf("hash %s: %w", f.dir, err)
		}
		number(h, len(names))
		for i, name := range names {
			t, err := list[name].file.Tensor(list[name].key)
			if err != nil {
				return "", err
			}
			describe(h, name, t.DType, t.Shape, sums[i])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sumEntry hashes the bytes of one tensor and checks how many they are.
func sumEntry(ctx context.Context, e safetensors.Entry) ([]byte, error) {
	want, err := safetensors.ByteSize(e.DType, e.Shape)
	if err != nil {
		return nil, err
	}
	w := &hashWriter{ctx: ctx, hash: sha256.New()}
	if err := e.Write(w); err != nil {
		return nil, err
	}
	if w.n != want {
		return nil, fmt.Errorf("its source gave %d bytes, expected %d for %v %v", w.n, want, e.DType, e.Shape)
	}
	return w.hash.Sum(nil), nil
}

// hashWriter hashes in pieces, so that it stops soon after ctx ends.
type hashWriter struct {
	ctx  context.Context
	hash hash.Hash
	n    int
}

func (w *hashWriter) Write(p []byte) (int, error) {
	const piece = 4 << 20
	for rest := p; len(rest) > 0; {
		if err := w.ctx.Err(); err != nil {
			return 0, err
		}
		n := min(len(rest), piece)
		_, _ = w.hash.Write(rest[:n])
		rest = rest[n:]
	}
	w.n += len(p)
	return len(p), w.ctx.Err()
}

func describe(h hash.Hash, name string, d safetensors.DType, shape []int, sum []byte) {
	for _, s := range []string{name, d.String()} {
		number(h, len(s))
		_, _ = h.Write([]byte(s))
	}
	number(h, len(shape))
	for _, dim := range shape {
		number(h, dim)
	}
	_, _ = h.Write(sum)
}

func number(h hash.Hash, n int) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	_, _ = h.Write(b[:])
}
