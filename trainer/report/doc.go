// Package report turns the outcome of a job into what a person looks at: a
// closing table and a picture with the loss, the scores with their intervals
// and the sparsity of every layer. It computes nothing of its own; the verbs of
// the command line are the callers.
package report
