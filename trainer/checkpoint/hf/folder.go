package hf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"ressa/trainer/checkpoint/safetensors"
)

// The names of the files that every folder has.
const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
	masksFile   = "masks.safetensors"

	llavaType = "llava"
)

// ErrNoWeights is returned when a folder holds no safetensors weights.
var ErrNoWeights = errors.New("no weights")

// stored says where a tensor is and what it is called there.
type stored struct {
	file *safetensors.File
	key  string
}

// Folder is an open checkpoint folder, its files mapped into memory. Names are
// canonical (see [Spelling]) for the LLaVA family and those of the files for all
// others. Its methods are safe for concurrent use.
type Folder struct {
	dir      string
	config   Config
	spelling Spelling
	names    []string
	tensors  map[string]stored
	masks    map[string]stored
	side     []string
	files    []*safetensors.File
}

// Open opens and checks the folder at dir. Where it holds both a single weights
// file and an index, the single file counts, as in transformers. Tensors of a
// shard that the index does not name are ignored.
func Open(dir string) (*Folder, error) {
	f := &Folder{dir: dir, tensors: map[string]stored{}, masks: map[string]stored{}}
	if err := f.open(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	return f, nil
}

func (f *Folder) open() error {
	path := filepath.Join(f.dir, configFile)
	raw, err := readBounded(path, maxConfigBytes)
	if err != nil {
		return err
	}
	if f.config, err = ParseConfig(raw); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	weights, err := f.openWeights()
	if err != nil {
		return err
	}
	if len(weights) == 0 {
		return fmt.Errorf("%s: %w: found no tensor in %s", f.dir, ErrNoWeights, weightsFile)
	}
	if f.llava() {
		if f.spelling, err = SpellingOf(slices.Sorted(maps.Keys(weights))); err != nil {
			return fmt.Errorf("%s: %w", f.dir, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(weights)) {
		name := f.canonical(key)
		if other, twice := f.tensors[name]; twice {
			return fmt.Errorf("%s: tensors %q and %q are the same one", f.dir, other.key, key)
		}
		f.tensors[name] = stored{weights[key], key}
	}
	f.names = slices.Sorted(maps.Keys(f.tensors))
	if err := f.openMasks(); err != nil {
		return err
	}
	f.side, err = sideFiles(f.dir)
	return err
}

// openWeights returns the file of every key.
func (f *Folder) openWeights() (map[string]*safetensors.File, error) {
	weights := map[string]*safetensors.File{}
	single, err := f.openFile(weightsFile)
	if err == nil {
		for _, key := range single.Names() {
			weights[key] = single
		}
		return weights, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	index := filepath.Join(f.dir, indexFile)
	shardOf, err := parseIndex(index)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.noWeights()
	}
	if err != nil {
		return nil, err
	}
	shards := map[string]*safetensors.File{}
	for _, key := range slices.Sorted(maps.Keys(shardOf)) {
		name := shardOf[key]
		if shards[name] == nil {
			shard, err := f.openFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s: shard %s, which holds tensor %q, is missing: %w", index, name, key, fs.ErrNotExist)
			}
			if err != nil {
				return nil, err
			}
			shards[name] = shard
		}
		if !shards[name].Has(key) {
			return nil, fmt.Errorf("%s: weight_map puts tensor %q into %s, which does not hold it: %w", index, key, name, safetensors.ErrNoTensor)
		}
		weights[key] = shards[name]
	}
	return weights, nil
}

// noWeights says what the folder holds instead.
func (f *Folder) noWeights() error {
	pickled, err := filepath.Glob(filepath.Join(f.dir, "pytorch_model*.bin"))
	if err == nil && len(pickled) > 0 {
		return fmt.Errorf("%s: %w: found %s, which is pickled and never read, expected %s or %s; convert it with transformers' save_pretrained",
			f.dir, ErrNoWeights, filepath.Base(pickled[0]), weightsFile, indexFile)
	}
	return fmt.Errorf("%s: %w: expected %s or %s", f.dir, ErrNoWeights, weightsFile, indexFile)
}

func (f *Folder) openFile(name string) (*safetensors.File, error) {
	file, err := safetensors.Open(filepath.Join(f.dir, name))
	if err == nil {
		f.files = append(f.files, file)
	}
	return file, err
}

func (f *Folder) llava() bool { return f.config.ModelType == llavaType }

func (f *Folder) canonical(key string) string {
	if f.llava() {
		return Canonical(key)
	}
	return key
}

// Dir returns the path that the folder was opened by.
func (f *Folder) Dir() string { return f.dir }

// Config returns the folder's config.json.
func (f *Folder) Config() Config { return f.config }

// Spelling returns how the files spell the keys, for writing the model back.
func (f *Folder) Spelling() Spelling { return f.spelling }

// Names returns the names of all tensors, sorted.
func (f *Folder) Names() []string { return slices.Clone(f.names) }

// Has reports whether the folder holds a tensor of that name, in any spelling.
func (f *Folder) Has(name string) bool {
	_, ok := f.tensors[f.canonical(name)]
	return ok
}

// Tensor returns the tensor of that name, in any spelling. Its data is mapped:
// it must not be used after Close. The error is safetensors.ErrNoTensor.
func (f *Folder) Tensor(name string) (safetensors.Tensor, error) {
	s, ok := f.tensors[f.canonical(name)]
	if !ok {
		return safetensors.Tensor{}, fmt.Errorf("%s: tensor %q: %w", f.dir, name, safetensors.ErrNoTensor)
	}
	return s.file.Tensor(s.key)
}

// SideFiles returns the names of the tokenizer and processor files, sorted.
func (f *Folder) SideFiles() []string { return slices.Clone(f.side) }

// Close unmaps all files. It may be called twice.
func (f *Folder) Close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// sideFiles returns the names of the files in dir that belong to a model beside
// its weights and config.json.
func sideFiles(dir string) ([]string, error) {
	var found []string
	for _, name := range sideNames() {
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			found = append(found, name)
		}
	}
	return found, nil
}

// sideNames returns the names that transformers gives to these files, sorted.
// Names are listed so that nothing else from a folder, such as the state of an
// optimiser or somebody's notes, is copied into an exported model.
func sideNames() []string {
	return []string{
		"added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json",
		"image_processor_config.json", "merges.txt", "preprocessor_config.json", "processor_config.json",
		"sentencepiece.bpe.model", "special_tokens_map.json", "spiece.model", "tokenizer.json",
		"tokenizer.model", "tokenizer_config.json", "video_preprocessor_config.json", "vocab.json", "vocab.txt",
	}
}
