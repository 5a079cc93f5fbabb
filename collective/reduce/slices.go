package reduce

import "fmt"

// AddSlices is an add function for host memory that does not round: dst[i] =
// a[i] + b[i]. It fails when the lengths differ.
func AddSlices[F float32 | float64](dst, a, b []F) error {
	if len(a) != len(b) || len(dst) != len(a) {
		return fmt.Errorf("add %d and %d elements into %d", len(a), len(b), len(dst))
	}
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
	return nil
}
