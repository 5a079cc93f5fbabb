// Package exchange carries the edges of a step between ranks: it implements
// step.Exchange over the messages of package group and the encoding of package
// tensor. Tensors travel in the job's wire dtype; what arrives has the bits that
// the same edge has inside one process, since package step rounds there as well.
//
// [Workers] adds what an engine needs of the other workers of a plan: which stage
// computes which microbatch, the sums of gradients over the replicas of a stage
// (package allreduce), and what every worker has to say before an update.
//
// It checks that an edge belongs to the generation, step, microbatch and place
// that the reader waits for, and ends every wait after a timeout. It does not
// place stages, or keep an edge for several readers on one rank: each gets its own
// message. Package job will be the caller; today the tests are.
package exchange
