//go:build !amd64

package vector

func addWide(_, _, _ []float32) int        { return 0 }
func addRoundedWide(_, _, _ []float32) int { return 0 }
func toBF16Wide([]uint16, []float32) int   { return 0 }
func fromBF16Wide([]float32, []uint16) int { return 0 }

func packWide(_, _ []float32, _ []uint64) (done, used int)   { return 0, 0 }
func unpackWide(_, _ []float32, _ []uint64) (done, used int) { return 0, 0 }
