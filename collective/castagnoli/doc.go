// Package castagnoli computes the CRC-32C that messages and frames carry. It gives
// what hash/crc32 gives; where the processor multiplies polynomials 512 bits at a
// time, three times as fast. Packages group and tensor use it.
package castagnoli
