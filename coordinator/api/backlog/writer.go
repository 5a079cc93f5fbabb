package backlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// Writer writes lines to another writer that may stand still. Lines that it cannot
// take are dropped, and a line says how many.
type Writer struct {
	to    io.Writer
	queue *Queue[[]byte]
}

// mostLines is how many lines wait for a writer at most.
const mostLines = 4096

// NewWriter returns a writer that Close ends.
func NewWriter(to io.Writer) *Writer {
	w := &Writer{to: to}
	w.queue = New(mostLines, func(line []byte, dropped int) {
		w.tell(dropped)
		_, _ = to.Write(line) // who cannot be written to cannot be told
	})
	return w
}

func (w *Writer) tell(dropped int) {
	if dropped > 0 {
		_, _ = fmt.Fprintf(w.to, "%d lines are missing here: they were not read in time\n", dropped)
	}
}

// Write takes a line, or drops it; it does not wait.
func (w *Writer) Write(line []byte) (int, error) {
	w.queue.Put(bytes.Clone(line))
	return len(line), nil
}

// closeWait is how long the end of a writer waits for its reader.
const closeWait = time.Second

// Close waits for a moment until what was written has been read.
func (w *Writer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	dropped, err := w.queue.Close(ctx)
	if err != nil {
		return fmt.Errorf("lines are not read: %w", err)
	}
	w.tell(dropped)
	return nil
}
