package kerneltest

import (
	"encoding/binary"
	"math"

	"ressa/kernels"
	"ressa/kernels/sparse"
)

// operand is one tensor of a trial: a view of a buffer with its first contents.
type operand struct {
	name         string
	dtype        kernels.DType
	rows, cols   int
	offset, step int    // elements; step is the stride
	data         []byte // the whole buffer; NaN (all bits set) outside the view
	output       bool   // compared with the reference; else it must not change
	mask         *sparse.Mask
}

// guard is the number of elements behind the last row.
const guard = 5

// at returns the byte at which element (i, j) starts.
func (o *operand) at(i, j int) int { return (o.offset + i*o.step + j) * o.dtype.Size() }

// tensor returns the view in b.
func (o *operand) tensor(b kernels.Buffer) kernels.Tensor {
	return kernels.Tensor{Buffer: b, Offset: o.offset, DType: o.dtype, Rows: o.rows, Cols: o.cols, Stride: o.step}
}

// whole returns all elements of b as one row.
func (o *operand) whole(b kernels.Buffer) kernels.Tensor {
	return kernels.NewTensor(b, o.dtype, 1, len(o.data)/o.dtype.Size())
}

// values returns the elements of the view in data, row after row.
func (o *operand) values(data []byte) []float64 {
	v := make([]float64, 0, o.rows*o.cols)
	for i := range o.rows {
		for j := range o.cols {
			v = append(v, o.value(data, i, j))
		}
	}
	return v
}

func (o *operand) value(data []byte, i, j int) float64 {
	b := data[o.at(i, j):]
	switch o.dtype {
	case kernels.F32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case kernels.BF16:
		return float64(kernels.FromBF16(binary.LittleEndian.Uint16(b)))
	case kernels.F64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case kernels.I32:
		return float64(int32(binary.LittleEndian.Uint32(b)))
	default:
		return float64(binary.LittleEndian.Uint64(b))
	}
}

// set writes one element, rounding it to the operand's dtype.
func (o *operand) set(i, j int, v float64) {
	b := o.data[o.at(i, j):]
	switch o.dtype {
	case kernels.F32:
		binary.LittleEndian.PutUint32(b, math.Float32bits(float32(v)))
	case kernels.BF16:
		binary.LittleEndian.PutUint16(b, kernels.ToBF16(float32(v)))
	case kernels.F64:
		binary.LittleEndian.PutUint64(b, math.Float64bits(v))
	case kernels.I32:
		binary.LittleEndian.PutUint32(b, uint32(int32(v)))
	default:
		panic("kerneltest: masks are set by words")
	}
}

// generator makes the operands of one trial from the case's name.
type generator struct {
	rng     *random
	offset  int           // of every operand
	gap     int           // elements between rows
	factors kernels.DType // see [Table]
}

func newGenerator(name string, strided bool) *generator {
	g := &generator{rng: newRandom(name)}
	if strided {
		g.offset, g.gap = 3, 5
	}
	return g
}

// blank returns an operand whose elements are all NaN (−1 for integers).
func (g *generator) blank(name string, d kernels.DType, rows, cols int) *operand {
	o := &operand{name: name, dtype: d, rows: rows, cols: cols, offset: g.offset, step: cols + g.gap}
	o.data = make([]byte, (o.offset+rows*o.step+guard)*d.Size())
	for i := range o.data {
		o.data[i] = 0xff
	}
	return o
}

// out returns a blank F32 output.
func (g *generator) out(name string, rows, cols int) *operand {
	return written(g.blank(name, kernels.F32, rows, cols))
}

// written marks an operand as an output.
func written(o *operand) *operand {
	o.output = true
	return o
}

// each returns an operand of the values of f.
func (g *generator) each(name string, d kernels.DType, rows, cols int, f func(i, j int) float64) *operand {
	o := g.blank(name, d, rows, cols)
	for i := range rows {
		for j := range cols {
			o.set(i, j, f(i, j))
		}
	}
	return o
}

// normal returns normally distributed F32 values of the given deviation.
func (g *generator) normal(name string, rows, cols int, deviation float64) *operand {
	return g.normalOf(name, kernels.F32, rows, cols, deviation)
}

func (g *generator) normalOf(name string, d kernels.DType, rows, cols int, deviation float64) *operand {
	return g.each(name, d, rows, cols, func(int, int) float64 { return deviation * g.rng.NormFloat64() })
}

// factor is normal for an operand of a product of matrices.
func (g *generator) factor(name string, rows, cols int, deviation float64) *operand {
	return g.factorOf(name, kernels.F32, rows, cols, deviation)
}

func (g *generator) factorOf(name string, d kernels.DType, rows, cols int, deviation float64) *operand {
	return g.each(name, d, rows, cols, func(int, int) float64 {
		return float64(kernels.RoundTo(g.factors, float32(deviation*g.rng.NormFloat64())))
	})
}

// indices returns n integers as I32 (1, n).
func (g *generator) indices(name string, n int, f func(i int) int) *operand {
	return g.each(name, kernels.I32, 1, n, func(_, j int) float64 { return float64(f(j)) })
}

// masked returns a mask as a U64 operand.
func (g *generator) masked(name string, m sparse.Mask) *operand {
	o := g.blank(name, kernels.U64, m.Rows, m.WordsPerRow())
	for r := range m.Rows {
		for i, w := range m.Row(r) {
			binary.LittleEndian.PutUint64(o.data[o.at(r, i):], w)
		}
	}
	return o
}
