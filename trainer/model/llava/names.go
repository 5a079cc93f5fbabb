package llava

// The prefixes of the canonical names: those of the modules in transformers 5,
// as package hf reads them from every spelling.
const (
	visionPrefix    = "model.vision_tower."
	projectorPrefix = "model.multi_modal_projector."
	languagePrefix  = "model.language_model."
	headName        = "lm_head.weight"
)
