package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"ressa/coordinator/api"
)

// ErrDamaged is wrapped by the error of a file that is not what its job's output
// lists.
var ErrDamaged = errors.New("damaged file")

// downloads is how often a file is asked for whose transfer breaks off.
const downloads = 4

// Output lists the files that a job has written.
func (c *Client) Output(ctx context.Context, id string) ([]api.File, error) {
	var out api.Files
	err := c.slow(ctx, planTimeout, http.MethodGet, jobPath(id, "/output"), nil, &out)
	return out.Files, err
}

// Download writes a file of a job's output to its path below dir. It is there
// only when its size and SHA-256 are those listed; a transfer that breaks off
// begins anew.
func (c *Client) Download(ctx context.Context, id string, f api.File, dir string) error {
	local := filepath.FromSlash(f.Path)
	if !filepath.IsLocal(local) || local == "." {
		return fmt.Errorf("output of job %s: %w: path %q leads out of its folder", id, ErrDamaged, f.Path)
	}
	path := filepath.Join(dir, local)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	defer file.Cleanup()
	if err := c.fetch(ctx, id, f, file.File); err != nil {
		return fmt.Errorf("download %s of job %s: %w", f.Path, id, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	return nil
}

// fetch writes the contents of a listed file and checks them.
func (c *Client) fetch(ctx context.Context, id string, f api.File, to *os.File) error {
	r := request{method: http.MethodGet, path: jobPath(id, "/output/") + f.Path, timeout: planTimeout}
	var broken error
	for range downloads {
		broken = nil
		err := c.try(ctx, r, func(resp *http.Response) error {
			hash := sha256.New()
			if _, err := to.Seek(0, io.SeekStart); err != nil {
				return &callbackError{err}
			}
			if err := to.Truncate(0); err != nil {
				return &callbackError{err}
			}
			written := &sink{to: to}
			n, err := io.Copy(io.MultiWriter(hash, written), io.LimitReader(resp.Body, f.Size+1))
			switch {
			case written.err != nil:
				return &callbackError{written.err}
			case err != nil:
				broken = err
			case n != f.Size:
				return &callbackError{fmt.Errorf("%w: found %d bytes or more, its job lists %d", ErrDamaged, n, f.Size)}
			case hex.EncodeToString(hash.Sum(nil)) != f.SHA256:
				return &callbackError{fmt.Errorf("%w: found SHA-256 %x, its job lists %s", ErrDamaged, hash.Sum(nil), f.SHA256)}
			}
			return nil
		})
		var own *callbackError
		switch {
		case errors.As(err, &own):
			return own.err
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || broken == nil:
			return err
		}
	}
	return broken
}

// sink tells an error of writing from one of reading.
type sink struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.err = err
	return n, err
}
