// Package allreduce sums vectors over ranks in the order of the tree of package
// reduce, by direct exchange: the vector is cut into as many parts as ranks take
// part, the owner of a part gets every sub-tree's slice of it from every rank,
// joins them in tree order, and sends the sum back. A byte crosses the network
// twice, whatever the number of ranks.
//
// It guarantees bits: the result of [Reducer.AllReduce] is what one
// [reduce.Accumulator] over all leaves gives whose add function is AddRounded of
// package kernels, rounded at the root too where the wire rounds (unless
// [Reduction.ExactRoot]), whichever rank computed which leaf, however many ranks
// take part and in whichever order messages arrive. Vectors are cut into
// segments that travel while others are being summed; memory is bounded by the
// segments on the way. Where only some positions matter, as in masked training,
// only those travel ([Keep]).
//
// It works on host memory, starts no collective by itself, and knows neither
// models nor connections. Ranks must agree on the [Reduction]; a vector of another
// length is an error on the rank that receives it. An error leaves the result
// undefined; the caller aborts the group. Package trainer/job calls it, and
// `ressa bench collective` measures it.
package allreduce
