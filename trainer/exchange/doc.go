// Package exchange carries the edges of a step between ranks: it implements
// step.Exchange over the messages of package group and the encoding of package
// tensor. Tensors travel in the job's wire dtype; what arrives has the bits that
// the same edge has inside one process, since package step rounds there as well.
//
// It checks that an edge belongs to the generation, step, microbatch and place
// that the reader waits for, and ends every wait after a timeout. It does not
// reduce gradients, overlap transfers with computation, or keep an edge for
// several readers on one rank: each gets its own message. Package job will be
// the caller; today the tests are.
package exchange
