package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// filesWait bounds one request for a list of files, which a node has to hash, or
// for a piece.
const filesWait = time.Minute

// output lists the files of a job, as the node of its worker 0 has them.
func (s *Server) output(_ http.ResponseWriter, r *http.Request) (any, error) {
	m, err := s.files(r, api.FileRequest{})
	if err != nil {
		return nil, err
	}
	out := api.Files{}
	if err := json.Unmarshal(m.Data, &out); err != nil {
		return nil, fmt.Errorf("list of files: %w", err)
	}
	return out, nil
}

// outputFile streams one file, piece by piece.
func (s *Server) outputFile(w http.ResponseWriter, r *http.Request) (any, error) {
	path := r.PathValue("path")
	var at, size int64
	for first := true; first || at < size; first = false {
		m, err := s.files(r, api.FileRequest{Path: path, Offset: at, Limit: api.MaxPiece})
		if err != nil && first {
			return nil, err
		}
		total, bad := strconv.ParseInt(m0(m, api.HeaderSize), 10, 64)
		if err != nil || bad != nil || !first && total != size || len(m.Data) == 0 && total > at {
			if first {
				return nil, fmt.Errorf("file %s: the node's answer has no size", path)
			}
			// The length that was promised tells the client that something is missing.
			panic(http.ErrAbortHandler)
		}
		if first {
			size = total
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
		n, err := w.Write(m.Data)
		if err != nil {
			return nil, nil
		}
		at += int64(n)
	}
	return nil, nil
}

func m0(m *nats.Msg, header string) string {
	if m == nil {
		return ""
	}
	return m.Header.Get(header)
}

// files asks the node of a job's worker 0.
func (s *Server) files(r *http.Request, f api.FileRequest) (*nats.Msg, error) {
	j, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if j.Chief == "" {
		return nil, &refusal{http.StatusConflict, api.ExitFailed, fmt.Sprintf("job %s has not run yet: there is no output", j.ID)}
	}
	f.Job = j.ID
	raw, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), filesWait)
	defer cancel()
	ask := nats.NewMsg(api.FilesSubject(j.Chief))
	ask.Data = raw
	telemetry.Inject(ctx, ask.Header)
	m, err := s.Cluster.Hub().RequestMsgWithContext(ctx, ask)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, &refusal{http.StatusServiceUnavailable, api.ExitFailed, fmt.Sprintf("node %s, which has the output of job %s, is not there", j.Chief, j.ID)}
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", j.Chief, err)
	}
	if why := m.Header.Get(api.HeaderError); why != "" {
		return nil, &refusal{http.StatusNotFound, api.ExitFailed, fmt.Sprintf("node %s: %s", j.Chief, why)}
	}
	return m, nil
}
