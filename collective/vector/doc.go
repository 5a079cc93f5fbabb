// Package vector is the arithmetic that collectives do on host memory: sums of
// float32, with rounding to bfloat16 or without, conversion to what travels and back,
// and the packing of the positions that a mask keeps. The bits are those of plain
// loops over package kernels' ToBF16 and FromBF16 on every processor, except for
// which of two NaNs a sum carries on.
//
// Nothing is allocated, started or kept. Packages allreduce and bench use it.
package vector
