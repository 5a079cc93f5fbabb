package state

import (
	"fmt"

	"ressa/coordinator/api"
)

func (c *Register) apply(d *draft) (Reply, error) {
	old := d.nodes[c.Info.Name]
	n := &Node{Info: c.Info, State: api.NodeReady, Reason: c.Reason, Since: d.at}
	if old == nil {
		if len(d.nodes) >= MaxNodes {
			return Reply{}, fmt.Errorf("%d nodes are registered, at most %d can be: %w", len(d.nodes), MaxNodes, ErrFull)
		}
		d.decide(nil, c.Info.Name, "registered", c.Reason)
		return d.putNode(n), nil
	}
	n.Draining = old.Draining
	switch {
	case old.Info.Session != c.Info.Session:
		// The job that held the old session, if any, has to know why it breaks.
		d.decideNode(c.Info.Name, "registered", c.Reason)
	case old.State == api.NodeReady:
		n.Since, n.Reason = old.Since, old.Reason
	default:
		d.decide(nil, c.Info.Name, "returned", c.Reason)
	}
	return d.putNode(n), nil
}

// decideNode records a decision about a node, also with the job that it holds.
func (d *draft) decideNode(node, action, reason string) {
	j := d.Holder(node)
	if j == nil {
		d.decide(nil, node, action, reason)
		return
	}
	c := *j
	d.decide(&c, node, action, reason)
	d.put(&c)
}

func (c *SetNode) apply(d *draft) (Reply, error) {
	old := d.nodes[c.Name]
	switch {
	case old == nil:
		return Reply{}, fmt.Errorf("node %q: %w", c.Name, ErrNotFound)
	case old.Info.Session != c.Session:
		return Reply{}, fmt.Errorf("node %s is in session %s, not %s: %w", c.Name, old.Info.Session, c.Session, ErrConflict)
	case old.State == c.State:
		return Reply{Node: old, Existing: true}, nil
	case old.State == api.NodeLeft:
		return Reply{}, fmt.Errorf("node %s left in session %s and has to register again: %w", c.Name, c.Session, ErrConflict)
	}
	n := *old
	n.State, n.Reason, n.Since = c.State, c.Reason, d.at
	action := map[string]string{api.NodeReady: "returned", api.NodeLost: "node-lost", api.NodeLeft: "node-left"}[c.State]
	d.decideNode(c.Name, action, c.Reason)
	r := d.putNode(&n)
	d.forgetNodes()
	return r, nil
}

func (c *Drain) apply(d *draft) (Reply, error) {
	old := d.nodes[c.Name]
	if old == nil {
		return Reply{}, fmt.Errorf("node %q: %w", c.Name, ErrNotFound)
	}
	if old.Draining == c.Drain {
		return Reply{Node: old, Existing: true}, nil
	}
	n := *old
	n.Draining, n.Reason = c.Drain, c.Reason
	action := "undrained"
	if c.Drain {
		action = "drained"
	}
	d.decide(nil, c.Name, action, c.Reason)
	return d.putNode(&n), nil
}

func (c *SetMember) apply(d *draft) (Reply, error) {
	old, known := d.members[c.Member.ID]
	if known && old == c.Member {
		return Reply{Existing: true}, nil
	}
	if !known && len(d.members) >= MaxMembers {
		return Reply{}, fmt.Errorf("%d coordinators are known, at most %d can be: %w", len(d.members), MaxMembers, ErrFull)
	}
	d.editMembers()[c.Member.ID] = c.Member
	if !known {
		d.decide(nil, "", "member-joined", fmt.Sprintf("coordinator %s joined at %s", c.Member.ID, c.Member.Addr))
	}
	return Reply{}, nil
}

func (c *RemoveMember) apply(d *draft) (Reply, error) {
	if _, known := d.members[c.ID]; !known {
		return Reply{}, fmt.Errorf("coordinator %q: %w", c.ID, ErrNotFound)
	}
	delete(d.editMembers(), c.ID)
	d.decide(nil, "", "member-left", fmt.Sprintf("coordinator %s left: %s", c.ID, c.Reason))
	return Reply{}, nil
}
