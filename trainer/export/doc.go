// Package export writes what a repair made: one folder with the merged, exactly
// sparse checkpoint as Hugging Face writes it, masks.safetensors, and adapter/ in
// PEFT's layout.
//
// It guarantees that the folder appears complete or not at all, and that what
// appears was read back first: every tensor has the bytes that were merged, every
// masked weight is +0.0 bit for bit, every mask fulfils its pattern, and the
// adapter's files can be read.
//
// It computes nothing itself: weights come from package adapter's mergers, files
// from package hf. Packages job and cli call it.
package export
