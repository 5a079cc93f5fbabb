package tensor

import (
	"fmt"
	"math"
	"strings"

	"ressa/kernels"
)

// Header says where a message belongs.
type Header struct {
	Generation uint64
	Step       int
	Microbatch int
	Edge       string // name of the edge, as "vision>language"
	// Trace is the trace context, W3C headers by lower-case name.
	Trace map[string]string
}

// Array is a named matrix in host memory.
type Array struct {
	Name       string
	DType      kernels.DType // F32, BF16 or I32
	Rows, Cols int           // both at least 1
	Data       []byte        // Rows × Cols elements, little-endian, row after row
}

// Ints is named integer metadata: grids, lengths.
type Ints struct {
	Name   string
	Values []int32
}

// Message is what crosses an edge once.
type Message struct {
	Header
	Arrays []Array // names are unique; the order is kept
	Ints   []Ints  // likewise
}

// Limits of a message, beyond which both ends refuse it.
const (
	MaxColumns = 1024 // arrays and ints together
	MaxName    = 256  // bytes of a name, a trace key or a trace value
	MaxTrace   = 16   // trace entries
)

// Array returns the array of that name.
func (m *Message) Array(name string) (Array, bool) {
	for _, a := range m.Arrays {
		if a.Name == name {
			return a, true
		}
	}
	return Array{}, false
}

// Check verifies that m can be encoded; the error wraps [ErrShape] or
// [ErrTooLarge].
func (m *Message) Check() error {
	if m.Step < 0 || m.Microbatch < 0 {
		return fmt.Errorf("tensor: step %d, microbatch %d: %w", m.Step, m.Microbatch, ErrShape)
	}
	if n := len(m.Arrays) + len(m.Ints); n > MaxColumns || len(m.Trace) > MaxTrace {
		return fmt.Errorf("tensor: %d columns and %d trace entries, at most %d and %d: %w", n, len(m.Trace), MaxColumns, MaxTrace, ErrTooLarge)
	}
	texts := []string{m.Edge}
	for k, v := range m.Trace {
		texts = append(texts, k, v)
	}
	seen := map[string]bool{}
	for _, a := range m.Arrays {
		want, err := byteSize(a.DType, a.Rows, a.Cols)
		if err != nil {
			return fmt.Errorf("tensor: array %q: %w", a.Name, err)
		}
		if len(a.Data) != want {
			return fmt.Errorf("tensor: array %q holds %d bytes, want %d for %v (%d, %d): %w", a.Name, len(a.Data), want, a.DType, a.Rows, a.Cols, ErrShape)
		}
		if seen[a.Name] {
			return fmt.Errorf("tensor: array %q twice: %w", a.Name, ErrShape)
		}
		seen[a.Name] = true
		texts = append(texts, a.Name)
	}
	clear(seen)
	for _, v := range m.Ints {
		if seen[v.Name] {
			return fmt.Errorf("tensor: ints %q twice: %w", v.Name, ErrShape)
		}
		if len(v.Values) > math.MaxInt32/4 {
			return fmt.Errorf("tensor: ints %q has %d values: %w", v.Name, len(v.Values), ErrTooLarge)
		}
		seen[v.Name] = true
		texts = append(texts, v.Name)
	}
	for _, s := range texts {
		if len(s) > MaxName {
			return fmt.Errorf("tensor: name %q… has %d bytes, at most %d: %w", strings.ToValidUTF8(s[:32], "?"), len(s), MaxName, ErrTooLarge)
		}
	}
	return nil
}

// byteSize returns the bytes of rows × cols elements.
func byteSize(d kernels.DType, rows, cols int) (int, error) {
	if d != kernels.F32 && d != kernels.BF16 && d != kernels.I32 {
		return 0, fmt.Errorf("%v cannot cross an edge, want fp32, bf16 or int32: %w", d, ErrShape)
	}
	if rows < 1 || cols < 1 {
		return 0, fmt.Errorf("(%d, %d) is empty: %w", rows, cols, ErrShape)
	}
	// The format counts elements in 32 bits.
	if rows > math.MaxInt32/cols {
		return 0, fmt.Errorf("(%d, %d) has more than 2³¹−1 elements: %w", rows, cols, ErrTooLarge)
	}
	return rows * cols * d.Size(), nil
}
