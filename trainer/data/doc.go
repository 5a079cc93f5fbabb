// Package data turns image-text examples into batches of numbers.
//
// A [Dataset] yields an [Example] by index; an [Encoder] applies a [Template],
// the tokenizer and the image processor to it and returns a [Sample]; [Collate]
// joins samples into a [Batch], which is all that a model sees. [Order] says
// which examples a step takes, as a pure function of seed and step: no state has
// to be saved, and any number of nodes agrees on it.
//
// Guarantees: the same example gives the same sample on every machine; labels
// are already shifted and cover answer tokens only; errors name the example.
// The package reads no files itself and depends on no file format: readers are
// in its sub-folders conversation and parquet, the tokenizer in tokenizer, the image
// processor in picture. It does not shuffle, cache or prefetch.
//
// It is called by the step engine (training), by the evaluation and by the
// pruner's calibration.
package data
