package objective

import (
	"math"
	"strings"
	"testing"

	"ressa/trainer/model"
)

func TestTeachersAreCrossModal(t *testing.T) {
	for name, want := range map[string][2]model.Variant{
		"dense-dense":    {model.Dense, model.Dense},
		"dense-vision":   {model.Dense, model.Student},
		"dense-language": {model.Student, model.Dense},
	} {
		got, err := NewTeacher(name, 0.5)
		if err != nil || got.Vision != want[0] || got.Language != want[1] || got.Weight != 0.5 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := NewTeacher("dense", 1); err == nil || !strings.Contains(err.Error(), "dense-vision") {
		t.Errorf("error %v, want one that lists the teachers", err)
	}
	if _, err := NewTeacher("dense-dense", math.NaN()); err == nil {
		t.Error("a weight of NaN was accepted")
	}
}

func TestScales(t *testing.T) {
	c := Config{Lambda: 0.25, Temperature: 2, Reduction: TokenMean}
	if got := c.Scales(10, 5); math.Abs(got.CE-0.075) > 1e-15 || math.Abs(got.KL-0.1) > 1e-15 {
		t.Errorf("token mean: %+v, want 0.75/10 and 0.25·4/10", got)
	}
	c.Reduction = BatchMean
	if got := c.Scales(10, 5); math.Abs(got.KL-0.05) > 1e-15 {
		t.Errorf("batch mean: %+v, want 0.25/5 for the divergence", got)
	}
}

func TestCheck(t *testing.T) {
	teacher, err := NewTeacher("dense-dense", 1)
	if err != nil {
		t.Fatal(err)
	}
	ok := Config{Lambda: 0.5, Temperature: 1, Reduction: TokenMean, Teachers: []Teacher{teacher}}
	if err := ok.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"lambda:":      func(c *Config) { c.Lambda = 1.5 },
		"temperature:": func(c *Config) { c.Temperature = 0 },
		"kl_reduction": func(c *Config) { c.Reduction = "sum" },
		"no teacher":   func(c *Config) { c.Teachers = nil },
	} {
		c := ok
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
