package schedule

import (
	"errors"
	"fmt"

	"ressa/coordinator/api"
	"ressa/coordinator/state"
)

// Errors of [Admit].
var (
	// ErrVersion is returned for a node of another version of Ressa.
	ErrVersion = errors.New("another version")
	// ErrTaken is returned while another process beats under the node's name; it may
	// be gone at the next try.
	ErrTaken = errors.New("name is taken")
)

// Admit decides whether a node may register with a cluster of a version and
// returns the reason for state.Register. A new process under a known name is
// admitted once the old one has missed a beat or said goodbye, so that a restart
// does not wait for a whole lease and a second process does not push the first
// one out.
func Admit(s *state.State, lease Lease, info api.NodeInfo, version string, c Config) (string, error) {
	if info.Version != version {
		return "", fmt.Errorf("node %s runs Ressa %s, this cluster runs %s: nodes of a cluster run one version: %w", info.Name, info.Version, version, ErrVersion)
	}
	n := s.Node(info.Name)
	switch {
	case n == nil:
		return "a new node", nil
	case n.Info.Session == info.Session:
		return "the same process registers again", nil
	case n.State == api.NodeReady && !lease.Leaving && lease.Session == n.Info.Session && lease.Silent < c.Lease/2:
		return "", fmt.Errorf("node %s: process %d beat %.1f s ago under this name: %w", info.Name, n.Info.PID, lease.Silent.Seconds(), ErrTaken)
	}
	return fmt.Sprintf("a new process %d in the place of process %d", info.PID, n.Info.PID), nil
}
