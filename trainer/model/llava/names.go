package llava

import "strings"

// Spelling is one of the ways in which checkpoints of the family name their
// tensors.
type Spelling uint8

const (
	// Canonical names are those of the modules in transformers 5, which PEFT uses
	// too: "model.language_model.layers…", "model.vision_tower.encoder…",
	// "lm_head.weight". Version 4.52 to 4.57 had "vision_model." after the tower.
	Canonical Spelling = iota
	// Original names are those of the published checkpoints, which every version
	// reads: "language_model.model.layers…", "vision_tower.vision_model.encoder…",
	// "language_model.lm_head.weight". An exporter should write these.
	Original
)

// The prefixes of the canonical names.
const (
	visionPrefix    = "model.vision_tower."
	projectorPrefix = "model.multi_modal_projector."
	languagePrefix  = "model.language_model."
	headName        = "lm_head.weight"
)

// Spell returns a canonical name in another spelling.
func Spell(canonical string, s Spelling) string {
	if s == Canonical {
		return canonical
	}
	if canonical == headName {
		return "language_model." + headName
	}
	if rest, ok := strings.CutPrefix(canonical, languagePrefix); ok {
		return "language_model.model." + rest
	}
	if rest, ok := strings.CutPrefix(canonical, visionPrefix); ok {
		return "vision_tower.vision_model." + rest
	}
	return strings.TrimPrefix(canonical, "model.")
}

// Canonicalise returns the canonical name of a tensor in any spelling; names
// that are not of this family come back as they are.
func Canonicalise(name string) string {
	if name == "language_model."+headName {
		return headName
	}
	for _, p := range [][2]string{
		// The longer prefixes first.
		{"model.vision_tower.vision_model.", visionPrefix}, {"vision_tower.vision_model.", visionPrefix}, {"vision_tower.", visionPrefix},
		{"multi_modal_projector.", projectorPrefix}, {"language_model.model.", languagePrefix},
	} {
		if rest, ok := strings.CutPrefix(name, p[0]); ok {
			return p[1] + rest
		}
	}
	return name
}
