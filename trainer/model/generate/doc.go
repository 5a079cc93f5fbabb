// Package generate continues batches of sequences, greedily or by sampling,
// with the keys and values of earlier tokens kept on the device.
//
// It guarantees that no sequence looks at another one, that what is drawn depends
// on the logits and on (seed, sequence, position) alone, and that generating one
// token costs one forward and keeps no cache. Logits of the same sequence in
// batches of another shape may differ in the last bits, as in any forward.
//
// It does not run the vision tower, decode tokens into text or search beams.
// Package evaluate calls it, with the stages of any family that implements
// [Stage].
package generate
