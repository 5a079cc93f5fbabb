// Package hf reads and writes checkpoint folders as Hugging Face's transformers
// does: config.json, model.safetensors or its shards with an index, tokenizer and
// image-processor files, and, beside them, masks.safetensors, which holds for
// each masked weight NAME a tensor NAME, dtype BOOL, of the weight's shape,
// true = kept.
//
// An open [Folder] is checked completely but for the values: every tensor that
// the index names is in its shard, no shard lies outside the folder, every mask
// has the shape of its weight. Its names are canonical whatever the spelling of
// the keys in the files (see [Spelling]), and [Folder.Hash] depends neither on
// the spelling nor on how the tensors are split into shards.
//
// [Write] makes a whole folder appear at once, or nothing. The package does not
// know what the tensors mean, does not interpret config.json beyond the model's
// type, and reads no pickled weights. Packages of model families, prune and the
// verbs are the callers.
package hf
