package cluster

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/schedule"
)

// Embedded asks for a NATS server in the coordinator itself.
const Embedded = "embedded"

// Config describes one member.
type Config struct {
	ID  string // unique among the members
	Dir string // holds the log, snapshots and what else must outlive the process
	// Addr is HOST:PORT of HTTP and Raft, as other members reach it. Port 0 takes the
	// one of an earlier start, or any free one.
	Addr string
	// Join are URLs of members; without them an empty Dir begins a new cluster.
	Join []string
	// NATS is [Embedded] or the URL of servers that exist.
	NATS     string
	Version  string // of Ressa: nodes must be of the same
	Schedule schedule.Config
	TLS      *tls.Config // of the listener and of connections to other members; nil for none
	Logger   *slog.Logger
	Now      func() time.Time
	// JoinWait is how long joining is tried.
	JoinWait time.Duration
}

// DefaultConfig returns a configuration that lacks ID, Dir and Addr.
func DefaultConfig(lease time.Duration) Config {
	return Config{NATS: Embedded, Schedule: schedule.DefaultConfig(lease), Logger: slog.Default(), Now: time.Now, JoinWait: 30 * time.Second}
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// Check verifies the configuration; errors are the user's to mend.
func (c *Config) Check() error {
	if !idForm.MatchString(c.ID) {
		return api.Invalid(fmt.Errorf("--id %q: want up to 63 letters, digits, - and _", c.ID))
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil || host == "" {
		return api.Invalid(fmt.Errorf("--addr %q: want HOST:PORT with a host that the other coordinators and the nodes can reach", c.Addr))
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return api.Invalid(fmt.Errorf("--addr %q: want an address that others can dial, not that of all interfaces", c.Addr))
	}
	if c.NATS != Embedded {
		if u, err := url.Parse(c.NATS); err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" {
			return api.Invalid(fmt.Errorf("--nats %q: want %q or nats://HOST:PORT", c.NATS, Embedded))
		}
	}
	if err := c.Schedule.Check(); err != nil {
		return api.Invalid(fmt.Errorf("--%w", err)) // the lease is the only one with a flag
	}
	if c.Dir == "" || c.Logger == nil || c.Now == nil || c.JoinWait <= 0 {
		return fmt.Errorf("cluster: want a folder, a logger, a clock and a time to join in")
	}
	return nil
}
