package group

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"ressa/collective/plane"
)

// Config describes one rank of one generation.
type Config struct {
	Job        string // identifier: letters, digits, - and _
	Generation uint64
	Rank       int // 0 ≤ Rank < World
	World      int // number of ranks

	// Listen is where this rank receives and where peers that dialled it subscribe:
	// best an in-process connection of a server of its own.
	Listen plane.Conn
	// Peers[r] is a connection to the server that rank r listens on; nil where it
	// cannot be dialled, or where Listen reaches it. A nil slice: none was dialled.
	// This rank receives on them as well: the peer may not be able to dial back.
	Peers []plane.Conn
	// Hub is a connection to what all ranks reach; nil for none.
	Hub plane.Conn

	ChunkBytes int // payload of a chunk at most; a connection may want smaller ones
	Window     int // of one message may be unacknowledged: so many times ChunkBytes
	// InFlight bounds the bytes that are on the way to one rank from all others
	// together, and so what its server holds for it.
	InFlight   int
	EagerBytes int // what a sender may have received here before it is asked for
	MaxMessage int // bytes of the largest message
	// RetryAfter is how long a sender waits for progress before it asks what has
	// come, and twice that before it looks for another path.
	RetryAfter time.Duration

	Logger *slog.Logger // required
}

// DefaultConfig returns the sizes that were measured to be best with embedded
// servers; the identity and the connections are the caller's to fill in.
func DefaultConfig() Config {
	return Config{
		ChunkBytes: 512 << 10,
		Window:     8,
		InFlight:   32 << 20, // half of what a NATS server holds for a client by default
		EagerBytes: 64 << 20,
		MaxMessage: 1 << 30,
		RetryAfter: time.Second,
		Logger:     slog.Default(),
	}
}

func (c *Config) check() error {
	valid := func(r rune) bool {
		return r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	switch {
	case c.Job == "" || strings.TrimFunc(c.Job, valid) != "":
		return fmt.Errorf("group: job %q, want letters, digits, - and _", c.Job)
	case c.World < 1 || c.Rank < 0 || c.Rank >= c.World:
		return fmt.Errorf("group: rank %d of %d", c.Rank, c.World)
	case c.Listen == nil:
		return fmt.Errorf("group: no connection to listen on")
	case c.Peers != nil && len(c.Peers) != c.World:
		return fmt.Errorf("group: %d peer connections for %d ranks", len(c.Peers), c.World)
	case c.ChunkBytes < 1 || c.Window < 1 || c.InFlight < 1 || c.EagerBytes < 0 || c.MaxMessage < 1 || c.RetryAfter <= 0:
		return fmt.Errorf("group: chunk %d, window %d, in flight %d, eager %d, largest message %d, retry after %v: want positive sizes",
			c.ChunkBytes, c.Window, c.InFlight, c.EagerBytes, c.MaxMessage, c.RetryAfter)
	case c.Logger == nil:
		return fmt.Errorf("group: no logger")
	}
	return nil
}

// window is how many bytes of a message may be unacknowledged.
func (c *Config) window() int { return c.Window * c.ChunkBytes }

// ackBytes is how much of a message comes before it is acknowledged again.
func (c *Config) ackBytes() int { return max(1, c.window()/8) }

// conns returns all connections, each once: this rank listens on all of them.
func (c *Config) conns() []plane.Conn {
	out := []plane.Conn{c.Listen}
	for _, x := range append(append([]plane.Conn{}, c.Peers...), c.Hub) {
		known := x == nil
		for _, y := range out {
			known = known || x == y
		}
		if !known {
			out = append(out, x)
		}
	}
	return out
}

// subject is where a rank listens. The generation is not part of it: a rank of
// an older one is to learn that there is a newer one.
func (c *Config) subject(rank int) string {
	return fmt.Sprintf("ressa.job.%s.rank.%d", c.Job, rank)
}
