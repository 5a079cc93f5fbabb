// Package tensor turns what crosses an edge between ranks into bytes and back:
// named tensors in host memory, named integers, and the header that says which
// step, microbatch, generation and edge they belong to. The bytes are an Arrow
// IPC stream with one record batch, whose columns carry the fixed-shape-tensor
// extension, and a checksum; docs/formats/tensors.md is the format.
//
// [Encode] writes into a buffer that the caller keeps, [Decode] trusts nothing:
// every length, dtype and shape is checked against the message's own size and
// against what the caller expects, allocation is bounded by the size of the
// input, and each way to be wrong has its error. A decoded message has the bits
// that were encoded.
//
// It knows no model, moves nothing and does not round: a tensor that travels as
// bf16 was converted before. It does not compress, and it writes little-endian
// hosts' memory as it is. Packages group's users and trainer/exchange call it.
package tensor
