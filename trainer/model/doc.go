// Package model holds what all model families share: parameters on a device,
// the flat vector of what is trained, the linear layer with its mask and
// adapter, and the interfaces of a tower and of an edge between towers. The
// families themselves are the sub-packages.
//
// Forward and backward are written out per layer; there is no autograd tape.
// A tower computes in one of two variants, [Student] (mask and adapter on) and
// [Dense] (the frozen weight as it was loaded), over the same weights, so that
// one copy serves student and teacher.
//
// It does not know about steps, optimisers, files of a job or other processes.
// Packages adapter, prune, step and evaluate are the callers.
package model
