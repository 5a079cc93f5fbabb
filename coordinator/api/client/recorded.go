package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ressa/coordinator/api"
)

// profileWait is how long a profile may take beside the time that it is of.
const profileWait = 30 * time.Second

// Trace returns what the nodes of a job recorded of a step; generation and step may be 0
// for the newest.
func (c *Client) Trace(ctx context.Context, id string, generation, step int) (api.Trace, error) {
	query := url.Values{}
	for name, n := range map[string]int{"generation": generation, "step": step} {
		if n != 0 {
			query.Set(name, strconv.Itoa(n))
		}
	}
	var out api.Trace
	return out, c.get(ctx, request{path: jobPath(id, "/trace"), query: query}, &out)
}

// Profile returns what the nodes of a job do until so many steps are over, or the time is.
func (c *Client) Profile(ctx context.Context, id string, steps, seconds int) (api.Profile, error) {
	query := url.Values{"steps": {strconv.Itoa(steps)}, "seconds": {strconv.Itoa(seconds)}}
	var out api.Profile
	return out, c.get(ctx, request{path: jobPath(id, "/profile"), query: query, timeout: time.Duration(seconds)*time.Second + profileWait}, &out)
}

// get sends a request with a query and decodes the answer.
func (c *Client) get(ctx context.Context, r request, out any) error {
	r.method = http.MethodGet
	return c.try(ctx, r, func(resp *http.Response) error {
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out)
	})
}
