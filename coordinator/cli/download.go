package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ressa/coordinator/api"
)

// The files by which a run's folder is known, and all that a run leaves there.
const (
	jobFile    = "job.yaml"
	resultFile = "result.json"
	outputPart = "output" // the repaired model
)

func runNames() []string {
	return []string{"state.json", "events.jsonl", "plot.png", "trace.json", "base", "checkpoints", "model", outputPart, resultFile, jobFile, ".lock"}
}

// outputFolder is where the output of a job of a cluster goes.
type outputFolder struct {
	dir  string
	made bool // by this command
}

// claim makes sure that a folder is there for a job's output and empty, discarding
// a run that it holds with replace.
func claim(dir string, replace bool) (*outputFolder, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, api.Invalid(fmt.Errorf("--output: %w", err))
		}
		return &outputFolder{dir, true}, nil
	case err != nil:
		return nil, api.Invalid(fmt.Errorf("--output: %w", err))
	}
	holds := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	isRun := holds(jobFile) || holds(resultFile)
	if isRun && !replace {
		return nil, api.Invalid(fmt.Errorf("--output: %s holds a run already; choose another folder", dir))
	}
	for _, e := range entries {
		if e.Name() != ".lock" && !partial(e.Name()) && !(isRun && slices.Contains(runNames(), e.Name())) {
			return nil, api.Invalid(fmt.Errorf("--output: %s holds %s and no run; choose an empty folder", dir, e.Name()))
		}
	}
	names := runNames()
	for _, e := range entries {
		if partial(e.Name()) {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("discard the old run: %w", err)
		}
	}
	return &outputFolder{dir: dir}, nil
}

// release removes a folder that was made for nothing.
func (o *outputFolder) release() {
	if o.made {
		_ = os.Remove(o.dir) // one that holds something stays
	}
}

// partialPrefix begins the name of the folder in which an output arrives.
const partialPrefix = ".download-"

// partial reports whether a folder is what a download left that was killed.
func partial(name string) bool { return strings.HasPrefix(name, partialPrefix) }

// fetch downloads a job's output and returns the folder of the repaired model. The
// output appears when all of it is there.
func (f *following) fetch(ctx context.Context, j api.JobRecord) (model string, err error) {
	files, err := f.client.Output(ctx, j.ID)
	if err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(f.folder.dir, partialPrefix)
	if err != nil {
		return "", fmt.Errorf("--output: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	for i, file := range files {
		if err := f.client.Download(ctx, j.ID, file, temp); err != nil {
			return "", err
		}
		f.view.Event(api.Event{Event: "progress", Job: j.Name, Of: "download", Done: i + 1, Total: len(files)})
	}
	path := filepath.Join(temp, jobFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(path, []byte(j.Request.Spec), 0o644); err != nil {
			return "", err
		}
	}
	entries, err := os.ReadDir(temp)
	if err != nil {
		return "", err
	}
	model = f.folder.dir
	for _, e := range entries {
		if err := os.Rename(filepath.Join(temp, e.Name()), filepath.Join(f.folder.dir, e.Name())); err != nil {
			return "", err
		}
		if e.IsDir() && e.Name() == outputPart {
			model = filepath.Join(f.folder.dir, outputPart)
		}
	}
	return model, nil
}
