package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// nodes reaches nodes over the hub.
type nodes struct{ *Cluster }

// URLs implements leader.Nodes.
func (m nodes) URLs() []string { return m.HubURLs() }

// Nudge implements leader.Nodes. A lost one costs a quarter of a lease.
func (m nodes) Nudge(node string) { _ = m.hub.conn.Publish(api.NudgeSubject(node), nil) }

// Inspect implements leader.Nodes: it sends a job to a node and returns what it says.
func (m nodes) Inspect(ctx context.Context, node, spec string) (api.Inspection, error) {
	var found api.Inspection
	raw, err := json.Marshal(api.Inspect{Spec: spec})
	if err != nil {
		return found, err
	}
	msg, err := request(ctx, m.hub.conn, api.InspectSubject(node), raw)
	if errors.Is(err, nats.ErrNoResponders) {
		return found, fmt.Errorf("node %s is not on the hub: %w", node, err)
	}
	if err != nil {
		return found, fmt.Errorf("node %s: %w", node, err)
	}
	if why := msg.Header.Get(api.HeaderError); why != "" {
		return found, fmt.Errorf("node %s: %s", node, why)
	}
	if err := json.Unmarshal(msg.Data, &found); err != nil {
		return found, fmt.Errorf("node %s: inspection: %w", node, err)
	}
	return found, nil
}

// lifeWait is how long a node that works on a reply may be silent: a request or its
// reply can be lost with a connection.
const lifeWait = 5 * api.BusyEvery

// request asks somebody who shows signs of life until the reply is there.
func request(ctx context.Context, c *nats.Conn, subject string, data []byte) (*nats.Msg, error) {
	inbox, err := c.SubscribeSync(c.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // fails where the connection is closed
	m := nats.NewMsg(subject)
	m.Reply, m.Data = inbox.Subject, data
	telemetry.Inject(ctx, m.Header)
	if err := c.PublishMsg(m); err != nil {
		return nil, err
	}
	for {
		alive, cancel := context.WithTimeoutCause(ctx, lifeWait, fmt.Errorf("no sign of life for %v", lifeWait))
		msg, err := inbox.NextMsgWithContext(alive)
		if err != nil && ctx.Err() == nil && alive.Err() != nil {
			err = context.Cause(alive)
		}
		cancel()
		if err != nil {
			return nil, err
		}
		if msg.Header.Get(api.HeaderBusy) == "" {
			return msg, nil
		}
	}
}
