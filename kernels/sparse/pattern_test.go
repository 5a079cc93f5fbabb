package sparse_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ressa/kernels/sparse"
)

func TestParsePattern(t *testing.T) {
	for _, s := range []string{"unstructured:0.5", "unstructured:0", "unstructured:0.75", "unstructured:0.00001", "2:4", "4:8", "1:2", "63:64"} {
		p, err := sparse.ParsePattern(s)
		if err != nil || p.String() != s {
			t.Errorf("ParsePattern(%q) gave %v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "half", "unstructured", "unstructured:", "unstructured:1", "unstructured:-0.1", "unstructured:NaN",
		"unstructured:1e400", "0:4", "4:4", "5:4", "-1:4", "2:65", "2:0", "0:0", "2:4:8", "2.0:4", "2:", ":4", "a:b",
		"+2:04", "0x2:4", "02:4", " 2:4", "2:4 ", "2_0:40", "٢:٤", "999999999999999999999:4", "unstructured:+0.5", "unstructured:-0", "unstructured:.5", "unstructured:0.",
		"unstructured:00.5", "unstructured:5e-1", "unstructured:0x1p-1", "unstructured:0.99999999999999999999", "unstructured:Inf", "unstructured:0.5 "} {
		if p, err := sparse.ParsePattern(s); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("ParsePattern(%q) gave %v, %v; want an error", s, p, err)
		}
	}
}

func TestDrop(t *testing.T) {
	for _, c := range []struct {
		pattern string
		n, want int
	}{
		{"2:4", 4, 2}, {"4:8", 8, 4}, {"1:64", 64, 63},
		{"unstructured:0.5", 7, 3}, {"unstructured:0.7", 10, 7}, {"unstructured:0", 9, 0},
	} {
		p, err := sparse.ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Drop(c.n); got != c.want {
			t.Errorf("%s drops %d of %d, want %d", c.pattern, got, c.n, c.want)
		}
	}
}

func TestCheckGroups(t *testing.T) {
	p := sparse.Pattern{N: 2, M: 4}
	m := sparse.New(2, 12)
	for _, c := range []int{0, 3, 4, 5, 9, 11} {
		m.Set(0, c, true)
		m.Set(1, c, true)
	}
	if err := p.Check(m); err != nil {
		t.Fatal(err)
	}
	last := m.Clone()
	last.Set(1, 8, true)
	if err := p.Check(last); err == nil || !strings.Contains(err.Error(), "row 1 keeps 3 weights in columns 8 to 11") {
		t.Errorf("a last group of 3 gave %v", err)
	}
	if err := p.Check(sparse.New(2, 11)); err == nil || !strings.Contains(err.Error(), "pattern 2:4: width 11, want a multiple of 4") {
		t.Errorf("a width of 11 gave %v", err)
	}
	if err := (sparse.Pattern{Ratio: 0.5}).Fits(11); err != nil {
		t.Error(err)
	}
	m.Set(0, 6, true)
	if err := p.Check(m); err == nil || !strings.Contains(err.Error(), "row 0 keeps 3 weights in columns 4 to 7") {
		t.Errorf("a group of 3 gave %v", err)
	}
}

func TestCheckUnstructured(t *testing.T) {
	p := sparse.Pattern{Ratio: 0.5}
	m := sparse.NewOnes(2, 5) // each row on its own drops 2
	for c := range 4 {
		m.Set(0, c, false)
	}
	if err := p.Check(m); err != nil {
		t.Error(err)
	}
	m.Set(0, 0, true)
	if err := p.Check(m); err == nil || !strings.Contains(err.Error(), "drops 3 weights, want at least 4") {
		t.Errorf("got %v", err)
	}
}

func TestRandomMasksFulfilTheirPattern(t *testing.T) {
	for _, text := range []string{"unstructured:0.7", "2:4", "5:16"} {
		p, err := sparse.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		m := p.Random(7, 80, rng.IntN)
		if err := p.Check(m); err != nil {
			t.Error(err)
		}
		for r := range m.Rows {
			if want := m.CountRow(0); m.CountRow(r) != want {
				t.Errorf("%s: row %d keeps %d, row 0 %d", text, r, m.CountRow(r), want)
			}
		}
		if other := p.Random(7, 80, rng.IntN); slices.Equal(other.Words, m.Words) {
			t.Errorf("%s: other random numbers give the same mask", text)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"2:4", "unstructured:0.5", "unstructured:-0", "64:64", "unstructured:0x1p-3", "+2:04", "unstructured:0.00001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := sparse.ParsePattern(s)
		if err != nil {
			return
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("%q gave an invalid pattern: %v", s, err)
		}
		if p.Structured() && p.String() != s {
			t.Fatalf("%q is read as %v", s, p)
		}
		if again, err := sparse.ParsePattern(p.String()); err != nil || again != p {
			t.Fatalf("%q prints as %q, which reads as %v, %v", s, p, again, err)
		}
	})
}
