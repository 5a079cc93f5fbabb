package group

import (
	"context"
	"fmt"
)

// barrierTag cannot be a caller's: callers' tags are text.
const barrierTag = "\x00barrier %d"

// Barrier returns when every rank has called it as often as this one: through
// rank 0, in two messages a rank. One call at a time.
func (g *Group) Barrier(ctx context.Context) error {
	g.mu.Lock()
	g.barriers++
	tag := fmt.Sprintf(barrierTag, g.barriers)
	g.mu.Unlock()
	if g.config.World == 1 {
		return g.Err()
	}
	if g.config.Rank != 0 {
		if err := g.Send(ctx, 0, tag, nil); err != nil {
			return err
		}
		_, err := g.Recv(ctx, 0, tag)
		return err
	}
	for r := 1; r < g.config.World; r++ {
		if _, err := g.Recv(ctx, r, tag); err != nil {
			return err
		}
	}
	for r := 1; r < g.config.World; r++ {
		if err := g.Send(ctx, r, tag, nil); err != nil {
			return err
		}
	}
	return nil
}
