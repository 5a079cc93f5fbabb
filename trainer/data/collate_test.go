package data

import (
	"reflect"
	"strings"
	"testing"
)

func TestCollate(t *testing.T) {
	a := Sample{Tokens: []int32{1, 9, 9, 5}, Labels: []int32{-1, -1, -1, 6}, Pixels: [][]float32{{1, 2, 3}}, ImageRows: []int32{1, 2}}
	b := Sample{Tokens: []int32{1, 9, 9, 5, 6}, Labels: []int32{-1, -1, -1, 7, 8}, Pixels: [][]float32{{4, 5, 6}}, ImageRows: []int32{1, 2}}
	got, err := Collate([]Sample{a, b}, 77)
	if err != nil {
		t.Fatal(err)
	}
	want := Batch{
		Sequences: 2, Length: 5,
		Tokens:    []int32{1, 9, 9, 5, 77, 1, 9, 9, 5, 6},
		Labels:    []int32{-1, -1, -1, 6, -1, -1, -1, -1, 7, 8},
		Positions: []int32{0, 1, 2, 3, 4, 0, 1, 2, 3, 4},
		Lengths:   []int32{4, 5},
		Images:    2, Pixels: []float32{1, 2, 3, 4, 5, 6},
		ImageRows: []int32{1, 2, 6, 7}, AnswerTokens: 3,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCollateRefuses(t *testing.T) {
	ok := Sample{Tokens: []int32{1, 9}, Labels: []int32{-1, -1}, Pixels: [][]float32{{1}}, ImageRows: []int32{1}}
	with := func(change func(*Sample)) Sample { s := ok; change(&s); return s }
	cases := map[string]struct {
		samples []Sample
		want    string
	}{
		"empty":        {nil, "no samples"},
		"no tokens":    {[]Sample{{}}, "0 tokens"},
		"labels":       {[]Sample{with(func(s *Sample) { s.Labels = nil })}, "0 labels"},
		"image sizes":  {[]Sample{ok, with(func(s *Sample) { s.Pixels = [][]float32{{1, 2}} })}, "has 2 values, want 1"},
		"row outside":  {[]Sample{with(func(s *Sample) { s.ImageRows = []int32{2} })}, "outside"},
		"no row":       {[]Sample{with(func(s *Sample) { s.ImageRows = nil })}, "0 image tokens for 1 images"},
		"rows uneven":  {[]Sample{ok, with(func(s *Sample) { s.ImageRows = []int32{0, 1} })}, "3 image tokens for 2 images"},
		"rows, no img": {[]Sample{with(func(s *Sample) { s.Pixels = nil })}, "1 image tokens for 0 images"},
	}
	for name, c := range cases {
		if _, err := Collate(c.samples, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
