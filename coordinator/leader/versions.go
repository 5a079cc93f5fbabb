package leader

import "ressa/coordinator/state"

// understood returns the version of commands that all coordinators understand: that
// of this one where all run the same Ressa, as each tells when it starts; else the
// first. While a cluster is upgraded, one member after the other, what is new waits.
func understood(s *state.State, own string) int {
	members := s.Members()
	for _, x := range members {
		if x.Version != own {
			return 1
		}
	}
	if len(members) == 0 {
		return 1
	}
	return state.Version
}
