package server

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/snapshot"
	"ressa/coordinator/state"
)

const snapshotPath = "/v1/cluster/snapshot"

// maxBody bounds the body of a request to a route.
func (x route) maxBody() int64 {
	if x.path == snapshotPath {
		return snapshot.MaxFile
	}
	return maxBody
}

// saveSnapshot answers with the state as a file. It is made before it is sent: what
// goes wrong is an error, not half a file.
func (s *Server) saveSnapshot(w http.ResponseWriter, r *http.Request) (any, error) {
	meta, raw, err := s.Cluster.Snapshot(r.Context())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := snapshot.Write(&b, meta, raw); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no file
	return nil, nil
}

// restoreWait bounds how long the file may take to arrive and the members to take it
// in.
const restoreWait = 10 * time.Minute

// restoreSnapshot replaces the state, once the file is known to be whole.
func (s *Server) restoreSnapshot(w http.ResponseWriter, r *http.Request) (any, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restoreWait)) // not there in tests without a connection
	meta, raw, err := snapshot.Read(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &refusal{http.StatusRequestEntityTooLarge, api.ExitInvalid, fmt.Sprintf("the file has more than %d bytes", large.Limit)}
	case err != nil:
		return nil, invalid(err)
	}
	out, err := s.Cluster.Restore(r.Context(), meta, raw)
	if errors.Is(err, state.ErrVersion) {
		return nil, invalid(err)
	}
	if err != nil {
		return nil, err
	}
	return api.Restored{Index: out.Index, Jobs: out.Jobs, Again: append([]string{}, out.Again...)}, nil
}
