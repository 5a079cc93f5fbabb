package safetensors

import (
	"context"
	"fmt"
	"io"
)

// chunk is what passes between two looks at the context.
const chunk = 4 << 20

// writeChunks writes data piece by piece until ctx ends.
func writeChunks(ctx context.Context, w io.Writer, data []byte) error {
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(data), chunk)
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return ctx.Err()
}

// countingWriter counts, refuses what goes beyond a limit and stops with ctx.
type countingWriter struct {
	ctx   context.Context
	w     io.Writer
	n     int64
	limit int64 // 0: none
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if c.limit > 0 && c.n+int64(len(p)) > c.limit {
		return 0, fmt.Errorf("its source gives more than the %d bytes left for it", c.limit-c.n)
	}
	if err := writeChunks(c.ctx, c.w, p); err != nil {
		return 0, err
	}
	c.n += int64(len(p))
	return len(p), nil
}
