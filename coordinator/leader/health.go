package leader

import (
	"ressa/coordinator/schedule"
	"ressa/coordinator/state"
)

// logHealth says when a node becomes unfit and when it is well again.
func (l *Loop) logHealth(n *state.Node, before, now schedule.Lease) {
	was, is := schedule.Unfit(n, before), schedule.Unfit(n, now)
	switch {
	case was == "" && is != "":
		l.config.Logger.Warn("node is unfit", "node", n.Info.Name, "reason", is)
	case was != "" && is == "":
		l.config.Logger.Info("node is fit again", "node", n.Info.Name)
	}
}
