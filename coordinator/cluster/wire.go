package cluster

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftWait bounds one request of Raft's and its reply, without the contents of a
// snapshot.
const raftWait = 5 * time.Second

// newWire returns the way to other members, with one request at a time to each. Raft's
// pipeline waits for ever where its decoder has ended, as after a reply that did not
// come in time, and one more request is sent before that is noticed: the other member
// is replicated to no more, and Shutdown does not end.
func newWire(stream raft.StreamLayer, wait time.Duration, logger hclog.Logger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: stream, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: wait, Logger: logger})
}
