//go:build !amd64

package castagnoli

func canFold() bool { return false }

func fold(*[foldSize]byte, *byte, int, uint32) { panic("castagnoli: no instructions to fold with") }
