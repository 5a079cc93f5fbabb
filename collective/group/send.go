package group

import (
	"context"
	"fmt"
)

// outgoing is a message on its way out.
type outgoing struct {
	acked    uint64
	refused  error
	progress chan struct{} // holds one token after an answer came
}

// Send passes message to rank to under a tag and returns when that rank has
// received all of it. The receiver need not have called Recv, unless it holds
// more than EagerBytes that nobody asked for. message must not change meanwhile.
func (g *Group) Send(ctx context.Context, to int, tag string, message []byte) error {
	if err := g.checkPeer(ctx, to, tag); err != nil {
		return fmt.Errorf("group: send %q to rank %d: %w", tag, to, err)
	}
	if len(message) > g.config.MaxMessage {
		return fmt.Errorf("group: send %q to rank %d: %d bytes, at most %d: %w", tag, to, len(message), g.config.MaxMessage, ErrTooLarge)
	}
	out := &outgoing{progress: make(chan struct{}, 1)}
	g.mu.Lock()
	g.nextID++
	id := g.nextID
	g.outgoing[id] = out
	g.mu.Unlock()
	err := g.transfer(ctx, to, id, tag, message, out)
	g.mu.Lock()
	delete(g.outgoing, id)
	refused := out.refused != nil
	g.mu.Unlock()
	if err != nil {
		if !refused && g.Err() == nil {
			g.reply(to, frame{kind: kindCancel, id: id, tag: tag})
		}
		return fmt.Errorf("group: send %q to rank %d: %w", tag, to, err)
	}
	return nil
}

func (g *Group) transfer(ctx context.Context, to int, id uint64, tag string, message []byte, out *outgoing) error {
	total := len(message)
	chunk := min(g.config.ChunkBytes, int(g.config.peer(to).MaxPayload())-headerSize-len(tag))
	if chunk < 1 {
		return fmt.Errorf("the server accepts %d bytes a message, less than a frame's header", g.config.peer(to).MaxPayload())
	}
	sent := 0
	for first := true; ; {
		g.mu.Lock()
		acked, refused := int(out.acked), out.refused
		g.mu.Unlock()
		if refused != nil {
			return refused
		}
		if !first && sent == total && acked > total {
			return nil
		}
		if first || sent < total && sent-acked < g.config.Window*chunk {
			end := min(sent+chunk, total)
			f := frame{kind: kindData, id: id, tag: tag, total: uint64(total), offset: uint64(sent), payload: message[sent:end]}
			if err := g.publish(to, f); err != nil {
				return err
			}
			sent, first = end, false
			select { // between chunks too: an abort need not wait for the window
			case <-g.done:
				return g.Err()
			default:
			}
			continue
		}
		select {
		case <-out.progress:
		case <-g.done:
			return g.Err()
		case <-ctx.Done():
			return fmt.Errorf("%d of %d bytes were acknowledged: %w", min(acked, total), total, context.Cause(ctx))
		}
	}
}

// receiveAnswer handles an acknowledgement or a refusal. The acknowledgement of
// a whole message is total + 1, so that an empty one has one as well.
func (g *Group) receiveAnswer(f frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	out, ok := g.outgoing[f.id]
	if !ok {
		return // given up before
	}
	if f.kind == kindRefuse {
		out.refused = fmt.Errorf("refused: %s: %w", f.payload[:min(len(f.payload), maxReason)], ErrLost)
	} else {
		out.acked = max(out.acked, f.offset)
	}
	select {
	case out.progress <- struct{}{}:
	default:
	}
}

// checkPeer verifies what Send and Recv have in common.
func (g *Group) checkPeer(ctx context.Context, peer int, tag string) error {
	if err := g.Err(); err != nil {
		return err
	}
	if peer < 0 || peer >= g.config.World || peer == g.config.Rank {
		return fmt.Errorf("no other rank of %d; this is rank %d", g.config.World, g.config.Rank)
	}
	if len(tag) > maxTag {
		return fmt.Errorf("tag of %d bytes, at most %d", len(tag), maxTag)
	}
	return bounded(ctx)
}
