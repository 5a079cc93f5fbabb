package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"ressa/coordinator/api"
)

var jobForm = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// jobDir is the folder of a job on a node.
func jobDir(dir, job string) string { return filepath.Join(dir, "jobs", job) }

// serve answers a request for a job's folder: what a run leaves there, but for its
// checkpoints and the copy of a model that it was made from.
func serve(ctx context.Context, dir string, ask api.FileRequest) (data []byte, size int64, err error) {
	if !jobForm.MatchString(ask.Job) {
		return nil, 0, fmt.Errorf("job %q is no ID", ask.Job)
	}
	root, err := os.OpenRoot(jobDir(dir, ask.Job))
	if err != nil {
		return nil, 0, fmt.Errorf("job %s has no folder here", ask.Job)
	}
	defer root.Close()
	if ask.Path == "" {
		list, err := list(ctx, root)
		if err != nil {
			return nil, 0, err
		}
		data, err = json.Marshal(list)
		return data, int64(len(data)), err
	}
	f, err := root.Open(filepath.FromSlash(ask.Path))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || ask.Offset < 0 || ask.Limit < 0 || ask.Limit > api.MaxPiece {
		return nil, 0, fmt.Errorf("%s: %v, offset %d, limit %d; want a file and at most %d bytes", ask.Path, info.Mode(), ask.Offset, ask.Limit, api.MaxPiece)
	}
	data = make([]byte, ask.Limit)
	n, err := f.ReadAt(data, ask.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return data[:n], info.Size(), nil
}

// kept are the parts of a run's folder that stay on the node.
var kept = regexp.MustCompile(`^(checkpoints|model|\..*)$`)

func list(ctx context.Context, root *os.Root) (api.Files, error) {
	out := api.Files{Files: []api.File{}}
	err := fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case path != "." && filepath.Dir(path) == "." && kept.MatchString(e.Name()):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !e.Type().IsRegular():
			return nil
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		out.Files = append(out.Files, api.File{Path: path, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))})
		return nil
	})
	return out, err
}
