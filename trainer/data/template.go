package data

import "strings"

// Placeholder is what a user's text holds where an image stands.
const Placeholder = "<image>"

// Template is how a conversation is written as one text:
//
//	Prefix  {User text Close  {Assistant Lead answer End}}…
//
// Lead, the answer and End are what the model learns to write; a prompt stops
// before Lead.
type Template struct {
	Prefix    string // before everything, as a system prompt
	User      string // before a user's text
	Close     string // after a user's text
	Assistant string // before an answer
	Lead      string // between Assistant and the answer
	End       string // after an answer, usually the end-of-sequence token
	// Image is put in front of the first user's text, once for each image, where no
	// turn has a placeholder. It contains the placeholder.
	Image string
}

// LLaVA15 returns the template of LLaVA-1.5:
// "USER: <image>\nquestion ASSISTANT: answer</s>".
func LLaVA15() Template {
	return Template{
		User: "USER: ", Close: " ", Assistant: "ASSISTANT:", Lead: " ", End: "</s>",
		Image: Placeholder + "\n",
	}
}

// Terse returns a template without any words of its own: "<image> question
// answer</s>". It suits small vocabularies.
func Terse() Template {
	return Template{Lead: " ", End: "</s>", Image: Placeholder + " "}
}

// TemplateByName returns the template that a job file calls "llava-1.5" or
// "terse".
func TemplateByName(name string) (Template, bool) {
	switch name {
	case "llava-1.5":
		return LLaVA15(), true
	case "terse":
		return Terse(), true
	}
	return Template{}, false
}

// rendered is a conversation as text, with the ends of its parts in bytes.
type rendered struct {
	text    string
	answers [][2]int // from the end of Assistant to the end of End
}

// render writes the turns; without last, it stops where the last answer would
// begin. The turns have been checked.
func (t Template) render(turns []Turn, images int, last bool) rendered {
	var b strings.Builder
	var r rendered
	b.WriteString(t.Prefix)
	if images > 0 && placeholders(turns) == 0 {
		turns = append([]Turn{{User, strings.Repeat(t.Image, images) + turns[0].Text}}, turns[1:]...)
	}
	for i, turn := range turns {
		if turn.Role == User {
			b.WriteString(t.User + turn.Text + t.Close)
			if i == len(turns)-1 {
				b.WriteString(t.Assistant)
			}
			continue
		}
		b.WriteString(t.Assistant)
		if !last && i == len(turns)-1 {
			break
		}
		start := b.Len()
		b.WriteString(t.Lead + turn.Text + t.End)
		r.answers = append(r.answers, [2]int{start, b.Len()})
	}
	r.text = b.String()
	return r
}

func placeholders(turns []Turn) int {
	n := 0
	for _, t := range turns {
		n += strings.Count(t.Text, Placeholder)
	}
	return n
}
