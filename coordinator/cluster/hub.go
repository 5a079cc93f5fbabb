package cluster

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// hubWait is how long the hub's server may take to start, and a connection to open.
const hubWait = 10 * time.Second

// hub is the member's place on the hub: a connection, and a server of its own
// unless the hub is somebody else's.
type hub struct {
	conn *nats.Conn

	mu      sync.Mutex
	server  *server.Server // nil with an external hub
	options *server.Options
	routes  []string // to other members
	url     string   // for clients
	route   string   // for other members; empty with an external hub
}

// openHub starts the server, or connects to the one at an URL.
func openHub(c *Config, host string) (*hub, error) {
	h := &hub{url: c.NATS}
	var inside []nats.Option
	if c.NATS == Embedded {
		if err := h.start(c, host); err != nil {
			return nil, err
		}
		inside = []nats.Option{nats.InProcessServer(h.server)}
	}
	options := append(inside, nats.Name("coordinator "+c.ID), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.Timeout(hubWait))
	conn, err := nats.Connect(h.url, options...)
	if err != nil {
		h.close()
		return nil, fmt.Errorf("hub at %s: %w", h.url, err)
	}
	h.conn = conn
	return h, nil
}

// start starts the server on the ports of an earlier start, or on free ones, which
// it keeps in the folder.
func (h *hub) start(c *Config, host string) error {
	client, route := server.RANDOM_PORT, server.RANDOM_PORT
	kept := filepath.Join(c.Dir, "hub")
	if raw, err := os.ReadFile(kept); err == nil {
		if _, err := fmt.Sscanf(string(raw), "%d %d", &client, &route); err != nil || !free(host, client) || !free(host, route) {
			client, route = server.RANDOM_PORT, server.RANDOM_PORT
		}
	}
	h.options = &server.Options{
		ServerName: c.ID, Host: host, Port: client, NoLog: true, NoSigs: true, MaxPayload: api.MaxHubPayload,
		Cluster: server.ClusterOpts{Name: "ressa", Host: host, Port: route},
	}
	s, err := server.NewServer(h.options)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	h.server = s
	s.Start()
	if !s.ReadyForConnections(hubWait) {
		h.close()
		return fmt.Errorf("hub: the NATS server is not ready after %v", hubWait)
	}
	h.url = s.ClientURL()
	at := s.ClusterAddr()
	h.route = "nats://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
	u, err := url.Parse(h.url)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	h.options.Port, _ = strconv.Atoi(u.Port()) // of an URL that a server made
	h.options.Cluster.Port = at.Port
	return renameio.WriteFile(kept, fmt.Appendf(nil, "%d %d\n", h.options.Port, at.Port), 0o644)
}

// free reports whether a port can be listened on.
func free(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// follow connects the server with those of the other members.
func (h *hub) follow(own string, members []api.Member) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server == nil {
		return nil
	}
	var routes []string
	for _, m := range members {
		if m.ID != own && m.Routes != "" {
			routes = append(routes, m.Routes)
		}
	}
	if slices.Equal(routes, h.routes) {
		return nil
	}
	o := h.options.Clone()
	o.Routes = nil
	for _, r := range routes {
		u, err := url.Parse(r)
		if err != nil {
			return fmt.Errorf("hub: route %q: %w", r, err)
		}
		o.Routes = append(o.Routes, u)
	}
	if err := h.server.ReloadOptions(o); err != nil {
		return fmt.Errorf("hub: routes to %s: %w", strings.Join(routes, ", "), err)
	}
	h.options, h.routes = o, routes
	return nil
}

func (h *hub) close() {
	if h.conn != nil {
		h.conn.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.server != nil {
		h.server.Shutdown()
		h.server.WaitForShutdown()
		h.server = nil
	}
}
