package plane

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Limits of what a server may send.
const (
	maxLine    = 64 << 10 // INFO lists the servers of a cluster
	maxMessage = 64 << 20 // what a server can be configured to accept
)

// info is what a server says of itself first.
type info struct {
	Server      string `json:"server_id"`
	MaxPayload  int    `json:"max_payload"`
	TLSRequired bool   `json:"tls_required"`
	Auth        bool   `json:"auth_required"`
}

// connect is what a client says first.
type connect struct {
	Verbose     bool   `json:"verbose"`
	Pedantic    bool   `json:"pedantic"`
	TLSRequired bool   `json:"tls_required"`
	Name        string `json:"name"`
	Lang        string `json:"lang"`
	Version     string `json:"version"`
	Protocol    int    `json:"protocol"`
	Echo        bool   `json:"echo"`
	User        string `json:"user,omitempty"`
	Pass        string `json:"pass,omitempty"`
	Token       string `json:"auth_token,omitempty"`
}

// readLine reads a control line without its end, in memory of the reader's or of
// its own.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	for err == bufio.ErrBufferFull && len(line) < maxLine {
		long := bytes.Clone(line)
		line, err = r.ReadSlice('\n')
		line = append(long, line...)
	}
	if err == bufio.ErrBufferFull {
		return nil, fmt.Errorf("a line of more than %d bytes: %w", maxLine, ErrProtocol)
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}

// parseInfo reads the first line of a server.
func parseInfo(line []byte) (info, error) {
	var i info
	rest, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok {
		return i, fmt.Errorf("it begins with %q: %w", clip(line), ErrProtocol)
	}
	if err := json.Unmarshal(rest, &i); err != nil {
		return i, fmt.Errorf("INFO: %w: %w", err, ErrProtocol)
	}
	if i.MaxPayload < 1 || i.MaxPayload > maxMessage {
		return i, fmt.Errorf("INFO: max_payload %d, want 1 to %d: %w", i.MaxPayload, maxMessage, ErrProtocol)
	}
	return i, nil
}

// parseMsg reads the arguments of "MSG subject sid [reply] size".
func parseMsg(line []byte) (sid uint64, size int, err error) {
	fields := bytes.Fields(line)
	if n := len(fields); n == 4 || n == 5 {
		sid, err = strconv.ParseUint(string(fields[2]), 10, 64)
		if err == nil {
			size, err = strconv.Atoi(string(fields[n-1]))
		}
		if err == nil && size >= 0 && size <= maxMessage {
			return sid, size, nil
		}
	}
	return 0, 0, fmt.Errorf("%q: %w", clip(line), ErrProtocol)
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }
