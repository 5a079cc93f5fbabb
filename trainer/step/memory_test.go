package step_test

import (
	"context"
	"fmt"
	"testing"

	"ressa/kernels"
	"ressa/kernels/dry"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/objective"
	"ressa/trainer/step"
)

// smolConfig has the sizes of SmolVLM-256M: its vision encoder at 512 pixels, its
// language model, one row of the language model a patch.
func smolConfig() llava.Config {
	return llava.Config{
		Vision: llava.VisionConfig{Hidden: 768, Inner: 3072, Blocks: 12, Heads: 12, Channels: 3, Image: 512, Patch: 16,
			Activation: kernels.GELUTanh, Epsilon: 1e-6},
		Language: llava.LanguageConfig{Hidden: 576, Inner: 1536, Blocks: 30, Heads: 9, KVHeads: 3, HeadDim: 64, Vocabulary: 49280, MaxPositions: 4096,
			RopeTheta: 1e5, Activation: kernels.SiLU, Epsilon: 1e-5},
		ImageToken: 49190, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 12,
	}
}

// demoConfig has the sizes of the demo's model.
func demoConfig() llava.Config {
	return llava.Config{
		Vision: llava.VisionConfig{Hidden: 48, Inner: 192, Blocks: 3, Heads: 3, Channels: 3, Image: 56, Patch: 14,
			Activation: kernels.QuickGELU, Epsilon: 1e-5},
		Language: llava.LanguageConfig{Hidden: 48, Inner: 128, Blocks: 3, Heads: 3, KVHeads: 3, HeadDim: 16, Vocabulary: 144, MaxPositions: 256,
			RopeTheta: 1e4, Activation: kernels.SiLU, Epsilon: 1e-5},
		ImageToken: 4, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 3,
	}
}

// account is what a repair step holds, in bytes.
type account struct {
	weights, masks, trained  int
	vision, language, logits int // activations kept; of the language tower with the gradient of the rows
	peak, extent             int // of the lane's pool: handed out, and with the gaps between
}

func (a account) total() int { return a.weights + a.masks + a.trained + a.extent }

// marked tells what the pool holds after a node's forward.
type marked struct {
	step.Node
	after *int
}

func (m marked) Forward(ctx context.Context, l *model.Lane, mb *step.Microbatch, in []model.Edge) (model.Edge, step.Kept, error) {
	out, kept, err := m.Node.Forward(ctx, l, mb, in)
	*m.after = l.Pool.InUse()
	return out, kept, err
}

// accountOf computes one microbatch with one teacher on a device that only counts.
func accountOf(t *testing.T, c llava.Config, samples, text, rank int, recompute model.Recompute) (a account) {
	t.Helper()
	ctx, d := context.Background(), dry.Open()
	m, err := llava.New(ctx, d, c, 1, llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	pool := model.NewPool(d)
	pool.Reserve(1 << 50)
	var lanes []*model.Lane
	for _, tower := range []model.Tower{m.Vision, m.Language} {
		for _, p := range tower.Params() {
			a.weights += p.Value.Bytes() / 2 // both models' checkpoints are bfloat16
		}
		for _, n := range tower.Linears() {
			if tower.Prunable(n) {
				a.masks += 8 * n.Out() * kernels.MaskWords(n.In())
			}
		}
		at, err := adapter.Attach(ctx, d, tower, adapter.Options{Method: adapter.SparseLoRA, Rank: rank, Alpha: 16, Projector: true, Round: kernels.BF16})
		if err != nil {
			t.Fatal(err)
		}
		b, err := d.Alloc(4 * at.Layout.Len)
		if err != nil {
			t.Fatal(err)
		}
		v := kernels.NewTensor(b, kernels.F32, 1, at.Layout.Len)
		lanes = append(lanes, &model.Lane{Stream: s, Pool: pool, Values: v, Grads: v, Recompute: recompute})
		a.trained += 4 * 4 * at.Layout.Len // value, two moments, gradient
	}
	o := distilling(t, "dense-dense")
	w := step.Walk{Graph: step.Graph{Inputs: [][]int{nil, {0}}, Nodes: []step.Node{
		marked{&step.TowerNode{Role: step.Vision, Tower: m.Vision, Flows: step.VisionFlows(o)}, &a.vision},
		marked{&step.TowerNode{Role: step.Language, Tower: m.Language, Flows: step.LanguageFlows(o), Loss: &step.Loss{Language: m.Language, Config: o},
			InputGradient: true}, &a.language},
	}}}
	if _, err := w.Run(ctx, lanes, &step.Microbatch{Batch: wordy(c, samples, text), Scales: objective.Scales{CE: 1, KL: 1}}); err != nil {
		t.Fatal(err)
	}
	a.language -= a.vision
	a.logits = 2 * 4 * min(samples*text, step.ChunkRows(c.Language.Vocabulary)) * c.Language.Vocabulary
	a.peak, a.extent = pool.Peak(), pool.Extent()
	return a
}

// wordy is a microbatch whose samples have an image and so many words, all of them
// answers.
func wordy(c llava.Config, samples, text int) *data.Batch {
	var list []data.Sample
	per := c.FeaturesPerImage()
	for range samples {
		s := data.Sample{Tokens: make([]int32, per+text), Labels: make([]int32, per+text), Pixels: [][]float32{make([]float32, c.Vision.PixelsPerImage())}}
		for i := range per {
			s.ImageRows, s.Labels[i] = append(s.ImageRows, int32(i)), data.Ignore
		}
		list = append(list, s)
	}
	b, err := data.Collate(list, 0)
	if err != nil {
		panic(err)
	}
	return &b
}

// naive is what the published form holds in float32 at least, with the modules of
// transformers: weights once for student and teacher, of each masked layer
// (W + s·B·A)⊙M and a byte a weight of M until backward, what autograd keeps of each
// block, and the logits of both with their softmaxes. Its dense gradients, copies
// and the memory of its libraries are not counted.
func naive(c llava.Config, a account, samples, text int) int {
	v, l := c.Vision, c.Language
	q, kv := l.Heads*l.HeadDim, l.KVHeads*l.HeadDim
	masked := v.Blocks*(4*v.Hidden*v.Hidden+2*v.Hidden*v.Inner) + l.Blocks*(2*l.Hidden*(q+kv)+3*l.Hidden*l.Inner)
	// Vision: input and output of both norms, q, k, v, the output of attention as it
	// comes and as its linear reads it, input and output of the activation, and of
	// QuickGELU its sigmoid.
	inner := 2
	if v.Activation == kernels.QuickGELU {
		inner = 3
	}
	kept := v.Blocks * samples * v.Tokens() * (9*v.Hidden + inner*v.Inner)
	// Language: the same, but RMS norms keep the normalised rows too, keys and values
	// are repeated for every head, and a gate makes four inner tensors.
	kept += l.Blocks * samples * (c.FeaturesPerImage() + text) * (6*l.Hidden + 5*q + 4*l.Inner)
	// Logits, both log-softmaxes of the student; logits and softmax of the teacher.
	logits := 5 * samples * text * l.Vocabulary
	return 2*a.weights + a.trained + 5*masked + 4*(kept+logits)
}

// The share of what the naive form takes, by what is computed again: half at most
// for the large model, whatever is kept. The demo's layers are small beside its
// activations, of which the naive form keeps no more than twice as many.
func TestMemoryOfAStep(t *testing.T) {
	for _, m := range []struct {
		name                string
		config              llava.Config
		samples, text, rank int
		most                []float64
	}{
		{"the demo's model", demoConfig(), 16, 12, 16, []float64{0.63, 0.49, 0.35}}, // 128 samples in 8 microbatches
		{"SmolVLM-256M's sizes", smolConfig(), 1, 1000, 8, []float64{0.38, 0.25, 0.14}},
	} {
		t.Run(m.name, func(t *testing.T) {
			for recompute, most := range m.most {
				a := accountOf(t, m.config, m.samples, m.text, m.rank, model.Recompute(recompute))
				n := naive(m.config, a, m.samples, m.text)
				mib := func(bytes int) string { return fmt.Sprintf("%.2f", float64(bytes)/(1<<20)) }
				name, share := []string{"none", "mlps", "blocks"}[recompute], float64(a.total())/float64(n)
				t.Logf("recompute %s, MiB: weights %s, masks %s, trained %s; kept: vision %s, language %s; logits of a chunk %s; peak of the pool %s, with gaps %s; "+
					"in all %s, naive %s: %.3f", name, mib(a.weights), mib(a.masks), mib(a.trained), mib(a.vision), mib(a.language), mib(a.logits),
					mib(a.peak), mib(a.extent), mib(a.total()), mib(n), share)
				if share > most {
					t.Errorf("recompute %s: %s MiB, %.3f of %s, want at most %v", name, mib(a.total()), share, mib(n), most)
				}
				if 20*a.extent > 21*a.peak {
					t.Errorf("recompute %s: gaps take %s of %s MiB", name, mib(a.extent-a.peak), mib(a.extent))
				}
			}
		})
	}
}
