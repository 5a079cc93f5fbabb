package castagnoli

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestAsTheLibrary(t *testing.T) {
	if !canFold() {
		t.Log("this processor does not fold: the library is compared with itself")
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 70_000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for i := range 3000 {
		lo := r.IntN(300)
		hi := lo + i
		if i > 2500 {
			hi = lo + r.IntN(len(b)-lo)
		}
		crc := r.Uint32()
		if i%3 == 0 {
			crc = 0
		}
		if got, want := Update(crc, b[lo:hi]), crc32.Update(crc, table, b[lo:hi]); got != want {
			t.Fatalf("%d bytes after %08x: %08x, want %08x", hi-lo, crc, got, want)
		}
	}
	if got := Checksum([]byte("123456789")); got != 0xe3069283 {
		t.Errorf("the check value is %08x, want e3069283", got)
	}
	if got := Checksum(nil); got != 0 {
		t.Errorf("the checksum of nothing is %08x", got)
	}
}

func benchmark(b *testing.B, sum func([]byte) uint32) {
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		sum(buf)
	}
}

func BenchmarkChecksum(b *testing.B) { benchmark(b, Checksum) }

func BenchmarkLibrary(b *testing.B) {
	table := crc32.MakeTable(crc32.Castagnoli)
	benchmark(b, func(p []byte) uint32 { return crc32.Checksum(p, table) })
}
