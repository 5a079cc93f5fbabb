// Package layer holds the pieces that transformers of every family are built
// from: layer and RMS norm, multi-head attention with grouped queries and rotary
// positions, plain and gated MLPs, and the pre-norm residual [Block] that joins
// them, each with its forward and its backward written out.
//
// Guarantees: forward in the same variant gives the same bits whether or not it
// keeps state; backward overwrites the gradient of every trained parameter and
// skips whatever no trained parameter and no caller needs; scratch goes back to
// the lane's pool as soon as its last use is enqueued. Between forward and
// backward a block keeps its input, queries, keys, values, attention output,
// middle of the residual stream and MLP pre-activations; norms and activations
// are computed again from these. A lane can ask for less to be kept, with the same
// bits. The residual stream is added up where the norm that follows reads it.
//
// It knows no checkpoint, parameter names or batches of examples. The model
// families (package llava) are the callers.
package layer
