package export_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ressa/kernels"
	"ressa/kernels/reference"
	"ressa/trainer/data"
	"ressa/trainer/data/picture"
	"ressa/trainer/evaluate"
	"ressa/trainer/job"
	"ressa/trainer/model"
)

// asked is one question about one image and what a model makes of it, from the
// files of its folder alone.
type asked struct {
	Image    string    `json:"image"`
	Question string    `json:"question"`
	IDs      []int32   `json:"ids"`    // the prompt, image tokens expanded
	Pixels   []float32 `json:"pixels"` // some of the processed image (see pixelStride)
	Logits   []float32 `json:"logits"` // of the prompt's last token
	Answer   string    `json:"answer"` // greedy
}

// pixelStride keeps the golden small; it shares no factor with the image's edge.
const pixelStride = 37

// The golden is what transformers makes of the shipped model, which Ressa
// exported: testdata/check_transformers.py. The other way round, for the export
// of any repair of that model: RESSA_EXPORT_DIR names its folder, and what Ressa
// computes is written to RESSA_ASKED for the script to compare.
func TestTransformersReadsAnExport(t *testing.T) {
	raw, err := os.ReadFile("testdata/asked.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Model string  `json:"model_sha256"` // of the weights file
		Asked []asked `json:"asked"`
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	want := golden.Asked
	dir, out := os.Getenv("RESSA_EXPORT_DIR"), os.Getenv("RESSA_ASKED")
	if dir == "" {
		dir = "../demo/model"
	}
	got := ask(t, dir, want)
	if out != "" {
		golden.Asked = got
		raw, err := json.Marshal(golden)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	weights, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(weights); hex.EncodeToString(sum[:]) != golden.Model {
		t.Fatalf("the golden is of another model (%s) than %s: make it again with testdata/check_transformers.py", golden.Model, dir)
	}
	for i, w := range want {
		g := got[i]
		if !slices.Equal(g.IDs, w.IDs) {
			t.Errorf("%s, %q: tokens %v, transformers says %v", w.Image, w.Question, g.IDs, w.IDs)
		}
		if g.Answer != w.Answer {
			t.Errorf("%s, %q: answer %q, transformers says %q", w.Image, w.Question, g.Answer, w.Answer)
		}
		// One grey level is 1/255 before it is divided by a deviation of 0.353.
		within(t, w.Image+": pixel", g.Pixels, w.Pixels, 1.01/255/0.353, 0)
		within(t, w.Image+": logit", g.Logits, w.Logits, 1e-4, 1e-4)
	}
}

func within(t *testing.T, what string, got, want []float32, absolute, relative float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: found %d, want %d", what, len(got), len(want))
		return
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= absolute+relative*math.Abs(float64(w))) {
			t.Errorf("%s %d is %v, want %v", what, i, got[i], w)
			return
		}
	}
}

// ask opens a folder as `ressa eval` does and asks it the questions.
func ask(t *testing.T, dir string, questions []asked) []asked {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d := reference.Open()
	s, err := job.OpenSubject(ctx, d, job.SubjectOptions{Dir: dir, Template: "terse", MaxLength: 128})
	check(err)
	defer s.Close()
	stream, err := d.NewStream()
	check(err)
	defer func() { check(stream.Close()) }()
	l := &model.Lane{Stream: stream, Pool: model.NewPool(d)}
	defer l.Pool.Close()
	open := func(name string) (*os.File, error) { return os.Open(filepath.Join("testdata", name)) }
	var out []asked
	for _, q := range questions {
		x := data.Example{Images: []data.Picture{picture.File{Open: open, Name: q.Image}},
			Turns: []data.Turn{{Role: data.User, Text: "<image> " + q.Question}, {Role: data.Assistant, Text: "yes"}}}
		sample, err := s.Encoder.Prompt(x)
		check(err)
		b, err := data.Collate([]data.Sample{sample}, s.Pad)
		check(err)
		vision, language := s.Parts[0].Tower, s.Parts[1].Model.Language
		features, _ := vision.Forward(l, &b, model.Edge{}, model.Dense, false)
		hidden, _ := language.Forward(l, &b, features, model.Dense, false)
		h := hidden.Tensor(model.Hidden)
		z := language.Logits(l, h.SliceRows(h.Rows-1, h.Rows), model.Dense)
		q.IDs, q.Pixels, q.Logits = sample.Tokens, nil, download(t, stream, z)
		for i := 0; i < len(sample.Pixels[0]); i += pixelStride {
			q.Pixels = append(q.Pixels, sample.Pixels[0][i])
		}
		answered, err := evaluate.Run(ctx, evaluate.Model{Team: s.Team, Stages: []model.Tower{vision, language}, Variant: model.Dense},
			[][]*model.Lane{{l, l}}, single{x}, evaluate.Encoders{Full: s.Encoder, Blank: s.Encoder}, s.Tokenizer,
			evaluate.Options{MaxNew: 8, Stop: []int32{s.EOS}})
		check(err)
		q.Answer = answered.Answers[0].Text
		out = append(out, q)
	}
	return out
}

// single is a data set of one example.
type single struct{ example data.Example }

func (single) Len() int                            { return 1 }
func (s single) Example(int) (data.Example, error) { return s.example, nil }

func download(t *testing.T, s kernels.Stream, x kernels.Tensor) []float32 {
	t.Helper()
	raw := make([]byte, x.Bytes())
	s.Download(raw, x)
	if err := s.Synchronize(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, x.Len())
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}
