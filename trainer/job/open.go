package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ressa/coordinator/api"
	"ressa/kernels"
	"ressa/shard"
	"ressa/trainer/checkpoint/hf"
	"ressa/trainer/data"
	"ressa/trainer/data/conversation"
	"ressa/trainer/data/fashiongrid"
	"ressa/trainer/data/parquet"
	"ressa/trainer/data/picture"
	"ressa/trainer/data/tokenizer"
	"ressa/trainer/demo"
	"ressa/trainer/model"
	"ressa/trainer/model/llava"
	"ressa/trainer/team"
)

// DemoModel is the path that stands for the model that Ressa ships.
const DemoModel = "demo"

// Subject is an opened model folder: the stages of the model that this worker
// holds, on a device, and what turns examples into their input.
type Subject struct {
	Dir          string
	Architecture llava.Config
	Team         *team.Team
	Parts        []Part // by stage of the team's plan; zero where it is not held
	Encoder      *data.Encoder
	Tokenizer    *tokenizer.Tokenizer
	Config       []byte      // config.json
	Spelling     hf.Spelling // of the keys
	EOS, Pad     int32       // tokens that end an answer and fill up a batch
}

// Part is one stage of a model.
type Part struct {
	Role  string
	Tower model.Tower
	Model *llava.Model // that holds the stage and nothing else
}

// Close frees the model.
func (s *Subject) Close() {
	for _, p := range s.Parts {
		if p.Model != nil {
			p.Model.Close()
		}
	}
	s.Parts = nil
}

// SubjectOptions say how a model folder is opened.
type SubjectOptions struct {
	Dir    string
	Random bool   // random weights, from config.json alone
	Seed   uint64 // of random weights
	SHA256 string // content hash that the folder must have; empty for any
	// Template is how conversations become prompts, MaxLength bounds them in tokens.
	Template  string
	MaxLength int
	// Team says which stages to hold; nil for the whole model.
	Team *team.Team
	// Node and Microbatches are of the plan where there is no team.
	Node         string
	Microbatches int
	// Kept, where it is set, are parameters of the same model that are still on the
	// device. What the stages do not need of them is freed.
	Kept *llava.Kept
}

// OpenSubject opens a model folder and checks that its parts fit together.
func OpenSubject(ctx context.Context, d kernels.Device, o SubjectOptions) (*Subject, error) {
	s := &Subject{Dir: o.Dir}
	if err := s.openModel(ctx, d, o); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.openEncoder(o); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Subject) openModel(ctx context.Context, d kernels.Device, o SubjectOptions) (err error) {
	if o.Random {
		if s.Config, err = os.ReadFile(filepath.Join(s.Dir, "config.json")); err != nil {
			return fmt.Errorf("model.path: %w", err)
		}
		s.Spelling = hf.Spelling{Original: true, VisionModel: true} // what every reader knows
		return s.openParts(o, func(part llava.Options) (*llava.Model, error) {
			return llava.New(ctx, d, s.Architecture, o.Seed, part)
		})
	}
	f, err := hf.Open(s.Dir)
	if err != nil {
		return fmt.Errorf("model.path: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if o.SHA256 != "" {
		found, err := f.Hash(ctx)
		if err != nil {
			return err
		}
		if found != o.SHA256 {
			return fmt.Errorf("model.sha256: folder %s has content hash %s, want %s", s.Dir, found, o.SHA256)
		}
	}
	s.Config, s.Spelling = f.Config().Raw, f.Spelling()
	return s.openParts(o, func(part llava.Options) (*llava.Model, error) { return llava.FromFolder(ctx, d, f, part) })
}

// openParts opens the stages that the team's plan gives this worker, each as a
// model of its own.
func (s *Subject) openParts(o SubjectOptions, open func(llava.Options) (*llava.Model, error)) (err error) {
	if s.Architecture, err = llava.ParseConfig(s.Config); err != nil {
		return fmt.Errorf("%s: %w", s.Dir, err)
	}
	if s.Team = o.Team; s.Team == nil {
		s.Team, err = team.New(team.Config{Plan: shard.Solo(cmp.Or(o.Node, hostname()), s.Architecture.FeatureBlocks, s.Architecture.Language.Blocks, max(1, o.Microbatches))})
		if err != nil {
			return err
		}
	}
	if err := s.covers(s.Team.Plan()); err != nil {
		return fmt.Errorf("%s: %w", s.Dir, err)
	}
	options := make([]llava.Options, len(s.Team.Plan().Stages))
	var held []llava.Options
	for i, stage := range s.Team.Plan().Stages {
		blocks := llava.Range{Lo: stage.Lo, Hi: stage.Hi}
		options[i] = llava.Options{Language: blocks, WithoutVision: true, Kept: o.Kept}
		if stage.Tower == shard.Vision {
			options[i] = llava.Options{Vision: blocks, WithoutLanguage: true, Kept: o.Kept}
		}
		if s.Team.Holds(i) {
			held = append(held, options[i])
		}
	}
	if o.Kept != nil {
		if err := o.Kept.Only(s.Architecture, held...); err != nil {
			return err
		}
	}
	for i, stage := range s.Team.Plan().Stages {
		if !s.Team.Holds(i) {
			s.Parts = append(s.Parts, Part{Role: stage.Tower})
			continue
		}
		m, err := open(options[i])
		if err != nil {
			return err
		}
		part := Part{Role: stage.Tower, Model: m, Tower: m.Language}
		if stage.Tower == shard.Vision {
			part.Tower = m.Vision
		}
		s.Parts = append(s.Parts, part)
	}
	return nil
}

// covers verifies that a plan is one of this model.
func (s *Subject) covers(p shard.Plan) error {
	found := map[string]int{}
	for _, stage := range p.Stages {
		found[stage.Tower] = stage.Hi
	}
	if v, l := found[shard.Vision], found[shard.Language]; v != s.Architecture.FeatureBlocks || l != s.Architecture.Language.Blocks {
		return fmt.Errorf("the plan has %d vision and %d language blocks, the model %d and %d", v, l, s.Architecture.FeatureBlocks, s.Architecture.Language.Blocks)
	}
	return nil
}

// stages returns the towers by stage, nil where they are not held.
func (s *Subject) stages() []model.Tower {
	out := make([]model.Tower, len(s.Parts))
	for i, p := range s.Parts {
		out[i] = p.Tower
	}
	return out
}

// towers returns the stages that are held with their roles, in the order of the plan.
func (s *Subject) towers() []namedTower {
	var out []namedTower
	for i, p := range s.Parts {
		if p.Tower != nil {
			out = append(out, namedTower{p.Role, i, p.Tower})
		}
	}
	return out
}

type namedTower struct {
	role  string
	stage int
	model.Tower
}

// unused returns the parameters that no computation reads, of the stages held.
func (s *Subject) unused() []*model.Param {
	var out []*model.Param
	for _, p := range s.Parts {
		if p.Model != nil {
			out = append(out, p.Model.Unused...)
		}
	}
	return out
}

// hostname is the node's name where no plan gives one.
func hostname() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "local"
	}
	return host
}

func (s *Subject) openEncoder(o SubjectOptions) error {
	var err error
	if s.Tokenizer, err = tokenizer.Load(filepath.Join(s.Dir, "tokenizer.json")); err != nil {
		return err
	}
	c := s.Architecture
	if n := s.Tokenizer.VocabSize(); n > c.Language.Vocabulary {
		return fmt.Errorf("%s: tokenizer.json has %d tokens, config.json a vocabulary of %d", s.Dir, n, c.Language.Vocabulary)
	}
	processor, err := picture.Load(s.Dir)
	if err != nil {
		return err
	}
	if h, w := processor.Size(); w != c.Vision.Image || h != c.Vision.Image {
		return fmt.Errorf("%s: preprocessor_config.json makes images of %d×%d, config.json wants %d×%d", s.Dir, w, h, c.Vision.Image, c.Vision.Image)
	}
	template, ok := data.TemplateByName(o.Template)
	if !ok {
		return fmt.Errorf("data.template: %q is unknown", o.Template)
	}
	if s.EOS, s.Pad, err = s.specialTokens(); err != nil {
		return err
	}
	s.Encoder, err = data.NewEncoder(data.EncoderConfig{Tokenizer: s.Tokenizer, Images: processor, Template: template,
		ImageToken: int32(c.ImageToken), TokensPerImage: c.FeaturesPerImage(), MaxLength: min(o.MaxLength, c.Language.MaxPositions)})
	if err != nil {
		return fmt.Errorf("%s: %w", s.Dir, err)
	}
	return nil
}

// specialTokens finds the end-of-sequence and padding tokens where transformers
// looks: generation_config.json, then config.json, then LLaMA's own.
func (s *Subject) specialTokens() (eos, pad int32, err error) {
	type ids struct {
		EOS  json.RawMessage `json:"eos_token_id"`
		Pad  *int32          `json:"pad_token_id"`
		Text *struct {
			EOS json.RawMessage `json:"eos_token_id"`
			Pad *int32          `json:"pad_token_id"`
		} `json:"text_config"`
	}
	eos, pad = -1, -1
	take := func(rawEOS json.RawMessage, p *int32) {
		var one int32
		var many []int32
		if eos < 0 && json.Unmarshal(rawEOS, &one) == nil {
			eos = one
		} else if eos < 0 && json.Unmarshal(rawEOS, &many) == nil && len(many) > 0 {
			eos = many[0]
		}
		if pad < 0 && p != nil {
			pad = *p
		}
	}
	generation, err := os.ReadFile(filepath.Join(s.Dir, "generation_config.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, 0, err
	}
	for _, raw := range [][]byte{generation, s.Config} {
		var c ids
		if len(raw) == 0 {
			continue
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			return 0, 0, fmt.Errorf("%s: token ids: %w", s.Dir, err)
		}
		take(c.EOS, c.Pad)
		if c.Text != nil {
			take(c.Text.EOS, c.Text.Pad)
		}
	}
	if eos < 0 {
		eos = 2
	}
	if pad < 0 {
		pad = eos
	}
	if v := int32(s.Architecture.Language.Vocabulary); eos >= v || pad >= v {
		return 0, 0, fmt.Errorf("%s: end-of-sequence token %d and padding token %d, want less than the vocabulary %d", s.Dir, eos, pad, v)
	}
	return eos, pad, nil
}

// modelDir returns the folder of a job's model, writing the shipped one into the
// run's folder where the job asks for it.
func modelDir(path, runDir string) (string, error) {
	if path != DemoModel {
		return path, nil
	}
	dir := filepath.Join(runDir, "model")
	return dir, demo.Write(dir)
}

// The numbers of generated grids where a job does not limit them.
const (
	trainGrids      = 1 << 20
	validationGrids = 2000
	testGrids       = 10000
)

// OpenData opens a data set. field names it in errors; seed is that of generated
// data.
func OpenData(ctx context.Context, field string, s api.Source, seed uint64) (data.Dataset, error) {
	set, err := openData(ctx, s, seed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if s.Limit > 0 && s.Limit < set.Len() {
		set = excerpt{set, 0, s.Limit}
	}
	if set.Len() == 0 {
		return nil, fmt.Errorf("%s: the data set is empty", field)
	}
	return set, nil
}

func openData(ctx context.Context, s api.Source, seed uint64) (data.Dataset, error) {
	switch s.Format {
	case "llava":
		return conversation.Open(ctx, s.Path, s.Images)
	case "parquet":
		return parquet.Open(ctx, s.Path, s.Images)
	}
	test := s.Split == string(fashiongrid.Test)
	var photos []fashiongrid.Photo
	var err error
	if s.Path != "" {
		photos, err = fashiongrid.ReadIDX(s.Path, test)
	} else {
		photos, err = fashiongrid.Shipped(ctx, test)
	}
	if err != nil {
		return nil, err
	}
	n := map[string]int{"train": trainGrids, "validation": validationGrids, "test": testGrids}[s.Split]
	if s.Limit > n {
		n = s.Limit
	}
	// The questions are part of the task: the same for every seed of a job, so
	// that seeds can be compared.
	if s.Split != string(fashiongrid.Train) {
		seed = fashiongrid.TaskSeed
	}
	return fashiongrid.New(photos, fashiongrid.Split(s.Split), seed, n)
}

// closeSet closes the files of a data set that was opened. Its examples were
// read; an error of closing them says nothing.
func closeSet(set data.Dataset) {
	switch v := set.(type) {
	case excerpt:
		closeSet(v.Dataset)
	case io.Closer:
		_ = v.Close()
	}
}

// excerpt is a range of a data set.
type excerpt struct {
	data.Dataset
	lo, n int
}

// Len implements [data.Dataset].
func (p excerpt) Len() int { return p.n }

// Example implements [data.Dataset].
func (p excerpt) Example(i int) (data.Example, error) {
	if i < 0 || i >= p.n {
		return data.Example{}, fmt.Errorf("example %d of %d", i, p.n)
	}
	return p.Dataset.Example(p.lo + i)
}
