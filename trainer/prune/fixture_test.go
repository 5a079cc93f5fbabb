package prune

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/kernels/sparse"
	"ressa/shard"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/team"
)

// golden is testdata/masks.json.
type golden struct {
	Layers []goldenLayer `json:"layers"`
}

type goldenLayer struct {
	Out     int         `json:"out"`
	In      int         `json:"in"`
	Weight  []float32   `json:"weight"`
	Samples [][]float32 `json:"samples"`
	Masks   []struct {
		Method      Method `json:"method"`
		Pattern     string `json:"pattern"`
		Granularity string `json:"granularity"`
		Kept        string `json:"kept"`
	} `json:"masks"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/masks.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// tower is one linear layer whose input the batch's pixels are: it reads row t
// of sequence b from Pixels, so that padding can be given any contents.
type tower struct {
	linear *model.Linear
	extra  []*model.Linear // never run
}

func (t *tower) Params() []*model.Param { return []*model.Param{t.linear.Weight} }
func (t *tower) Linears() []*model.Linear {
	return append([]*model.Linear{t.linear}, t.extra...)
}
func (t *tower) Prunable(*model.Linear) bool { return true }
func (t *tower) Backward(*model.Lane, model.State, model.Edge, bool) model.Edge {
	return model.Edge{}
}
func (t *tower) Forward(l *model.Lane, b *data.Batch, in model.Edge, v model.Variant, keep bool) (model.Edge, model.State) {
	if v != model.Dense || keep {
		panic("calibration must run dense and keep nothing")
	}
	x := l.Scratch(b.Sequences*b.Length, t.linear.In())
	y := l.Scratch(x.Rows, t.linear.Out())
	l.Stream.Upload(x, encode(b.Pixels))
	t.linear.Forward(l, y, x, v)
	l.Free(x)
	return model.Edge{}.With(model.Hidden, y), nil
}

func encode(v []float32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

type bench struct {
	*testing.T
	device kernels.Device
	lane   *model.Lane
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, device: reference.Open()}
	b.lane = b.newLane()
	return b
}

func (b *bench) newLane() *model.Lane {
	b.Helper()
	s, err := b.device.NewStream()
	if err != nil {
		b.Fatal(err)
	}
	return &model.Lane{Stream: s, Pool: model.NewPool(b.device)}
}

func (b *bench) linear(name string, out, in int, w []float32) *model.Linear {
	b.Helper()
	buffer, err := b.device.Alloc(4 * out * in)
	if err != nil {
		b.Fatal(err)
	}
	p := &model.Param{Name: name, Shape: []int{out, in}, Value: kernels.NewTensor(buffer, kernels.F32, out, in)}
	b.lane.Stream.Upload(p.Value, encode(w))
	if err := b.lane.Stream.Synchronize(context.Background()); err != nil {
		b.Fatal(err)
	}
	return &model.Linear{Weight: p}
}

func pattern(t testing.TB, s string) sparse.Pattern {
	t.Helper()
	p, err := sparse.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// text returns a mask as a string of 0 and 1.
func text(m sparse.Mask) string {
	b := m.ToBools()
	for i := range b {
		b[i] += '0'
	}
	return string(b)
}

// calibrated calibrates towers that are all here; vision may be nil.
func calibrated(ctx context.Context, lanes []*model.Lane, vision, language model.Tower, b Batches) (*Calibration, error) {
	plan := shard.Solo("a", 1, 1, 1)
	towers := []model.Tower{vision, language}
	if vision == nil {
		plan.Stages, towers = plan.Stages[1:], towers[1:]
	}
	alone, err := team.New(team.Config{Plan: plan})
	if err != nil {
		return nil, err
	}
	var all [][]*model.Lane
	for _, l := range lanes {
		all = append(all, []*model.Lane{l, l}[:len(towers)])
	}
	return Calibrate(ctx, Model{alone, towers}, all, b)
}
