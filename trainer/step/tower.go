package step

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"ressa/coordinator/api/telemetry"
	"ressa/kernels"
	"ressa/trainer/model"
	"ressa/trainer/objective"
	"ressa/trainer/trace"
)

// Flow is one run of a tower within a node: the student's, or that of a variant
// that a teacher needs. Its tensors stand on edges as "flow/tensor".
type Flow struct {
	Name    string
	Variant model.Variant
	From    string // the flow of the incoming edges that it reads
}

// StudentFlow is the name of the flow that has a backward.
const StudentFlow = "student"

// denseFlow is the vision tower's output for teachers with a dense vision tower.
const denseFlow = "dense"

// TowerNode runs a tower, or a stage of one, for every flow; the last stage of
// the language tower also computes the loss.
type TowerNode struct {
	Role  string // "vision" or "language", for errors
	Stage int    // of the tower, from 0, for traces
	Tower model.Tower
	Flows []Flow // the student first
	Loss  *Loss  // nil unless this is the last stage
	// InputGradient says whether anything upstream is trained; never of the first
	// stage of a vision tower, which has no input.
	InputGradient bool
}

// Name implements [Node].
func (n *TowerNode) Name() string { return n.Role }

// VisionFlows returns what the vision tower computes under an objective.
func VisionFlows(c objective.Config) []Flow {
	flows := []Flow{{Name: StudentFlow, Variant: model.Student}}
	if c.Distils() {
		for _, t := range c.Teachers {
			if t.Vision == model.Dense {
				return append(flows, Flow{Name: denseFlow, Variant: model.Dense})
			}
		}
	}
	return flows
}

// LanguageFlows returns what the language tower computes under an objective: the
// student and every teacher.
func LanguageFlows(c objective.Config) []Flow {
	flows := []Flow{{Name: StudentFlow, Variant: model.Student, From: StudentFlow}}
	if c.Distils() {
		for _, t := range c.Teachers {
			from := StudentFlow
			if t.Vision == model.Dense {
				from = denseFlow
			}
			flows = append(flows, Flow{Name: t.Name, Variant: t.Language, From: from})
		}
	}
	return flows
}

// LaterFlows returns what a stage after the first one of a tower computes: every
// flow goes on where the stage before it stopped.
func LaterFlows(first []Flow) []Flow {
	out := slices.Clone(first)
	for i := range out {
		out[i].From = out[i].Name
	}
	return out
}

// towerKept is what a TowerNode keeps between forward and backward.
type towerKept struct {
	state model.State
	loss  *lossKept
}

// Losses implements [Kept].
func (k *towerKept) Losses() Losses {
	if k.loss == nil {
		return Losses{}
	}
	return k.loss.sums()
}

// Release implements [Kept].
func (k *towerKept) Release(l *model.Lane) {
	if k.state != nil {
		k.state.Release(l)
	}
	if k.loss != nil {
		k.loss.release(l)
	}
}

// Forward implements [Node].
func (n *TowerNode) Forward(ctx context.Context, l *model.Lane, mb *Microbatch, in []model.Edge) (model.Edge, Kept, error) {
	var out model.Edge
	kept := &towerKept{}
	if n.Role == Vision && mb.Batch.Images == 0 {
		return out, kept, nil
	}
	rows := make([]kernels.Tensor, len(n.Flows))
	var enter entering
	if n.Loss != nil {
		enter = n.Loss.enter(l, mb.Batch)
	}
	for i, f := range n.Flows {
		span := n.begin(ctx, mb, f.pass(n.Role))
		span.Set(attribute.String("ressa.flow", f.Name))
		e, state := n.Tower.Forward(l, mb.Batch, pick(in, f.From), f.Variant, i == 0)
		span.End(nil)
		if i == 0 {
			kept.state = state
		}
		if n.Loss != nil {
			rows[i] = enter.gather(l, e.Tensor(model.Hidden))
			continue
		}
		for _, t := range e.Tensors {
			out = out.With(f.Name+"/"+t.Name, t.Tensor)
		}
		out.Ints = append(out.Ints, prefixed(f.Name, e.Ints)...)
	}
	if n.Loss == nil {
		return out, kept, nil
	}
	span := n.begin(ctx, mb, "loss")
	defer span.End(nil)
	kept.loss = n.Loss.forward(l, mb, n.Flows, enter, rows)
	return model.Edge{}, kept, nil
}

// Backward implements [Node].
func (n *TowerNode) Backward(ctx context.Context, l *model.Lane, mb *Microbatch, k Kept, dout model.Edge) ([]model.Edge, error) {
	kept, ok := k.(*towerKept)
	if !ok {
		return nil, fmt.Errorf("%s: state of another node", n.Role)
	}
	if kept.state == nil && n.Loss == nil {
		return n.perInput(model.Edge{}), nil
	}
	span := n.begin(ctx, mb, n.Role+".backward")
	defer span.End(nil)
	student := pick([]model.Edge{dout}, StudentFlow)
	if n.Loss != nil {
		student = model.Edge{}.With(model.Hidden, n.Loss.backward(l, kept.loss))
	}
	din := n.Tower.Backward(l, kept.state, student, n.InputGradient)
	if n.Loss != nil {
		l.Free(student.Tensor(model.Hidden))
	}
	var out model.Edge
	for _, t := range din.Tensors {
		if !t.Tensor.IsZero() {
			out = out.With(StudentFlow+"/"+t.Name, t.Tensor)
		}
	}
	return n.perInput(out), nil
}

// begin begins a span of the node's work on a microbatch.
func (n *TowerNode) begin(ctx context.Context, mb *Microbatch, name string) *trace.Span {
	_, span := trace.Begin(ctx, n.Role, name, telemetry.Tower.String(n.Role), telemetry.Stage.Int(n.Stage), telemetry.Microbatch.Int(mb.Index))
	return span
}

// pass names the forward pass of a flow in traces.
func (f Flow) pass(role string) string {
	if f.Name == StudentFlow {
		return role + ".forward"
	}
	return "teacher.forward"
}

// perInput hands the gradient to the one input a stage has; the vision tower's
// first has none.
func (n *TowerNode) perInput(e model.Edge) []model.Edge {
	if n.Flows[0].From == "" {
		return nil
	}
	return []model.Edge{e}
}

// The roles of towers in plans, errors and traces.
const (
	Vision   = "vision"
	Language = "language"
)

// pick returns the tensors and integers of one flow, under their own names.
func pick(in []model.Edge, flow string) model.Edge {
	var out model.Edge
	prefix := flow + "/"
	for _, e := range in {
		for _, t := range e.Tensors {
			if name, ok := strings.CutPrefix(t.Name, prefix); ok {
				out = out.With(name, t.Tensor)
			}
		}
		for _, v := range e.Ints {
			if name, ok := strings.CutPrefix(v.Name, prefix); ok {
				out.Ints = append(out.Ints, model.NamedInts{Name: name, Values: v.Values})
			}
		}
	}
	return out
}

func prefixed(flow string, ints []model.NamedInts) []model.NamedInts {
	out := make([]model.NamedInts, len(ints))
	for i, v := range ints {
		out[i] = model.NamedInts{Name: flow + "/" + v.Name, Values: v.Values}
	}
	return out
}
