// Package prune decides which weights of the towers' linear layers are kept:
// scores (magnitude, Wanda), the selection of the lowest under a pattern, the
// calibration that Wanda needs, and the import of checkpoints that arrive pruned.
// Its result is [Masks], one mask per weight in canonical parameter order, which
// it applies to the towers, saves, loads and hashes.
//
// It guarantees that masks depend on the weights, the pattern and the calibration
// batches alone: ties go by index, statistics are summed along the fixed tree of
// package reduce in float64, and neither the number of lanes nor of threads is
// visible. Masks fulfil their pattern by construction.
//
// What is pruned by default are the linears that [model.Tower.Prunable] names.
// n:m masks are made on the device, which compares a handful of columns at a time;
// unstructured ones on the host, as they order a whole row or matrix. Calibration
// downloads sums, never activations.
//
// Granularity is that of the published method: within n:m groups of m consecutive
// inputs; within each output row for unstructured patterns in the language model;
// within the whole matrix for unstructured patterns in the vision encoder.
//
// It does not rewrite weights and does not train. Packages job and cli call it.
package prune
