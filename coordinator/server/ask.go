package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// silentError is of a node that gave no answer.
type silentError struct{ reason string }

// Error implements error.
func (e *silentError) Error() string { return e.reason }

// lifeWait is how long a node that works on a reply may be silent.
const lifeWait = 5 * api.BusyEvery

// ask sends a request to a node over the hub and reads its reply as JSON. A node shows
// signs of life while it works on it.
func (s *Server) ask(ctx context.Context, subject string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	conn := s.Cluster.Hub()
	inbox, err := conn.SubscribeSync(conn.NewInbox())
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	defer func() { _ = inbox.Unsubscribe() }() // fails where the connection is closed
	m := nats.NewMsg(subject)
	m.Reply, m.Data = inbox.Subject, raw
	telemetry.Inject(ctx, m.Header)
	if err := conn.PublishMsg(m); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	for {
		reply, err := next(ctx, inbox)
		if err != nil {
			return err
		}
		if reply.Header.Get(api.HeaderBusy) != "" {
			continue
		}
		if why := reply.Header.Get(api.HeaderError); why != "" {
			return errors.New(why)
		}
		if err := json.Unmarshal(reply.Data, out); err != nil {
			return fmt.Errorf("its answer: %w", err)
		}
		return nil
	}
}

// next returns the next message of a node that is alive.
func next(ctx context.Context, inbox *nats.Subscription) (*nats.Msg, error) {
	began := time.Now()
	alive, cancel := context.WithTimeout(ctx, lifeWait)
	defer cancel()
	m, err := inbox.NextMsgWithContext(alive)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, &silentError{"it is not on the hub"}
	case err != nil && alive.Err() != nil:
		return nil, &silentError{fmt.Sprintf("no answer for %v", time.Since(began).Round(100*time.Millisecond))}
	case err != nil:
		return nil, &silentError{err.Error()}
	}
	return m, nil
}

// fanOut calls a function for every node at the same time.
func fanOut[T any](nodes []string, call func(node string) T) map[string]T {
	var mu sync.Mutex
	var all sync.WaitGroup
	out := make(map[string]T, len(nodes))
	for _, n := range nodes {
		all.Go(func() {
			v := call(n)
			mu.Lock()
			defer mu.Unlock()
			out[n] = v
		})
	}
	all.Wait()
	return out
}
