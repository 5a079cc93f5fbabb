package agent

import (
	"os"
	"path/filepath"
	"testing"

	"ressa/trainer/checkpoint/durable"
)

// What a killed process was writing is gone when the node starts again, and nothing else.
func TestHalfWrittenFilesAreSwept(t *testing.T) {
	dir := t.TempDir()
	if err := sweep(dir); err != nil {
		t.Fatalf("without jobs: %v", err)
	}
	job := filepath.Join(dir, "jobs", "a", "checkpoints")
	if err := os.MkdirAll(job, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := durable.Create(job)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := durable.CreateDir(filepath.Join(dir, "jobs", "a", "output"))
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(job, "step-1.json")
	for _, path := range []string{kept, filepath.Join(d.Path, "model.safetensors")} {
		if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{f.Name(): false, d.Path: false, kept: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", path, err, want)
		}
	}
}
