// Package llava is the LLaVA-1.5 family as Hugging Face writes it
// (LlavaForConditionalGeneration): a CLIP vision transformer, a two-layer MLP
// projector and a LLaMA language model, of any size.
//
// [ParseConfig] reads config.json and refuses, by field name, whatever it does
// not compute exactly. [Open] loads a model, or the stages of one, from a
// checkpoint folder in either key spelling; [New] makes a random one. A [Model]
// has a [Vision] tower, which ends at the layer whose features are used, and a
// [Language] tower, which begins with the projector; both implement
// [model.Tower], run student and teacher over the same weights and hold to
// goldens that transformers computed, in forward and in every gradient.
//
// It does not decode images or text, prune, adapt, or write files: [Model.Params]
// hands every parameter to an exporter, by its canonical name. Packages step, prune, evaluate and the verbs are the callers.
package llava
