package generate

import (
	"math"
	"slices"

	"ressa/kernels"
	"ressa/trainer/random"
)

// site separates these numbers from other uses of the seed.
const site random.Site = 0x5341_4D50 // "SAMP"

// sample draws a token for every row of logits, F32 (B, vocabulary) as bytes.
func (r *run) sample(raw []byte, vocabulary int) []int32 {
	next := make([]int32, len(r.lengths))
	for i := range next {
		logits := kernels.DecodeF32(raw[4*i*vocabulary : 4*(i+1)*vocabulary])
		u := random.New(r.options.Seed, uint32(r.lengths[i]), uint32(r.options.FirstSequence+i), site)
		next[i] = draw(logits, r.options, u.Float64())
	}
	return next
}

// candidate is a token that may be drawn, with its unnormalised probability.
type candidate struct {
	token  int32
	logit  float32
	weight float64
}

// draw returns the token at u in [0, 1) of the cumulative distribution over the
// candidates that top-k and then top-p leave, most likely first and the lower
// token first where two are equal. Like transformers, top-p keeps the token that
// crosses the bound, so that at least one is left. NaN logits are never drawn
// unless there is nothing else.
func draw(logits []float32, o Options, u float64) int32 {
	cs := make([]candidate, len(logits))
	for i, z := range logits {
		if math.IsNaN(float64(z)) {
			z = float32(math.Inf(-1))
		}
		cs[i] = candidate{token: int32(i), logit: z}
	}
	slices.SortStableFunc(cs, func(a, b candidate) int {
		switch {
		case a.logit > b.logit:
			return -1
		case a.logit < b.logit:
			return 1
		}
		return 0
	})
	if o.TopK > 0 && o.TopK < len(cs) {
		cs = cs[:o.TopK]
	}
	total := weigh(cs, o.Temperature)
	if o.TopP > 0 && o.TopP < 1 {
		var mass float64
		for i := range cs {
			if mass += cs[i].weight; mass >= o.TopP*total {
				cs, total = cs[:i+1], mass
				break
			}
		}
	}
	at := u * total
	for _, c := range cs {
		if at -= c.weight; at < 0 {
			return c.token
		}
	}
	return cs[0].token // rounding, or no finite logit
}

// weigh writes exp((logit − greatest)/temperature) and returns the sum.
func weigh(cs []candidate, temperature float64) float64 {
	var total float64
	for i := range cs {
		// The greatest has weight 1, also where it is infinite.
		cs[i].weight = 1
		if cs[i].logit != cs[0].logit {
			cs[i].weight = math.Exp((float64(cs[i].logit) - float64(cs[0].logit)) / temperature)
		}
		total += cs[i].weight
	}
	return total
}
