package random

import "math/bits"

// Multipliers and Weyl constants of Philox4x32 (SC'11, table 2).
const (
	multiplier0 = 0xD2511F53
	multiplier1 = 0xCD9E8D57
	weyl0       = 0x9E3779B9
	weyl1       = 0xBB67AE85
	rounds      = 10
)

// Philox returns the block of four uint32 at this counter under this key.
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	c, k := counter, key
	for r := range rounds {
		if r > 0 {
			k[0] += weyl0
			k[1] += weyl1
		}
		hi0, lo0 := mul(multiplier0, c[0])
		hi1, lo1 := mul(multiplier1, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0}
	}
	return c
}

func mul(a, b uint32) (hi, lo uint32) { return bits.Mul32(a, b) }
