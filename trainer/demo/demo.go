// Package demo carries the model that `ressa demo` repairs: a small LLaVA-shaped
// checkpoint in the Hugging Face layout, trained dense by Ressa itself from
// dense.yaml (the same seed gives the same bytes), with its tokenizer, which
// make_tokenizer.py makes. It guarantees nothing but to hand out those files;
// package job asks for them when a job names the model "demo".
package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ressa/trainer/checkpoint/durable"
)

//go:embed model
var files embed.FS

// Write writes the model's folder to dir, which appears complete or not at all;
// one that is there is replaced.
func Write(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("write the demo model: %w", err)
	}
	d, err := durable.CreateDir(dir)
	if err != nil {
		return fmt.Errorf("write the demo model: %w", err)
	}
	defer d.Discard()
	entries, err := fs.ReadDir(files, "model")
	if err != nil {
		return fmt.Errorf("write the demo model: %w", err)
	}
	for _, e := range entries {
		raw, err := fs.ReadFile(files, "model/"+e.Name())
		if err != nil {
			return fmt.Errorf("write the demo model: %w", err)
		}
		if err := os.WriteFile(filepath.Join(d.Path, e.Name()), raw, 0o644); err != nil {
			return fmt.Errorf("write the demo model: %w", err)
		}
	}
	return d.Commit(true)
}
