package bench

import "fmt"

// Op is the form of a plain product. Rows is T, the number of tokens.
type Op string

// The three products of a linear layer.
const (
	GemmNT Op = "gemm nt" // y (rows, out) = x (rows, in) · Wᵀ
	GemmNN Op = "gemm nn" // dx (rows, in) = dy (rows, out) · W
	GemmTN Op = "gemm tn" // dW (out, in) = dyᵀ · x
)

// Shape is one product at one size.
type Shape struct {
	Op            Op
	Rows, Out, In int
}

// String names the shape in tables and benchmarks.
func (s Shape) String() string {
	return fmt.Sprintf("%s %d × %d × %d", s.Op, s.Rows, s.Out, s.In)
}

// Check reports a size that is none.
func (s Shape) Check() error {
	if smallest, largest := min(s.Rows, s.Out, s.In), max(s.Rows, s.Out, s.In); smallest < 1 || largest > 1<<16 {
		return fmt.Errorf("sizes %d × %d × %d, want 1 to %d", s.Rows, s.Out, s.In, 1<<16)
	}
	return nil
}

// Products returns the three products of a layer.
func Products(rows, out, in int) []Shape {
	return []Shape{{GemmNT, rows, out, in}, {GemmNN, rows, out, in}, {GemmTN, rows, out, in}}
}

// Cube returns a shape that every library is tuned for.
func Cube() []Shape { return Products(1024, 1024, 1024) }

// Large returns the shapes of a layer of a 7B language model.
func Large() []Shape { return Products(2048, 4096, 4096) }

// Demo returns the shapes of one microbatch of the demonstration model: 16 images of
// 17 tokens in the vision tower, 16 sequences of about 40 tokens in the language
// tower and its head. A run computes one microbatch on one thread.
func Demo() (all []Shape) {
	for _, d := range [][3]int{{272, 48, 48}, {272, 192, 48}, {272, 48, 192}, {640, 48, 48}, {640, 128, 48}, {640, 48, 128}, {640, 144, 48}} {
		all = append(all, Products(d[0], d[1], d[2])...)
	}
	return all
}

// SmolVLM returns the shapes of SmolVLM-256M: the vision tower (SigLIP-B/16, 1024
// tokens an image), the connector, and the language tower at 128 to 1024 tokens (keys
// and values, queries and output, the MLP, the head).
func SmolVLM() (all []Shape) {
	for _, d := range [][3]int{{1024, 768, 768}, {1024, 3072, 768}, {1024, 768, 3072}, {64, 576, 12288}} {
		all = append(all, Products(d[0], d[1], d[2])...)
	}
	for _, tokens := range []int{128, 512, 1024} {
		for _, d := range [][2]int{{192, 576}, {576, 576}, {1536, 576}, {576, 1536}, {49280, 576}} {
			all = append(all, Products(tokens, d[0], d[1])...)
		}
	}
	return all
}

// Decode returns the shapes of generating one token for 1, 4 and 8 sequences.
func Decode() (all []Shape) {
	for _, rows := range []int{1, 4, 8} {
		for _, d := range [][2]int{{576, 576}, {1536, 576}, {4096, 4096}, {49280, 576}} {
			all = append(all, Shape{GemmNT, rows, d[0], d[1]})
		}
	}
	return all
}
