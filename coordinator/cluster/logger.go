package cluster

import (
	"bytes"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger passes warnings and errors of Raft on. That peers are away, which Raft
// tells many times a second, is for debugging.
func raftLogger(l *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: lines{l}, DisableTime: true})
}

type lines struct{ logger *slog.Logger }

// Write implements io.Writer: one line a call.
func (w lines) Write(p []byte) (int, error) {
	w.logger.Debug(string(bytes.TrimSpace(p)))
	return len(p), nil
}
