package exchange_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"ressa/collective/reduce"
	"ressa/kernels"
	"ressa/kernels/cpu"
	"ressa/kernels/reference"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/random"
	"ressa/trainer/step"
)

// scene is the part of a model that a process holds: nodes that it does not
// hold have a name only.
type scene struct {
	graph   step.Graph
	layouts []*model.Layout // by node; nil where it is not held
	batches []*data.Batch
	close   func()
}

// openDevice returns the fastest backend of this build; a rank has other threads
// than the process it is compared with.
func openDevice(spread bool) kernels.Device {
	threads := 1
	if spread {
		threads = 2
	}
	d, err := cpu.Open(cpu.Options{Threads: threads})
	if err != nil {
		return reference.Open()
	}
	return d
}

// runStep computes the microbatches of one step on the nodes that are local (nil:
// all) and sums their gradients along the tree.
func runStep(ctx context.Context, name string, wire kernels.DType, local []bool, x step.Exchange) (_ outcome, err error) {
	device := openDevice(local != nil)
	defer func() { err = errors.Join(err, device.Close()) }()
	holds := func(node int) bool { return local == nil || local[node] }
	open := map[string]func(context.Context, kernels.Device, func(int) bool) (*scene, error){
		"llava": openLLaVA, "encoder-decoder": openCoder,
	}[name]
	s, err := open(ctx, device, holds)
	if err != nil {
		return outcome{}, err
	}
	defer s.close()
	r := &runner{scene: s, device: device, pool: model.NewPool(device)}
	if r.stream, err = device.NewStream(); err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, r.stream.Close()); r.pool.Close() }()
	if err := r.allocate(ctx); err != nil {
		return outcome{}, err
	}
	walk := &step.Walk{Graph: s.graph, Exchange: x, Wire: wire}
	if local != nil {
		walk.Local = func(node, _ int) bool { return local[node] }
	}
	return r.run(ctx, walk)
}

type runner struct {
	*scene
	device kernels.Device
	stream kernels.Stream
	pool   *model.Pool
	lanes  []*model.Lane
}

// allocate fills the trained values of every local node with numbers that depend
// on the node and the element alone.
func (r *runner) allocate(ctx context.Context) error {
	for node, layout := range r.layouts {
		l := &model.Lane{Stream: r.stream, Pool: r.pool}
		r.lanes = append(r.lanes, l)
		if layout == nil || layout.Len == 0 {
			continue
		}
		b, err := r.device.Alloc(4 * layout.Len)
		if err != nil {
			return err
		}
		l.Values = kernels.NewTensor(b, kernels.F32, 1, layout.Len)
		r.stream.Fill(l.Values, 0)
		for i, s := range layout.Slots {
			values := normals(uint32(node), uint32(i), s.Len(), 0.3)
			if err := step.WriteVector(ctx, r.stream, s.View(l.Values).Reshape(1, s.Len()), values); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) run(ctx context.Context, walk *step.Walk) (outcome, error) {
	out := outcome{Gradients: map[string]string{}}
	add := func(dst, a, b []kernels.Tensor) error {
		for i := range dst {
			if !dst[i].IsZero() {
				r.stream.AddRounded(dst[i], a[i], b[i], walk.Wire)
			}
		}
		return r.stream.Synchronize(ctx)
	}
	tree, err := reduce.New(len(r.batches), add, nil)
	if err != nil {
		return out, err
	}
	tokens, sequences := 0, 0
	for _, b := range r.batches {
		tokens, sequences = tokens+b.AnswerTokens, sequences+b.Sequences
	}
	for i, b := range r.batches {
		grads := make([]kernels.Tensor, len(r.lanes))
		for node, l := range r.lanes {
			if l.Values.IsZero() {
				continue
			}
			buffer, err := r.device.Alloc(l.Values.Bytes())
			if err != nil {
				return out, err
			}
			grads[node] = kernels.NewTensor(buffer, kernels.F32, 1, l.Values.Cols)
			r.stream.Fill(grads[node], 0)
			l.Grads = grads[node]
		}
		losses, err := walk.Run(ctx, r.lanes, &step.Microbatch{Step: 3, Index: i, Batch: b, Scales: sceneObjective().Scales(max(1, tokens), sequences)})
		if err != nil {
			return out, fmt.Errorf("microbatch %d: %w", i, err)
		}
		out.Losses = out.Losses.Add(losses)
		if err := tree.Put(reduce.Leaf(i), grads); err != nil {
			return out, err
		}
	}
	sum, ok := tree.Sum()
	if !ok {
		return out, errors.New("the sum is incomplete")
	}
	for node, g := range sum {
		if g.IsZero() {
			continue
		}
		raw := make([]byte, g.Bytes())
		r.stream.Download(raw, g)
		if err := r.stream.Synchronize(ctx); err != nil {
			return out, err
		}
		hash := sha256.Sum256(raw)
		out.Gradients[r.graph.Nodes[node].Name()] = hex.EncodeToString(hash[:])
	}
	return out, nil
}

// sceneObjective distils from the dense model: two flows cross the cut.
func sceneObjective() objective.Config {
	return objective.Config{Lambda: 0.5, Temperature: 2, Reduction: objective.TokenMean,
		Teachers: []objective.Teacher{{Name: "dense-dense", Vision: model.Dense, Language: model.Dense, Weight: 1}}}
}

// normals returns n normal numbers that a and b choose.
func normals(a, b uint32, n int, std float64) []float32 {
	r := random.New(5, a, b, 0x5345414D) // "SEAM"
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.Round(float64(r.Normal())*std*1024) / 1024)
	}
	return out
}

// upload puts values on a device as (rows, len/rows).
func upload(ctx context.Context, d kernels.Device, rows int, values []float32) (kernels.Tensor, error) {
	b, err := d.Alloc(4 * len(values))
	if err != nil {
		return kernels.Tensor{}, err
	}
	s, err := d.NewStream()
	if err != nil {
		return kernels.Tensor{}, err
	}
	t := kernels.NewTensor(b, kernels.F32, rows, len(values)/rows)
	err = step.WriteVector(ctx, s, t.Reshape(1, len(values)), values)
	return t, errors.Join(err, s.Close())
}
