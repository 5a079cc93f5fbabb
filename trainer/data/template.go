package data

import (
	"fmt"
	"strings"
)

// Template says how the turns of a conversation become a prompt. The text is
//
//	System, then for every pair of turns: UserPrefix question AssistantPrefix answer
//
// and after every answer comes the end-of-sequence token.
type Template struct {
	System, UserPrefix, AssistantPrefix string
	// AnswerSeparator stands before an answer and is not part of it.
	AnswerSeparator string
	// PairSeparator stands before every question but the first.
	PairSeparator string
}

// TemplateNames are the templates a job can name.
func TemplateNames() []string { return []string{"llava", "plain"} }

// NewTemplate returns the template of that name: "llava" as LLaVA-1.5 was
// trained (without its system sentence), "plain" with nothing but the turns.
func NewTemplate(name string) (Template, error) {
	switch name {
	case "llava":
		return Template{UserPrefix: "USER: ", AssistantPrefix: " ASSISTANT:", AnswerSeparator: " "}, nil
	case "plain":
		return Template{AnswerSeparator: " ", PairSeparator: " "}, nil
	}
	return Template{}, fmt.Errorf("template %q is none of %s", name, strings.Join(TemplateNames(), ", "))
}
