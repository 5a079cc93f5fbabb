package group

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Broadcast gives the message of rank root to all members and returns it. members
// are the ranks that take part, root among them, nil for all; every member calls
// with the same root and key, and all others' message is ignored.
func (g *Group) Broadcast(ctx context.Context, members []int, root int, key string, message []byte) ([]byte, error) {
	members, err := g.members(members)
	if err == nil && !slices.Contains(members, root) {
		err = fmt.Errorf("root %d is none of the members %v", root, members)
	}
	if err != nil {
		return nil, fmt.Errorf("group: broadcast %q: %w", key, err)
	}
	if root != g.Rank() {
		return g.Recv(ctx, root, key)
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, r := range members {
		if r != root {
			all.Go(func() error { return g.Send(ctx, r, key, message) })
		}
	}
	return message, all.Wait()
}

// AllGather gives every member the messages of all, by position in members: the
// ranks that take part, nil for all. Messages may differ in length.
func (g *Group) AllGather(ctx context.Context, members []int, key string, message []byte) ([][]byte, error) {
	members, err := g.members(members)
	if err != nil {
		return nil, fmt.Errorf("group: all-gather %q: %w", key, err)
	}
	out := make([][]byte, len(members))
	all, ctx := errgroup.WithContext(ctx)
	for i, r := range members {
		if r == g.Rank() {
			out[i] = message
			continue
		}
		all.Go(func() error { return g.Send(ctx, r, key, message) })
		all.Go(func() (err error) { out[i], err = g.Recv(ctx, r, key); return err })
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// members verifies the ranks that take part in a collective.
func (g *Group) members(members []int) ([]int, error) {
	if members == nil {
		for r := range g.World() {
			members = append(members, r)
		}
	}
	for i, r := range members {
		if r < 0 || r >= g.World() || i > 0 && r <= members[i-1] {
			return nil, fmt.Errorf("members %v, want ascending ranks of %d", members, g.World())
		}
	}
	if !slices.Contains(members, g.Rank()) {
		return nil, fmt.Errorf("rank %d is none of the members %v", g.Rank(), members)
	}
	return members, nil
}
