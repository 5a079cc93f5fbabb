// Package sparse holds which weights of a matrix are kept: a [Mask] with one
// explicit bit per weight, and the [Pattern] that a mask must fulfil.
//
// It guarantees one layout everywhere: 64 columns a word, bit c%64 of word c/64
// of a row is column c, 1 = kept, rows padded to whole words with zero bits. It
// is the layout that kernels read, so that a mask goes to a device as it stands.
// A mask is never derived from weights that happen to be zero.
//
// It does not choose what is kept (package prune does) and does not hold weights.
// Packages prune, adapter, checkpoint and optim call it.
package sparse
