// Package sparse holds which weights of a matrix are kept: a [Mask] with one
// explicit bit per weight, the [Pattern] that a mask must fulfil, and the kept
// weights alone, [Packed].
//
// It guarantees one layout everywhere: 64 columns a word, bit c%64 of word c/64
// of a row is column c, 1 = kept, rows padded to whole words with zero bits. It
// is the layout that kernels read, so that a mask goes to a device as it stands.
// A mask is never derived from weights that happen to be zero.
//
// It does not choose what is kept (package prune does), but at random for benchmarks
// ([Pattern.Random]), and does not compute. Packages prune, adapter, checkpoint, optim
// and the model families call it.
package sparse
