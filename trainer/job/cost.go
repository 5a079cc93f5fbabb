package job

import (
	"fmt"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/kernels/sparse"
	"ressa/shard"
	"ressa/trainer/adapter"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/step"
)

// A product of (T, in) with a weight (out, in) takes 2·T·in·out flops; forming its
// effective weight from factors of rank r takes 2·r·in·out more. Element-wise
// operations are not counted. Bytes kept are those of the states of package layer
// and step, in the sizes that pools hand out, for samples of the job's greatest
// length; flops are for the usual one.

// cost knows what a job trains and keeps.
type cost struct {
	Workload
	job       api.Job
	method    adapter.Method
	objective objective.Config
	samples   int // of the largest microbatch
	length    int // tokens of a sample: for time
	longest   int // for memory
	// images of a sample, at least one for memory
	images, mostImages int
}

// Profile returns the profile of the job on a model of that configuration.
func (w Workload) Profile(j api.Job) (shard.Profile, error) {
	if err := w.Config.Check(); err != nil {
		return shard.Profile{}, err
	}
	o, err := objectiveOf(j)
	if err != nil {
		return shard.Profile{}, err
	}
	method, err := adapter.ParseMethod(j.Adapter.Method)
	if err != nil {
		return shard.Profile{}, err
	}
	c := &cost{Workload: w, job: j, method: method, objective: o}
	c.samples = (j.Train.Batch + j.Train.Microbatches - 1) / j.Train.Microbatches
	c.longest = min(j.Data.MaxLength, w.Config.Language.MaxPositions)
	c.length = c.longest
	if w.Samples.Length > 0 {
		c.length = min(w.Samples.Length, c.longest)
	}
	c.images, c.mostImages = w.Samples.Images, max(1, w.Samples.Images)
	for _, n := range []int{w.Config.FeatureBlocks, w.Config.Language.Blocks} {
		if n < 1 || n > shard.MaxBlocks {
			return shard.Profile{}, fmt.Errorf("a tower of %d blocks cannot be planned, want 1 to %d", n, shard.MaxBlocks)
		}
	}
	p := shard.Profile{
		Towers:   []shard.Tower{c.vision(), c.language()},
		CutBytes: bytesOf(c.samples*c.mostImages*w.Config.FeaturesPerImage(), w.Config.Vision.Hidden),
		Flows:    len(step.VisionFlows(o)),
		Kept:     j.Train.KeepState == api.KeepMemory && method.LowRank(),
	}
	return p, p.Check()
}

func bytesOf(rows, cols int) int64 { return 4 * int64(rows) * int64(cols) }

// pooled returns the bytes that a pool hands out for an F32 tensor (rows, cols).
func pooled(rows, cols int) int64 {
	if rows == 0 || cols == 0 {
		return 0
	}
	return int64(model.PoolBytes(4 * rows * cols))
}

// slot returns the elements that a trained tensor takes in its vector.
func slot(n int64) int64 { return (n + model.SlotAlign - 1) / model.SlotAlign * model.SlotAlign }

// tower is what the blocks of one tower have in common.
type tower struct {
	*cost
	role      string
	element   int64 // bytes of a frozen element
	rank      int
	rows      int // of the residual stream, for time
	most      int // and for memory
	masked    bool
	sparsity  float64 // of what is pruned
	kept      float64 // share of a masked weight that stays once nobody needs it dense; 0 where somebody does
	flows     int
	attending float64 // flops of attention's two products in a forward of a microbatch
}

// newTower takes the rows of a microbatch and the length of its sequences.
func (c *cost) newTower(role string, bytes, rows, most int, flows []step.Flow) *tower {
	rank := c.job.Adapter.Rank
	if role == step.Vision && c.job.Adapter.VisionRank > 0 {
		rank = c.job.Adapter.VisionRank
	}
	if !c.method.LowRank() {
		rank = 0
	}
	t := &tower{cost: c, role: role, element: int64(bytes), rank: rank, rows: rows, most: most,
		masked: c.job.Prune.TowerPattern(role) != api.Dense, flows: len(flows)}
	if p, err := sparse.ParsePattern(c.job.Prune.TowerPattern(role)); err == nil { // else it stays dense
		t.sparsity = p.Sparsity()
	}
	if packs(c.method, flows) && t.masked {
		t.kept = 1 - t.sparsity
	}
	return t
}

// linear adds a linear (out, in) to a block. trainable says that it is pruned and
// adapted as those of blocks are; input that its input's gradient is needed.
func (t *tower) linear(b *shard.Block, rows, out, in int, bias, trainable, projector, input bool) {
	n := int64(out) * int64(in)
	b.Weights += n * t.element
	if bias {
		b.Weights += int64(out) * t.element
	}
	if trainable && t.masked {
		b.Weights += 8 * int64(out) * int64(kernels.MaskWords(in))
		if t.kept > 0 {
			tiles := int64(kernels.MaskWords(out)) * int64(kernels.MaskWords(in))
			drops := n*t.element - int64(t.kept*float64(n))*t.element - 4*tiles
			b.Weights -= drops
			b.Loading += max(0, drops) // tiles may take more than hardly any zeros give
		}
		if t.method == adapter.LoRARemask {
			b.Weights += n * t.element // the student's pruned copy
		}
	}
	forming := 0.0
	trained := trainable || projector && t.job.Adapter.Projector
	gradient := 2 * float64(rows) * float64(n) // of the weight, or of what its factors' are folded from
	switch {
	case t.method == adapter.Full:
		b.Trained += slot(n)
		if bias {
			b.Trained += slot(int64(out))
		}
	case !trained:
		gradient = 0
	case t.method == adapter.Masked:
		b.Trained += slot(n)
		if trainable {
			b.Dropped += int64(t.sparsity * float64(n))
		}
	default:
		b.Trained += slot(int64(t.rank)*int64(in)) + slot(int64(t.rank)*int64(out))
		forming = 2 * float64(t.rank) * float64(n)
		gradient += 2 * forming
	}
	product := 2 * float64(rows) * float64(n)
	b.Forward += product + forming
	b.Backward += gradient
	if input {
		b.Backward += product + forming
	}
}

// parameters adds parameters that no product reads: trained by full training only.
func (t *tower) parameters(b *shard.Block, sizes ...int) {
	for _, n := range sizes {
		b.Weights += int64(n) * t.element
		if t.method == adapter.Full {
			b.Trained += slot(int64(n))
		}
	}
}

// shape is a transformer block.
type shape struct {
	hidden, inner, heads, kv, width int
	bias, gated                     bool
	norm                            int // vectors of a norm: 1, or 2 with its bias
	sequences                       int // of the largest microbatch
}

// block returns a transformer block. below says that the gradient of its input is
// needed.
func (t *tower) block(s shape, below bool) shard.Block {
	var b shard.Block
	q, kv := s.heads*s.width, s.kv*s.width
	for range 2 * s.norm {
		t.parameters(&b, s.hidden)
	}
	t.linear(&b, t.rows, q, s.hidden, s.bias, true, false, below)
	t.linear(&b, t.rows, kv, s.hidden, s.bias, true, false, below)
	t.linear(&b, t.rows, kv, s.hidden, s.bias, true, false, below)
	t.linear(&b, t.rows, s.hidden, q, s.bias, true, false, true)
	ups := 1
	if s.gated {
		ups = 2
	}
	for range ups {
		t.linear(&b, t.rows, s.inner, s.hidden, s.bias, true, false, true)
	}
	t.linear(&b, t.rows, s.hidden, s.inner, s.bias, true, false, true)
	b.Forward += t.attending
	b.Backward += 2.5 * t.attending // five products for two
	stream, inner := pooled(t.most, s.hidden), pooled(t.most, s.inner)
	attention := 2*pooled(t.most, q) + 2*pooled(t.most, kv)
	stats := pooled(s.sequences*s.heads, t.most/s.sequences) + int64(2*s.norm)*pooled(1, t.most)
	inside := stream + attention + int64(ups)*inner + stats // beside the input
	// A teacher's forward: the residual stream, the normalised input or the output,
	// and what a forward with a backward would keep. Its last use of memory, the
	// feed-forward part, has attention's tensors free.
	forward := 2*stream + max(attention+stats, int64(ups+1)*inner)
	if t.flows < 2 {
		forward = stream + inner
	}
	// The backward: the gradient of the stream, the normalised input and its
	// gradient, and those of the inner tensors or of attention's.
	backward := 3*stream + max(int64(ups)*inner, attention)
	b.Activations, b.Scratch = stream+inside, max(forward, backward)
	expanding := 2 * float64(t.rows) * float64(s.hidden) * float64(s.inner)
	switch t.job.Train.Recompute {
	case api.RecomputeMLPs:
		b.Backward += float64(ups) * expanding
		b.Activations -= int64(ups) * inner
		b.Scratch = max(forward, int64(ups)*inner+backward)
	case api.RecomputeBlocks: // all but the product of the output
		b.Backward += b.Forward - expanding
		b.Activations, b.Scratch = stream, max(forward, inside+backward)
	}
	return b
}
