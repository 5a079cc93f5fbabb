// Package safetensors reads and writes the safetensors file format of Hugging
// Face: eight bytes of little-endian header length N, N bytes of JSON that give
// every tensor's name, dtype, shape and byte range, then the bytes of all
// tensors, little-endian and row-major.
//
// Reading maps the file into memory and believes nothing: every length has a
// bound, names are unique, the ranges cover the data exactly, without gap,
// overlap or rest, and every range has the bytes that dtype and shape ask for.
// A file that fails gives one error that names the file, the tensor, what was
// found and what was expected.
//
// Writing gives the same bytes for the same tensors, in the order that the
// Python library uses: dtypes with the widest alignment first, then names; keys
// of the metadata are sorted. Tensors are streamed, files appear completely or
// not at all, and the SHA-256 of what was written is returned.
//
// It does not know what a model is and does not read dtypes narrower than a
// byte. Packages hf and checkpoint are the main callers.
package safetensors
