// Package adapter attaches what is trained to the linear layers of a tower
// (SparseLoRA, plain LoRA, masked full-parameter, full dense), lays it out in
// one flat vector, initialises it, merges it back without losing a zero, and
// reads and writes it in PEFT's layout. Adapters are independent of how masks
// were made (package prune) and of how they are trained (package step).
package adapter
