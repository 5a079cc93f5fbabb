package evaluate

import (
	"math"
	"slices"
	"strings"
)

// Score is the share of right answers.
type Score struct {
	Right, Questions int
}

// Percent returns the share in percent, 0 without questions.
func (s Score) Percent() float64 {
	if s.Questions == 0 {
		return 0
	}
	return 100 * float64(s.Right) / float64(s.Questions)
}

// Interval returns the 95 % score interval in percent (Wilson 1927, JASA 22: the
// shares that a two-sided normal test at 1.96 would not reject); (0, 100) without
// questions.
func (s Score) Interval() (low, high float64) {
	if s.Questions == 0 {
		return 0, 100
	}
	const z = 1.959963984540054 // the 0.975 quantile of the normal distribution
	n, p := float64(s.Questions), float64(s.Right)/float64(s.Questions)
	centre := p + z*z/(2*n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	scale := 100 / (1 + z*z/n)
	return max(0, scale*(centre-half)), min(100, scale*(centre+half))
}

// Add returns the score of both sets of questions together.
func (s Score) Add(t Score) Score { return Score{s.Right + t.Right, s.Questions + t.Questions} }

// KindScore is the score on the questions of one kind.
type KindScore struct {
	Kind string // empty for examples without a kind
	Score
}

// Result is what [Run] returns.
type Result struct {
	Score
	Kinds []KindScore // sorted by kind; empty when no example has one
	// Answers are the model's answers by position in the evaluated examples.
	Answers []Answer
}

// Answer is one answer of the model.
type Answer struct {
	ID, Kind string
	Text     string
	Accepted []string
	Right    bool
}

// summarise counts right answers overall and by kind.
func summarise(answers []Answer) Result {
	r := Result{Answers: answers}
	kinds := map[string]Score{}
	for _, a := range answers {
		one := Score{Questions: 1}
		if a.Right {
			one.Right = 1
		}
		r.Score = r.Score.Add(one)
		kinds[a.Kind] = kinds[a.Kind].Add(one)
	}
	if _, only := kinds[""]; only && len(kinds) == 1 {
		return r
	}
	for kind, score := range kinds {
		r.Kinds = append(r.Kinds, KindScore{kind, score})
	}
	slices.SortFunc(r.Kinds, func(a, b KindScore) int { return strings.Compare(a.Kind, b.Kind) })
	return r
}
