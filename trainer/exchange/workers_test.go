package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"ressa/collective/group"
	"ressa/collective/plane"
	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
	"ressa/shard"
	"ressa/trainer/adapter"
	"ressa/trainer/data"
	"ressa/trainer/exchange"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/optim"
	"ressa/trainer/random"
	"ressa/trainer/step"
)

// This file trains a tiny LLaVA on several workers, each with its stages alone and
// a group of its own over a real NATS server, and compares every trained value
// with that of one engine, bit for bit.

// teamConfig is a LLaVA of three blocks a tower.
func teamConfig() llava.Config {
	return llava.Config{
		Vision:   llava.VisionConfig{Hidden: 16, Inner: 24, Blocks: 3, Heads: 2, Channels: 3, Image: 8, Patch: 4, Activation: kernels.QuickGELU, Epsilon: 1e-5, InitStd: 0.2},
		Language: llava.LanguageConfig{Hidden: 16, Inner: 24, Blocks: 3, Heads: 4, KVHeads: 2, HeadDim: 4, Vocabulary: 29, MaxPositions: 32, RopeTheta: 10000, Activation: kernels.SiLU, Epsilon: 1e-5, InitStd: 0.2},

		ImageToken: 4, ProjectorActivation: kernels.GELU, ProjectorBias: true, FeatureBlocks: 3,
	}
}

// worker is an engine over the stages that a plan gives one worker.
type worker struct {
	engine  *step.Engine
	layouts []*model.Layout
	close   func() error
}

func openWorker(ctx context.Context, p shard.Plan, w int, wire kernels.DType, lanes int, method adapter.Method, peers step.Peers) (*worker, error) {
	d := reference.Open()
	s, err := d.NewStream()
	if err != nil {
		return nil, err
	}
	o := sceneObjective()
	graph := step.Graph{}
	out := &worker{}
	var attachments []*adapter.Attachment
	for i, stage := range p.Stages {
		graph.Towers = append(graph.Towers, stage.Tower)
		if i == 0 {
			graph.Inputs = append(graph.Inputs, nil)
		} else {
			graph.Inputs = append(graph.Inputs, []int{i - 1})
		}
		if !p.Holds(w)[i] {
			graph.Nodes = append(graph.Nodes, step.Remote(fmt.Sprintf("%s %d", stage.Tower, stage.Index)))
			out.layouts, attachments = append(out.layouts, nil), append(attachments, nil)
			continue
		}
		node, a, err := openStage(ctx, d, s, stage, i, len(p.Stages), method)
		if err != nil {
			return nil, err
		}
		node.Flows = step.LanguageFlows(o)
		if stage.Tower == shard.Vision {
			node.Flows = step.VisionFlows(o)
		}
		if stage.Index > 0 {
			node.Flows = step.LaterFlows(node.Flows)
		}
		if node.Loss != nil {
			node.Loss.Config = o
		}
		graph.Nodes = append(graph.Nodes, node)
		out.layouts, attachments = append(out.layouts, a.Layout), append(attachments, a)
	}
	again := model.RecomputeNothing // by the one that the others are compared with
	if peers != nil {
		again = model.Recompute(w % 3)
	}
	out.engine, err = step.NewEngine(d, step.Config{Graph: graph, Layouts: out.layouts, Objective: o,
		Optimiser: optim.Config{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, ClipNorm: 1},
		Schedule:  optim.Schedule{Kind: "constant", Base: 1e-2, Steps: 100}, Wire: wire, Lanes: lanes, Peers: peers, Order: p.Order(),
		Recompute: again})
	if err != nil {
		return nil, err
	}
	for i, a := range attachments {
		if a != nil {
			if err := a.Init(ctx, s, out.engine.Vector(i).Values, 3); err != nil {
				return nil, err
			}
		}
	}
	out.close = func() error { return errors.Join(out.engine.Close(), s.Close()) }
	return out, nil
}

// openStage holds one stage, with every second weight masked.
func openStage(ctx context.Context, d kernels.Device, s kernels.Stream, stage shard.Stage, i, n int, method adapter.Method) (*step.TowerNode, *adapter.Attachment, error) {
	blocks := llava.Range{Lo: stage.Lo, Hi: stage.Hi}
	options := llava.Options{Language: blocks, WithoutVision: true}
	if stage.Tower == shard.Vision {
		options = llava.Options{Vision: blocks, WithoutLanguage: true}
	}
	m, err := llava.New(ctx, d, teamConfig(), 7, options)
	if err != nil {
		return nil, nil, err
	}
	node := &step.TowerNode{Role: stage.Tower, InputGradient: i > 0}
	if stage.Tower == shard.Vision {
		node.Tower = m.Vision
	} else {
		node.Tower = m.Language
		if i == n-1 {
			node.Loss = &step.Loss{Language: m.Language}
		}
	}
	for _, l := range node.Tower.Linears() {
		if !node.Tower.Prunable(l) {
			continue
		}
		mask := sparse.NewOnes(l.Out(), l.In())
		for r := range l.Out() {
			for c := r % 2; c < l.In(); c += 2 {
				mask.Set(r, c, false)
			}
		}
		if l.Mask, err = mask.Upload(d, s); err != nil {
			return nil, nil, err
		}
		l.Kept = mask.Count()
	}
	a, err := adapter.Attach(ctx, d, node.Tower, adapter.Options{Method: method, Rank: 2, Alpha: 4, Projector: true, Round: kernels.BF16})
	return node, a, err
}

// trained returns the values of the stages that the worker speaks for, by slot.
func (w *worker) trained(ctx context.Context, p shard.Plan, rank int) (map[string][]float32, error) {
	out := map[string][]float32{}
	for i, layout := range w.layouts {
		if layout == nil || p.Stages[i].Workers[0] != rank {
			continue
		}
		all, err := step.ReadVector(ctx, w.engine.Lanes(i)[0].Stream, w.engine.Vector(i).Values)
		if err != nil {
			return nil, err
		}
		for _, s := range layout.Slots {
			out[s.Name] = all[s.Offset : s.Offset+s.Len()]
		}
	}
	return out, nil
}

// teamBatches makes g microbatches of two samples, of which every third has no
// image; blind leaves the pixels out.
func teamBatches(g, s int, blind bool) ([]*data.Batch, error) {
	c := teamConfig()
	out := make([]*data.Batch, g)
	for i := range out {
		r := random.New(uint64(s), uint32(i), 0, 1)
		var samples []data.Sample
		for range 2 {
			x := data.Sample{Tokens: []int32{1}}
			if i%3 != 2 {
				for range c.FeaturesPerImage() {
					x.ImageRows = append(x.ImageRows, int32(len(x.Tokens)))
					x.Tokens = append(x.Tokens, int32(c.ImageToken))
				}
				pixels := make([]float32, c.Vision.PixelsPerImage())
				for k := range pixels {
					pixels[k] = r.Normal()
				}
				x.Pixels = [][]float32{pixels}
			}
			for range 3 + r.IntN(4) {
				x.Tokens = append(x.Tokens, int32(5+r.IntN(20)))
			}
			x.Labels = make([]int32, len(x.Tokens))
			for k := range x.Labels {
				x.Labels[k] = data.Ignore
			}
			x.Labels[len(x.Labels)-1] = int32(5 + r.IntN(20))
			samples = append(samples, x)
		}
		b, err := data.Collate(samples, 3)
		if err != nil {
			return nil, err
		}
		if blind {
			b.Pixels = nil
		}
		out[i] = &b
	}
	return out, nil
}

const teamSteps = 2

// train runs the steps on one worker.
func (w *worker) train(ctx context.Context, g int, sees bool) ([]step.Result, error) {
	var out []step.Result
	for s := range teamSteps {
		batches, err := teamBatches(g, s, !sees)
		if err != nil {
			return nil, err
		}
		r, err := w.engine.Step(ctx, s, batches)
		if err != nil {
			return nil, err
		}
		r.PeakMemory = 0 // of the worker's own lanes
		out = append(out, r)
	}
	return out, nil
}

// alone trains on one engine.
func alone(t *testing.T, g int, wire kernels.DType, method adapter.Method) ([]step.Result, map[string][]float32) {
	t.Helper()
	ctx := t.Context()
	p := shard.Solo("a", 3, 3, g)
	w, err := openWorker(ctx, p, 0, wire, 2, method, nil)
	if err != nil {
		t.Fatal(err)
	}
	results, err := w.train(ctx, g, true)
	if err != nil {
		t.Fatal(err)
	}
	values, err := w.trained(ctx, p, 0)
	if err := errors.Join(err, w.close()); err != nil {
		t.Fatal(err)
	}
	return results, values
}

// sizes notes how many elements of each node's gradient are exchanged.
type sizes struct {
	*exchange.Workers
	elements map[int]int
}

func (s *sizes) Reduce(ctx context.Context, n, node int, parts []reduce.Part[[]float32], sum []float32) error {
	s.elements[node] = len(sum)
	return s.Workers.Reduce(ctx, n, node, parts, sum)
}

// check holds that of weights under a mask, which here keep half, no others are
// exchanged.
func (s *sizes) check(layouts []*model.Layout, method adapter.Method) error {
	for node, got := range s.elements {
		want := 0
		for _, slot := range layouts[node].Slots {
			if slot.Mask.IsZero() {
				want += slot.Len()
			} else {
				want += slot.Len() / 2
			}
		}
		if method != adapter.Masked {
			want = layouts[node].Len
		}
		if got != want || method == adapter.Masked && want > layouts[node].Len*2/3 {
			return fmt.Errorf("node %d exchanges %d elements of %d, want %d", node, got, layouts[node].Len, want)
		}
	}
	return nil
}

// together trains on the workers of a plan.
func together(t *testing.T, url string, p shard.Plan, wire kernels.DType, method adapter.Method) ([][]step.Result, map[string][]float32) {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	results := make([][]step.Result, len(p.Nodes))
	values := make([]map[string][]float32, len(p.Nodes))
	all, ctx := errgroup.WithContext(ctx)
	for rank := range p.Nodes {
		all.Go(func() (err error) {
			conn, err := nats.Connect(url)
			if err != nil {
				return err
			}
			defer conn.Close()
			c := group.DefaultConfig()
			c.Job, c.Generation, c.Rank, c.World, c.Listen = "team", 1, rank, len(p.Nodes), plane.Wrap(conn)
			c.Logger = slog.New(slog.DiscardHandler)
			g, err := group.Join(ctx, c)
			if err != nil {
				return err
			}
			defer g.Close()
			defer func() {
				if err != nil {
					g.Abort(err)
				}
			}()
			peers, err := exchange.NewWorkers(g, p, wire, time.Minute)
			if err != nil {
				return err
			}
			sized := &sizes{Workers: peers, elements: map[int]int{}}
			w, err := openWorker(ctx, p, rank, wire, 1+rank%2, method, sized)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			if results[rank], err = w.train(ctx, p.Microbatches, p.Roles(rank)[0].Tower == shard.Vision); err != nil {
				return fmt.Errorf("worker %d: %w", rank, err)
			}
			if values[rank], err = w.trained(ctx, p, rank); err != nil {
				return err
			}
			if err := sized.check(w.layouts, method); err != nil {
				return fmt.Errorf("worker %d: %w", rank, err)
			}
			return g.Barrier(ctx)
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	joined := map[string][]float32{}
	for _, part := range values {
		for name, v := range part {
			joined[name] = v
		}
	}
	return results, joined
}

// apart is a plan of stages and the workers that hold each.
func apart(g int, stages ...shard.Stage) shard.Plan {
	p := shard.Plan{Microbatches: g}
	for _, s := range stages {
		for _, w := range s.Workers {
			for len(p.Nodes) <= w {
				p.Nodes = append(p.Nodes, fmt.Sprintf("n%d", len(p.Nodes)))
			}
		}
		s.Owners = shard.Spread(g, s.Workers)
		p.Stages = append(p.Stages, s)
	}
	return p
}

func TestAnyPlanTrainsTheSameBits(t *testing.T) {
	url := startServer(t)
	v, l := shard.Vision, shard.Language
	for name, stages := range map[string][]shard.Stage{
		"towers apart":         {{Tower: v, Hi: 3, Workers: []int{0}}, {Tower: l, Hi: 3, Workers: []int{1}}},
		"both on every node":   {{Tower: v, Hi: 3, Workers: []int{0, 1, 2}}, {Tower: l, Hi: 3, Workers: []int{0, 1, 2}}},
		"1 vision, 3 language": {{Tower: v, Hi: 3, Workers: []int{0}}, {Tower: l, Hi: 3, Workers: []int{1, 2, 3}}},
		"stages within towers": {{Tower: v, Hi: 1, Workers: []int{0}}, {Tower: v, Index: 1, Lo: 1, Hi: 3, Workers: []int{1}},
			{Tower: l, Hi: 2, Workers: []int{1, 2}}, {Tower: l, Index: 1, Lo: 2, Hi: 3, Workers: []int{3}}},
	} {
		for _, method := range []adapter.Method{adapter.SparseLoRA, adapter.Masked} {
			for _, g := range []int{8, 5} {
				for _, wire := range []kernels.DType{kernels.F32, kernels.BF16} {
					t.Run(fmt.Sprintf("%s, %s, %d microbatches, %v", name, method, g, wire), func(t *testing.T) {
						wantResults, want := alone(t, g, wire, method)
						results, got := together(t, url, apart(g, stages...), wire, method)
						for rank, r := range results {
							if !slices.Equal(r, wantResults) {
								t.Errorf("worker %d saw %+v, one engine %+v", rank, r, wantResults)
							}
						}
						if len(got) != len(want) {
							t.Errorf("%d tensors, one engine has %d", len(got), len(want))
						}
						for name, w := range want {
							if !slices.EqualFunc(got[name], w, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
								t.Errorf("%s differs from that of one engine", name)
							}
						}
					})
				}
			}
		}
	}
}
