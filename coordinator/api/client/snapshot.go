package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"ressa/coordinator/api"
)

const snapshotPath = "/v1/cluster/snapshot"

// snapshotTimeout is until the answer begins: the state is written out, or taken in by
// all coordinators, before.
const snapshotTimeout = 2 * time.Minute

// Snapshot returns the replicated state as a file of at most so many bytes. Whether it
// is whole is for who reads it to check.
func (c *Client) Snapshot(ctx context.Context, most int64) ([]byte, error) {
	var out []byte
	r := request{method: http.MethodGet, path: snapshotPath, timeout: snapshotTimeout}
	err := c.try(ctx, r, func(resp *http.Response) error {
		var err error
		out, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
		if err == nil && int64(len(out)) > most {
			return &callbackError{fmt.Errorf("the snapshot has more than %d bytes", most)}
		}
		return err
	})
	return out, err
}

// Restore replaces the replicated state by that of a file. Repeated, it comes to the
// same.
func (c *Client) Restore(ctx context.Context, file []byte) (api.Restored, error) {
	var out api.Restored
	r := request{method: http.MethodPut, path: snapshotPath, timeout: snapshotTimeout, body: file, header: http.Header{"Content-Type": {"application/octet-stream"}}}
	err := c.try(ctx, r, func(resp *http.Response) error {
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out)
	})
	return out, err
}
