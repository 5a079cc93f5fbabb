package shard

import (
	"slices"
	"testing"
)

func TestSoloIsAPlan(t *testing.T) {
	p := Solo("a", 3, 4, 5)
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Roles(0), []Role{{Vision, 0, 0}, {Language, 0, 0}}; !slices.Equal(got, want) {
		t.Errorf("roles %v, want %v", got, want)
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Plan){
		"no nodes":           func(p *Plan) { p.Nodes = nil },
		"a node twice":       func(p *Plan) { p.Nodes = []string{"a", "a"} },
		"an idle worker":     func(p *Plan) { p.Nodes = []string{"a", "b"} },
		"a foreign owner":    func(p *Plan) { p.Stages[0].Owners[2] = 1 },
		"missing owners":     func(p *Plan) { p.Stages[1].Owners = p.Stages[1].Owners[1:] },
		"no workers":         func(p *Plan) { p.Stages[1].Workers = nil },
		"an unknown tower":   func(p *Plan) { p.Stages[1].Tower = "audio" },
		"towers in disorder": func(p *Plan) { p.Stages[0], p.Stages[1] = p.Stages[1], p.Stages[0] },
		"a gap":              func(p *Plan) { p.Stages[1] = p.Stages[0]; p.Stages[1].Index, p.Stages[1].Lo = 1, 9 },
	} {
		p := Solo("a", 3, 4, 5)
		spoil(&p)
		if p.Check() == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

func TestSpreadSharesContiguously(t *testing.T) {
	if got, want := Spread(7, []int{1, 3, 4}), []int{1, 1, 1, 3, 3, 4, 4}; !slices.Equal(got, want) {
		t.Errorf("owners %v, want %v", got, want)
	}
}
