// Package ptx makes C++ of PTX, so that the shim's runtime runs what NVRTC made of
// the kernels: [Translate] gives a function a kernel, registers as typed variables and
// labels as labels. What an instruction does is in host/, written from the PTX ISA alone
// and not from the shim's own functions, so that comparing the two says something.
//
// An instruction, modifier, type or operand that is not known is an error with its
// line; none is skipped. Where PTX leaves a result open, the launch fails: a division by
// zero, a shuffle that names not all lanes. Addresses of shared and parameter memory
// are numbers of their own, no pointers, and each access is checked against what the
// block or the launch has. NaN is 0x7fffffff where a GPU makes it.
//
// It does not know what ptxas makes of the PTX, the order in which memory operations
// of different threads are seen, or how tensor cores add. Only tests call it.
package ptx
