// Package tokenizer reads Hugging Face tokenizer.json files and turns text into
// token ids and back, with exactly the ids that the Hugging Face library gives.
//
// Models: BPE (with byte fallback, unknown-token fusing and ignore_merges) and
// WordLevel. Normalizers: Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD,
// Lowercase. Pre-tokenizers: Sequence, ByteLevel, Metaspace, Split, Digits,
// Whitespace, WhitespaceSplit. Post-processors: TemplateProcessing, ByteLevel,
// Sequence. Decoders: Sequence, ByteLevel, ByteFallback, Fuse, Metaspace, Replace,
// Strip. This covers LLaMA, Vicuna, GPT-2, SmolLM, Llama 3 and Qwen 2. Anything
// else is refused with the name of the field: a tokenizer that is nearly right
// trains a model that is quietly wrong. truncation and padding in the file are
// ignored, as the transformers library does.
//
// Regular expressions run on Go's linear-time engine after a translation that
// keeps the meaning of Oniguruma's \s and \d; of lookaheads only the tail
// `\s+(?!\S)|\s+` that these tokenizers end with is known.
//
// The package is its own because no pure-Go library passed the golden set in
// testdata (made by the Hugging Face library): github.com/sugarme/tokenizer v0.3.0
// has no byte fallback, misses added tokens inside text and cannot compile Llama
// 3's pattern (wrong ids in over 40 % of the cases), and
// github.com/gomlx/go-huggingface v0.3.1 does not read tokenizer.json.
//
// It does not train tokenizers, and it gives no offsets. It is called by the data
// pipeline, by generation and by evaluation.
package tokenizer
