package hf

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"ressa/trainer/checkpoint/strictjson"
)

// The bounds of the JSON files of a folder.
const (
	maxConfigBytes = 16 << 20
	maxIndexBytes  = 100_000_000
)

// Config is a folder's config.json.
type Config struct {
	Raw           []byte // the file as it is
	Architectures []string
	ModelType     string
}

// ParseConfig checks that raw is one JSON object without duplicate keys and
// reads the fields that say what the model is.
func ParseConfig(raw []byte) (Config, error) {
	if err := strictjson.Object(raw); err != nil {
		return Config{}, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return Config{}, err
	}
	c := Config{Raw: raw}
	if f, ok := fields["architectures"]; ok {
		if err := json.Unmarshal(f, &c.Architectures); err != nil {
			return Config{}, fmt.Errorf("architectures: found %.60s, expected a list of strings", f)
		}
	}
	f, ok := fields["model_type"]
	if !ok {
		return Config{}, fmt.Errorf("model_type: found nothing, expected the model's type, as %q", llavaType)
	}
	if err := json.Unmarshal(f, &c.ModelType); err != nil || c.ModelType == "" {
		return Config{}, fmt.Errorf("model_type: found %.60s, expected a string", f)
	}
	return c, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: found more than %d bytes, expected at most that", path, limit)
	}
	return data, nil
}

// parseIndex returns the weight_map of an index: the shard of every tensor.
func parseIndex(path string) (map[string]string, error) {
	data, err := readBounded(path, maxIndexBytes)
	if err != nil {
		return nil, err
	}
	if err := strictjson.Object(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var weights map[string]string
	if err := json.Unmarshal(fields["weight_map"], &weights); err != nil || len(weights) == 0 {
		return nil, fmt.Errorf("%s: weight_map: expected an object that gives the shard of each tensor", path)
	}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if s := weights[name]; !filepath.IsLocal(s) || filepath.Base(s) != s || s == "." {
			return nil, fmt.Errorf("%s: weight_map: tensor %q: found shard %q, expected the name of a file in the folder", path, name, s)
		}
	}
	return weights, nil
}
