package hf

import (
	"fmt"
	"strings"
)

// Spelling says how a checkpoint of the LLaVA family spells its keys. The zero
// Spelling is the canonical one, that of the modules of transformers 5:
//
//	lm_head.…  model.language_model.…  model.multi_modal_projector.…  model.vision_tower.encoder.…
//
// All four spellings are read by transformers, which writes a model back in the
// one that it was loaded from, and a new model as {Original: true}.
type Spelling struct {
	// Original keys are those of the published checkpoints: language_model.lm_head.…,
	// language_model.model.…, multi_modal_projector.…, vision_tower.….
	Original bool
	// VisionModel keys have "vision_model." after the tower, as all versions of
	// transformers before 5 wrote them.
	VisionModel bool
}

// String describes the spelling for messages.
func (s Spelling) String() string {
	switch s {
	case Spelling{Original: true}:
		return "original keys"
	case Spelling{VisionModel: true}:
		return "canonical keys with vision_model"
	case Spelling{Original: true, VisionModel: true}:
		return "original keys with vision_model"
	}
	return "canonical keys"
}

// What canonical keys begin with, by the part of the model that they belong to.
const (
	HeadPrefix      = "lm_head."
	LanguagePrefix  = "model.language_model."
	ProjectorPrefix = "model.multi_modal_projector."
	VisionPrefix    = "model.vision_tower."
)

const (
	visionModelKey = "vision_model."

	originalHead      = "language_model.lm_head."
	originalLanguage  = "language_model.model."
	originalProjector = "multi_modal_projector."
	originalVision    = "vision_tower."
)

// pairs gives the prefixes that the two spellings have for the same thing.
func pairs() [4][2]string {
	return [4][2]string{
		{originalHead, HeadPrefix}, {originalLanguage, LanguagePrefix},
		{originalProjector, ProjectorPrefix}, {originalVision, VisionPrefix},
	}
}

// Canonical returns a key of the LLaVA family in the canonical spelling; other
// keys come back as they are.
func Canonical(key string) string {
	for _, p := range pairs() {
		if rest, ok := strings.CutPrefix(key, p[0]); ok {
			key = p[1] + rest
			break
		}
	}
	if rest, ok := strings.CutPrefix(key, VisionPrefix+visionModelKey); ok {
		return VisionPrefix + rest
	}
	return key
}

// Spell returns a canonical key in spelling s, the inverse of [Canonical].
func (s Spelling) Spell(canonical string) string {
	key := canonical
	if rest, ok := strings.CutPrefix(key, VisionPrefix); ok && s.VisionModel {
		key = VisionPrefix + visionModelKey + rest
	}
	if !s.Original {
		return key
	}
	for _, p := range pairs() {
		if rest, ok := strings.CutPrefix(key, p[1]); ok {
			return p[0] + rest
		}
	}
	return key
}

// SpellingOf returns the spelling that all keys have. Keys that are the same in
// every spelling say nothing; it fails where keys contradict each other.
func SpellingOf(keys []string) (Spelling, error) {
	var s Spelling
	var layout, vision string // the first key that decided
	for _, key := range keys {
		for _, p := range pairs() {
			original := strings.HasPrefix(key, p[0])
			if !original && !strings.HasPrefix(key, p[1]) {
				continue
			}
			if layout != "" && original != s.Original {
				return Spelling{}, fmt.Errorf("tensors %q and %q have different spellings, expected one spelling in the whole folder", layout, key)
			}
			layout, s.Original = key, original
		}
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(key, "model."), originalVision); ok {
			with := strings.HasPrefix(rest, visionModelKey)
			if vision != "" && with != s.VisionModel {
				return Spelling{}, fmt.Errorf("tensors %q and %q have different spellings, expected one spelling in the whole folder", vision, key)
			}
			vision, s.VisionModel = key, with
		}
	}
	return s, nil
}
