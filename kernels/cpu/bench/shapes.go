package bench

import "fmt"

// Op is an operation that is measured.
type Op string

// The operations. Rows is T, the number of tokens.
const (
	GemmNT   Op = "gemm nt"        // y (rows, out) = x (rows, in) · Wᵀ
	GemmNN   Op = "gemm nn"        // dx (rows, in) = dy (rows, out) · W
	GemmTN   Op = "gemm tn"        // dW (out, in) = dyᵀ · x
	Forward  Op = "linear forward" // GemmNT with mask and adapter
	Input    Op = "linear input"   // GemmNN with mask and adapter
	Adapter  Op = "linear adapter" // GemmTN, masked and folded into dA and dB
	Weighted Op = "linear weight"  // GemmTN, masked
)

// Shape is one operation at one size. Rank is the adapter's; the linear
// operations need at least 1, except Weighted.
type Shape struct {
	Op            Op
	Rows, Out, In int
	Rank          int
}

// String names the shape in tables and benchmarks.
func (s Shape) String() string {
	text := fmt.Sprintf("%s %dx%dx%d", s.Op, s.Rows, s.Out, s.In)
	if s.Rank > 0 {
		text += fmt.Sprintf(" r%d", s.Rank)
	}
	return text
}

// flops of the dense product: a multiplication and an addition each.
func (s Shape) flops() float64 { return 2 * float64(s.Rows) * float64(s.Out) * float64(s.In) }

// Demo returns the shapes of one microbatch of the demonstration model: 16 images of
// 17 tokens in the vision tower, 16 sequences of about 40 tokens in the language
// tower and its head. A run computes one microbatch on one thread.
func Demo() []Shape {
	var shapes []Shape
	for _, d := range []Shape{
		{Rows: 272, Out: 48, In: 48}, {Rows: 272, Out: 192, In: 48}, {Rows: 272, Out: 48, In: 192},
		{Rows: 640, Out: 48, In: 48}, {Rows: 640, Out: 128, In: 48}, {Rows: 640, Out: 48, In: 128}, {Rows: 640, Out: 144, In: 48},
	} {
		shapes = append(shapes, every(d, 8)...)
	}
	return shapes
}

// Large returns the shapes of a layer of a 7B language model.
func Large() []Shape { return every(Shape{Rows: 2048, Out: 4096, In: 4096}, 16) }

// SmolVLM returns the shapes of SmolVLM-256M: the vision tower (SigLIP-B/16, 1024
// tokens an image), the language tower at 128 to 1024 tokens (keys and values, queries
// and output, the MLP, the head) and the connector.
func SmolVLM() []Shape {
	sizes := []Shape{
		{Rows: 1024, Out: 768, In: 768}, {Rows: 1024, Out: 3072, In: 768}, {Rows: 1024, Out: 768, In: 3072},
		{Rows: 64, Out: 576, In: 12288},
	}
	for _, tokens := range []int{128, 512, 1024} {
		sizes = append(sizes, Shape{Rows: tokens, Out: 192, In: 576}, Shape{Rows: tokens, Out: 576, In: 576},
			Shape{Rows: tokens, Out: 1536, In: 576}, Shape{Rows: tokens, Out: 576, In: 1536}, Shape{Rows: tokens, Out: 49280, In: 576})
	}
	var shapes []Shape
	for _, d := range sizes {
		shapes = append(shapes, every(d, 16)...)
	}
	return shapes
}

func every(d Shape, rank int) []Shape {
	var shapes []Shape
	for _, op := range []Op{GemmNT, GemmNN, GemmTN, Forward, Input, Adapter, Weighted} {
		s := d
		s.Op = op
		if op == Forward || op == Input || op == Adapter {
			s.Rank = rank
		}
		shapes = append(shapes, s)
	}
	return shapes
}
