// Package reduce sums the microbatches of a step along one fixed balanced binary
// tree, so that the bits of the sum depend on the number of leaves alone: not on
// how many ranks computed them, which rank computed which, or in which order
// they arrived.
//
// The tree over n leaves splits at the largest power of two below n, and each
// side again by the same rule. A rank feeds the leaves it computed to an
// [Accumulator], which adds two siblings as soon as both are there, and sends
// the maximal complete sub-trees that it holds ([Cover] says beforehand which
// they will be). The owner of a sum puts the sub-trees of all ranks into an
// Accumulator of its own and reads the root.
//
// Where the wire rounds, every edge of the tree rounds: the add function that
// the caller passes returns round(a) + round(b), as AddRounded of package
// kernels does, also when both ends sit in one process. Rounding twice changes
// nothing, so a sub-tree that crossed the wire rounded gives the same bits as
// one that did not. The root is below no edge and is not rounded here: a caller
// that sends it in a dtype that rounds must round the copy it keeps as well.
//
// The package moves nothing between processes, knows no dtype and starts no
// goroutine. Package trainer/step is the caller.
package reduce
