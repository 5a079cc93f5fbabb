package evaluate

import (
	"context"
	"errors"
	"fmt"
	"image"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/shard"
	"ressa/trainer/data"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/team"
)

// questions is a data set of prompts of different lengths, one image each.
type questions struct {
	n      int
	answer func(i int) []string
}

func (q questions) Len() int { return q.n }

func (q questions) Example(i int) (data.Example, error) {
	if i == 77 {
		return data.Example{}, errors.New("row 77 is broken")
	}
	answers := q.answer(i)
	return data.Example{
		ID: strconv.Itoa(i), Kind: []string{"even", "odd"}[i%2], Images: []data.Picture{shade(i)}, Answers: answers[1:],
		Turns: []data.Turn{{Role: data.User, Text: strings.Repeat("x", 1+i*7%11)}, {Role: data.Assistant, Text: answers[0]}},
	}, nil
}

// shade is a picture whose only pixel tells its number.
type shade int

func (s shade) Decode() (image.Image, error) {
	return &image.Gray{Pix: []byte{byte(s)}, Stride: 1, Rect: image.Rect(0, 0, 1, 1)}, nil
}

// encoder writes the image's tokens and one token for each letter.
type encoder struct{ config llava.Config }

func (e encoder) Prompt(x data.Example) (data.Sample, error) {
	s := data.Sample{}
	for i := range e.config.FeaturesPerImage() {
		s.ImageRows, s.Tokens = append(s.ImageRows, int32(i)), append(s.Tokens, int32(e.config.ImageToken))
	}
	for _, r := range x.Turns[0].Text {
		s.Tokens = append(s.Tokens, int32(r)%40)
	}
	for range s.Tokens {
		s.Labels = append(s.Labels, data.Ignore)
	}
	img, err := x.Images[0].Decode()
	if err != nil {
		return data.Sample{}, err
	}
	pixels := make([]float32, e.config.Vision.PixelsPerImage())
	for i := range pixels {
		pixels[i] = float32(int(img.(*image.Gray).Pix[0])*(i%5)-200) / 50
	}
	s.Pixels = [][]float32{pixels}
	return s, nil
}

// numbers writes tokens as numbers.
type numbers struct{}

func (numbers) Decode(ids []int32, _ bool) string { return strings.Trim(fmt.Sprint(ids), "[]") }

type rig struct {
	device kernels.Device
	model  *llava.Model
}

func newRig(t *testing.T) *rig {
	t.Helper()
	d := reference.Open()
	m, err := llava.Open(context.Background(), d, "../model/llava/testdata/tiny", llava.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{d, m}
}

func (r *rig) run(t *testing.T, lanes int, q questions, o Options) (Result, error) {
	t.Helper()
	var ls [][]*model.Lane
	for range lanes {
		s, err := r.device.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		l := &model.Lane{Stream: s, Pool: model.NewPool(r.device)}
		ls = append(ls, []*model.Lane{l, l})
	}
	m := r.alone(t)
	e := encoder{r.model.Config}
	return Run(context.Background(), m, ls, q, Encoders{e, e}, numbers{}, o)
}

// alone returns the model on a team of one.
func (r *rig) alone(t *testing.T) Model {
	t.Helper()
	alone, err := team.New(team.Config{Plan: shard.Solo("a", 2, 2, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return Model{Team: alone, Stages: []model.Tower{r.model.Vision, r.model.Language}, Variant: model.Student}
}

func unknown(int) []string { return []string{"?"} }

func TestAnswersDoNotDependOnLanes(t *testing.T) {
	r := newRig(t)
	o := Options{BatchSize: 3, MaxNew: 4}
	one, err := r.run(t, 1, questions{40, unknown}, o)
	if err != nil {
		t.Fatal(err)
	}
	if one.Right != 0 || one.Questions != 40 || len(one.Kinds) != 2 || one.Kinds[1].Questions != 20 {
		t.Errorf("score %+v, kinds %v", one.Score, one.Kinds)
	}
	three, err := r.run(t, 3, questions{40, unknown}, o)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(one, three) {
		t.Error("three lanes answer otherwise than one")
	}
	different := map[string]bool{}
	for i, a := range one.Answers {
		if a.ID != strconv.Itoa(i) {
			t.Fatalf("answer %d is that of example %s", i, a.ID)
		}
		different[a.Text] = true
	}
	if len(different) < 3 {
		t.Errorf("all answers are among %v: the test says nothing", different)
	}
	// The model's own answers are right answers, also as one among others.
	mine, err := r.run(t, 2, questions{40, func(i int) []string { return []string{"?", one.Answers[i].Text} }}, o)
	if err != nil || mine.Right != 40 {
		t.Errorf("%d of 40 right, %v", mine.Right, err)
	}
}

func TestOneTokenIsThePrefixOfMore(t *testing.T) {
	r := newRig(t)
	long, err := r.run(t, 1, questions{10, unknown}, Options{MaxNew: 3})
	if err != nil {
		t.Fatal(err)
	}
	short, err := r.run(t, 1, questions{10, unknown}, Options{MaxNew: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range short.Answers {
		if !strings.HasPrefix(long.Answers[i].Text+" ", short.Answers[i].Text+" ") {
			t.Errorf("answer %d is %q with one token, %q with three", i, short.Answers[i].Text, long.Answers[i].Text)
		}
	}
}

// same asks one question about different images.
type same struct{ questions }

func (s same) Example(i int) (data.Example, error) {
	ex, err := s.questions.Example(0)
	ex.Images = []data.Picture{shade(i)}
	return ex, err
}

func TestBlindSeesNoImage(t *testing.T) {
	r := newRig(t)
	texts := func(blind bool) map[string]bool {
		s, err := r.device.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		l := &model.Lane{Stream: s, Pool: model.NewPool(r.device)}
		e, m := encoder{r.model.Config}, r.alone(t)
		m.Variant = model.Dense
		got, err := Run(context.Background(), m, [][]*model.Lane{{l, l}},
			same{questions{60, unknown}}, Encoders{e, e}, numbers{}, Options{MaxNew: 6, Blind: blind})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, a := range got.Answers {
			seen[a.Text] = true
		}
		return seen
	}
	if seen := texts(true); len(seen) != 1 {
		t.Errorf("without pixels the answers are %v", seen)
	}
	if seen := texts(false); len(seen) < 2 {
		t.Errorf("with pixels the answers are all %v: the test says nothing", seen)
	}
}

func TestChosenExamplesAndProgress(t *testing.T) {
	r := newRig(t)
	var last [2]int
	got, err := r.run(t, 2, questions{20, unknown}, Options{Examples: []int{7, 3, 5}, BatchSize: 2, Progress: func(done, total int) { last = [2]int{done, total} }})
	if err != nil || len(got.Answers) != 3 || got.Answers[0].ID != "7" || got.Answers[2].ID != "5" || last != [2]int{3, 3} {
		t.Errorf("answers %+v, progress %v, %v", got.Answers, last, err)
	}
}

func TestRunRefuses(t *testing.T) {
	r := newRig(t)
	if _, err := r.run(t, 2, questions{200, unknown}, Options{BatchSize: 4}); err == nil || !strings.Contains(err.Error(), "row 77") {
		t.Errorf("a broken example gives %v", err)
	}
	if _, err := r.run(t, 1, questions{0, unknown}, Options{}); err == nil {
		t.Error("an empty data set has a score")
	}
	if _, err := r.run(t, 0, questions{5, unknown}, Options{}); err == nil {
		t.Error("no lanes have a score")
	}
	if _, err := r.run(t, 1, questions{5, unknown}, Options{MaxNew: 100}); err == nil {
		t.Error("grew beyond the model's positions")
	}
}
