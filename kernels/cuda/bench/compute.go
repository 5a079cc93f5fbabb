package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// Inputs returns numbers for a case, by the names of its operands, for [Compute] and
// for whoever computes the same. A layer's W holds numbers of bfloat16, and its mask
// is 0 and 1.
func Inputs(c Case, p sparse.Pattern) (map[string][]float32, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	r := random(7)
	in := map[string][]float32{}
	add := func(name string, n int, size float32) {
		v := make([]float32, n)
		for i := range v {
			v[i] = r.between(size)
		}
		in[name] = v
	}
	switch c.Suite {
	case Layer:
		if err := p.Fits(c.In); err != nil {
			return nil, err
		}
		add("x", c.Tokens*c.In, 1)
		add("dy", c.Tokens*c.Out, 1)
		add("A", c.Rank*c.In, 0.5)
		add("B", c.Out*c.Rank, 0.5)
		add("W", c.Out*c.In, 1)
		for i, v := range in["W"] {
			in["W"][i] = kernels.RoundTo(kernels.BF16, v)
		}
		mask := p.Random(c.Out, c.In, r.below)
		add("mask", c.Out*c.In, 0)
		for i := range in["mask"] {
			in["mask"][i] = 0
			if mask.Get(i/c.In, i%c.In) {
				in["mask"][i] = 1
			}
		}
	case Attention:
		for _, name := range []string{"q", "k", "v", "do"} {
			add(name, c.Tokens*c.Heads*c.HeadDim, 1)
		}
	case Loss:
		add("logits", c.Tokens*c.Vocabulary, 4)
		add("teacher", c.Tokens*c.Vocabulary, 4)
		add("labels", c.Tokens, 0)
		for i := range in["labels"] {
			in["labels"][i] = float32(r.below(c.Vocabulary))
		}
	default:
		return nil, fmt.Errorf("%v: nobody else computes this", c)
	}
	return in, nil
}

// outputs are the results of each suite.
func outputs(suite string) []string {
	return map[string][]string{Layer: {"y", "dx", "dA", "dB"}, Attention: {"o", "dq", "dk", "dv"}, Loss: {"dlogits"}}[suite]
}

// Compute runs a case once on d, without rounding the effective weight, and returns its
// results by name.
func Compute(ctx context.Context, d kernels.Device, c Case, in map[string][]float32) (_ map[string][]float32, err error) {
	o := &operands{device: d, given: in, named: map[string]kernels.Tensor{}}
	if o.stream, err = d.NewStream(); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, o.stream.Close())
		for _, b := range o.buffers {
			d.Free(b)
		}
	}()
	var w sparse.Packed
	if c.Suite == Layer {
		mask := sparse.New(c.Out, c.In)
		raw := make([]byte, 0, 2*c.Out*c.In)
		for i, v := range in["W"] {
			mask.Set(i/c.In, i%c.In, in["mask"][i] != 0)
			raw = binary.LittleEndian.AppendUint16(raw, kernels.ToBF16(v))
		}
		if w, err = sparse.Pack(mask, kernels.BF16, raw); err != nil {
			return nil, err
		}
	}
	parts := o.parts(c, w, kernels.F32)
	if o.err != nil {
		return nil, o.err
	}
	for _, p := range parts {
		p.run(o.stream)
	}
	raw, out := map[string][]byte{}, map[string][]float32{}
	for _, name := range outputs(c.Suite) {
		raw[name] = make([]byte, o.named[name].Bytes())
		o.stream.Download(raw[name], o.named[name])
	}
	if err := o.stream.Synchronize(ctx); err != nil {
		return nil, err
	}
	for name, b := range raw {
		out[name] = kernels.DecodeF32(b)
	}
	return out, nil
}
