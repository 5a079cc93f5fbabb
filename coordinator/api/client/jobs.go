package client

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"time"

	"ressa/coordinator/api"
)

// planTimeout is of a call that has a node look at a model.
const planTimeout = 2 * time.Minute

func jobPath(id, what string) string { return "/v1/jobs/" + url.PathEscape(id) + what }

// Submit hands in a job. Without a token it gets a random one, so that a
// repeated attempt does not start it twice.
func (c *Client) Submit(ctx context.Context, r api.JobRequest) (api.JobRecord, error) {
	if r.Token == "" {
		r.Token = rand.Text()
	}
	var out api.JobRecord
	return out, c.call(ctx, http.MethodPost, "/v1/jobs", r, &out)
}

// Plan asks where a job would run.
func (c *Client) Plan(ctx context.Context, r api.JobRequest) (api.PlanReply, error) {
	var out api.PlanReply
	return out, c.slow(ctx, planTimeout, http.MethodPost, "/v1/plan", r, &out)
}

// Jobs returns all jobs, newest first.
func (c *Client) Jobs(ctx context.Context) ([]api.JobRecord, error) {
	var out api.JobList
	err := c.call(ctx, http.MethodGet, "/v1/jobs", nil, &out)
	return out.Jobs, err
}

// Job returns the job whose identifier begins with id.
func (c *Client) Job(ctx context.Context, id string) (api.JobRecord, error) {
	var out api.JobRecord
	return out, c.call(ctx, http.MethodGet, jobPath(id, ""), nil, &out)
}

// Cancel stops a job; it ends as cancelled when its workers have stopped.
func (c *Client) Cancel(ctx context.Context, id string) (api.JobRecord, error) {
	var out api.JobRecord
	return out, c.call(ctx, http.MethodPost, jobPath(id, "/cancel"), nil, &out)
}

// Resume goes on with a job that failed or was cancelled; one that has not ended is
// returned as it is.
func (c *Client) Resume(ctx context.Context, id string) (api.JobRecord, error) {
	var out api.JobRecord
	return out, c.call(ctx, http.MethodPost, jobPath(id, "/resume"), nil, &out)
}

// History returns the decisions about a job, oldest first.
func (c *Client) History(ctx context.Context, id string) (api.History, error) {
	var out api.History
	return out, c.call(ctx, http.MethodGet, jobPath(id, "/history"), nil, &out)
}

// Explain returns why a job is in its state, first cause first.
func (c *Client) Explain(ctx context.Context, id string) (api.Explanation, error) {
	var out api.Explanation
	return out, c.call(ctx, http.MethodGet, jobPath(id, "/explain"), nil, &out)
}

// Report says how a worker's part of a generation ended.
func (c *Client) Report(ctx context.Context, id string, r api.Report) error {
	return c.call(ctx, http.MethodPost, jobPath(id, "/report"), r, nil)
}

// Publish says that a checkpoint of a job is on disk.
func (c *Client) Publish(ctx context.Context, id string, p api.Published) error {
	return c.call(ctx, http.MethodPost, jobPath(id, "/checkpoints"), p, nil)
}
