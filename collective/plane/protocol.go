package plane

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
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
	rest, ok := bytes.CutPrefix(line, []byte("MSG "))
	_, rest, found := bytes.Cut(rest, []byte{' '})
	id, rest, more := bytes.Cut(rest, []byte{' '})
	if i := bytes.LastIndexByte(rest, ' '); i >= 0 {
		rest = rest[i+1:]
	}
	sid, okID := parseNumber(id)
	n, okSize := parseNumber(rest)
	if !ok || !found || !more || !okID || !okSize || n > maxMessage {
		return 0, 0, fmt.Errorf("%q: %w", clip(line), ErrProtocol)
	}
	return sid, int(n), nil
}

// parseNumber reads decimal digits, 18 of them at most.
func parseNumber(b []byte) (n uint64, ok bool) {
	if len(b) < 1 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, true
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }
