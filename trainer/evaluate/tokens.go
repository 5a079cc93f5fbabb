package evaluate

import "encoding/binary"

// encode writes tokens, 4 bytes each, little-endian.
func encode(tokens []int32) []byte {
	raw := make([]byte, 0, 4*len(tokens))
	for _, t := range tokens {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(t))
	}
	return raw
}

func decode(raw []byte) []int32 {
	tokens := make([]int32, len(raw)/4)
	for i := range tokens {
		tokens[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return tokens
}
