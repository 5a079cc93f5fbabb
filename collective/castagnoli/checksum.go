package castagnoli

import "hash/crc32"

// Checksum returns the CRC-32C of b.
func Checksum(b []byte) uint32 { return Update(0, b) }

// Update returns the CRC-32C of what crc is the checksum of, followed by b.
func Update(crc uint32, b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // the library keeps one
	if n := len(b) / foldSize * foldSize; n >= 4*foldSize && canFold() {
		// The whole blocks become one that has the same remainder, from a state of zero.
		var rest [foldSize]byte
		fold(&rest, &b[0], n/foldSize, ^crc)
		crc = crc32.Update(^uint32(0), table, rest[:])
		b = b[n:]
	}
	return crc32.Update(crc, table, b)
}

// foldSize is how many bytes are folded at a time.
const foldSize = 256
