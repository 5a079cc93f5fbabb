package llava

import (
	"context"
	"hash/fnv"

	"ressa/kernels"
	"ressa/trainer/random"
)

// initSite separates these numbers from other uses of the seed.
const initSite random.Site = 0x494E_4954 // "INIT"

// New returns a model with random weights in float32: matrices, embeddings and
// the class embedding from a normal distribution with the standard deviation of
// the configuration (initializer_range), norms 1 and 0, biases 0. A parameter's
// numbers depend on the seed and on its canonical name alone, so that stages of
// a model hold what the whole one does.
func New(ctx context.Context, device kernels.Device, c Config, seed uint64, o Options) (*Model, error) {
	return build(ctx, device, c, o, func(s *store) source { return &drawn{store: s, config: c, seed: seed} })
}

// drawn is the source of random parameters.
type drawn struct {
	store  *store
	config Config
	seed   uint64
}

func (d *drawn) load(name string, shape []int, kind initial) (kernels.Tensor, error) {
	rows, cols, err := matrix(shape)
	if err != nil {
		return kernels.Tensor{}, err
	}
	values := make([]float32, rows*cols)
	switch kind {
	case ones:
		for i := range values {
			values[i] = 1
		}
	case normalVision:
		d.normal(values, name, d.config.Vision.InitStd)
	case normalLanguage:
		d.normal(values, name, d.config.Language.InitStd)
	}
	return d.store.put(kernels.F32, rows, cols, kernels.EncodeF32(values))
}

func (d *drawn) normal(values []float32, name string, std float32) {
	if std == 0 {
		return
	}
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	key := h.Sum64()
	r := random.New(d.seed, uint32(key), uint32(key>>32), initSite)
	for i := range values {
		values[i] = r.Normal() * std
	}
}
