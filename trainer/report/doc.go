// Package report draws the outcome of a job: a picture with the loss, the scores
// with their intervals and the sparsity of every layer. It computes nothing of
// its own. Package job is the caller.
package report
