package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"ressa/coordinator/api"
)

// Nodes returns all nodes by name.
func (c *Client) Nodes(ctx context.Context) ([]api.NodeRecord, error) {
	var out api.NodeList
	err := c.call(ctx, http.MethodGet, "/v1/nodes", nil, &out)
	return out.Nodes, err
}

// Beat tells the leader that a node lives, and returns what it is to do.
func (c *Client) Beat(ctx context.Context, node string, b api.Beat) (api.BeatReply, error) {
	var out api.BeatReply
	return out, c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(node)+"/beat", b, &out)
}

// Drain keeps new jobs off a node, or lets them on it again.
func (c *Client) Drain(ctx context.Context, node string, drain bool) (api.NodeRecord, error) {
	var out api.NodeRecord
	return out, c.call(ctx, http.MethodPost, "/v1/nodes/"+url.PathEscape(node)+"/drain", api.Drain{Drain: drain}, &out)
}

// Cluster returns the coordinators.
func (c *Client) Cluster(ctx context.Context) (api.Cluster, error) {
	var out api.Cluster
	return out, c.call(ctx, http.MethodGet, "/v1/cluster", nil, &out)
}

// Join makes a coordinator a member.
func (c *Client) Join(ctx context.Context, m api.Member) (api.Cluster, error) {
	var out api.Cluster
	return out, c.call(ctx, http.MethodPost, "/v1/cluster/members", m, &out)
}

// JoinEmpty makes a coordinator a member that has an empty folder; where one of its
// name was a member before, it takes that one's place.
func (c *Client) JoinEmpty(ctx context.Context, m api.Member) (api.Cluster, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return api.Cluster{}, err
	}
	var out api.Cluster
	r := request{method: http.MethodPost, path: "/v1/cluster/members", query: url.Values{"empty": {"1"}}, body: raw}
	return out, c.try(ctx, r, func(resp *http.Response) error {
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&out)
	})
}

// Leave takes a coordinator out of the cluster.
func (c *Client) Leave(ctx context.Context, id string) (api.Cluster, error) {
	var out api.Cluster
	return out, c.call(ctx, http.MethodDelete, "/v1/cluster/members/"+url.PathEscape(id), nil, &out)
}

// Ready returns nil when a coordinator answers that knows a leader.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/readyz", nil, nil)
}
