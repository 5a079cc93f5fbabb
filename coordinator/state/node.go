package state

import (
	"time"

	"ressa/coordinator/api"
)

// Node is what the cluster knows of a node. It is immutable.
type Node struct {
	Info     api.NodeInfo `json:"info"`
	State    string       `json:"state"` // of package api: NodeReady, NodeLost or NodeLeft
	Draining bool         `json:"draining"`
	Reason   string       `json:"reason"`
	Since    time.Time    `json:"since"` // in this state
	Order    uint64       `json:"order"` // index of the last change
}

// Shown returns the state as the API shows it: a ready node that drains is
// NodeDraining.
func (n *Node) Shown() string {
	if n.State == api.NodeReady && n.Draining {
		return api.NodeDraining
	}
	return n.State
}

// Device returns the node's first device of a numeric kind, or its first one for
// an empty kind; nil for none.
func (n *Node) Device(kind string) *api.Device {
	for i := range n.Info.Devices {
		if d := &n.Info.Devices[i]; d.Kind != "" && (kind == "" || d.Kind == kind) {
			return d
		}
	}
	return nil
}
