package group

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
)

// Config describes one rank of one generation.
type Config struct {
	Job        string // identifier: letters, digits, - and _
	Generation uint64
	Rank       int // 0 ≤ Rank < World
	World      int // number of ranks

	// Listen is where this rank receives: best an in-process connection of a
	// server of its own.
	Listen *nats.Conn
	// Peers[r] reaches the server that rank r listens on. A nil entry, or a nil
	// slice, means Listen: one server or cluster for all.
	Peers []*nats.Conn

	ChunkBytes int // payload of a chunk, cut down to what the servers accept
	Window     int // chunks of one message that may be unacknowledged
	EagerBytes int // what a sender may have received here before it is asked for
	MaxMessage int // bytes of the largest message

	Logger *slog.Logger // required
}

// DefaultConfig returns the sizes that were measured to be best with embedded
// servers; the identity and the connections are the caller's to fill in.
func DefaultConfig() Config {
	return Config{
		ChunkBytes: 512 << 10,
		// With 512 KiB chunks and 8 of them, eight senders stay below the 64 MiB at
		// which a server drops a slow consumer, with room for a second message each.
		Window:     8,
		EagerBytes: 64 << 20,
		MaxMessage: 1 << 30,
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
	case c.ChunkBytes < 1 || c.Window < 1 || c.EagerBytes < 0 || c.MaxMessage < 1:
		return fmt.Errorf("group: chunk %d, window %d, eager %d, largest message %d: want positive sizes",
			c.ChunkBytes, c.Window, c.EagerBytes, c.MaxMessage)
	case c.Logger == nil:
		return fmt.Errorf("group: no logger")
	}
	return nil
}

// peer returns the connection on which rank r is reached.
func (c *Config) peer(r int) *nats.Conn {
	if c.Peers == nil || c.Peers[r] == nil {
		return c.Listen
	}
	return c.Peers[r]
}

// subject is where a rank listens. The generation is not part of it: a rank of
// an older one is to learn that there is a newer one.
func (c *Config) subject(rank int) string {
	return fmt.Sprintf("ressa.job.%s.rank.%d", c.Job, rank)
}
