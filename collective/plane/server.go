package plane

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Limits of an embedded server. Groups keep what is on the way to one receiver far
// below the pending bytes at which the server would drop it as too slow.
const (
	serverPayload = 8 << 20
	serverPending = 256 << 20
	serverStart   = 10 * time.Second
)

// Server is the NATS server that a node embeds for tensors.
type Server struct {
	server *server.Server
	host   string
	secure bool
	logger *slog.Logger
}

// NewServer starts a server on addr ("" or an unspecified address: all interfaces)
// and port (0: any free one). With a configuration it takes TLS connections only;
// whether clients need certificates is the configuration's to say.
func NewServer(addr string, port int, config *tls.Config, logger *slog.Logger) (*Server, error) {
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if addr == "" {
		addr = "0.0.0.0"
	}
	s, err := server.NewServer(&server.Options{Host: addr, Port: port, TLSConfig: config, NoSigs: true,
		MaxPayload: serverPayload, MaxPending: serverPending, DisableShortFirstPing: true})
	if err != nil {
		return nil, fmt.Errorf("plane: start a server on %s: %w", net.JoinHostPort(addr, strconv.Itoa(port)), err)
	}
	report := serverLog{logger, make(chan error, 1)}
	s.SetLoggerV2(report, false, false, false)
	s.Start()
	if err := report.ready(s); err != nil {
		s.Shutdown()
		return nil, fmt.Errorf("plane: start a server on %s: %w", net.JoinHostPort(addr, strconv.Itoa(port)), err)
	}
	return &Server{server: s, host: addr, secure: config != nil, logger: logger}, nil
}

// URLs returns where the server can be dialled: one for each address it listens on,
// loopback only if there is no other. The fragment is the server's identity, which
// [Dial] compares: an address may lead elsewhere from another network.
func (s *Server) URLs() []string {
	scheme, port := "nats", strconv.Itoa(s.Port())
	if s.secure {
		scheme = "tls"
	}
	hosts := []string{s.host}
	if ip := net.ParseIP(s.host); ip != nil && ip.IsUnspecified() {
		hosts = interfaceHosts()
	}
	urls := make([]string, len(hosts))
	for i, h := range hosts {
		urls[i] = scheme + "://" + net.JoinHostPort(h, port) + "#" + s.server.ID()
	}
	return urls
}

func interfaceHosts() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{"127.0.0.1"}
	}
	var hosts []string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, n.IP.String())
		}
	}
	if hosts == nil {
		return []string{"127.0.0.1"}
	}
	return hosts
}

// Port returns the port that the server listens on.
func (s *Server) Port() int {
	if a, ok := s.server.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Connect returns a connection within the process.
func (s *Server) Connect() (*Socket, error) {
	c := &Socket{name: "this node's server", inside: true, logger: s.logger,
		dial: func(context.Context) (net.Conn, error) { return s.server.InProcessConn() }}
	if err := c.open(context.Background()); err != nil {
		return nil, err
	}
	return c, nil
}

// SlowConsumers returns how many connections were dropped because they did not take
// what was sent to them.
func (s *Server) SlowConsumers() int { return int(s.server.NumSlowConsumers()) }

// Close stops the server.
func (s *Server) Close() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// serverLog passes on what a server complains about.
type serverLog struct {
	logger *slog.Logger
	fatal  chan error // the first fatal one
}

// ready waits until the server listens.
func (l serverLog) ready(s *server.Server) error {
	for range serverStart / (50 * time.Millisecond) {
		if s.ReadyForConnections(50 * time.Millisecond) {
			return nil
		}
		select {
		case err := <-l.fatal:
			return err
		default:
		}
	}
	return fmt.Errorf("it does not listen after %v", serverStart)
}

// Noticef implements server.Logger.
func (serverLog) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (serverLog) Tracef(string, ...any) {}

// Warnf implements server.Logger.
func (l serverLog) Warnf(format string, v ...any) {
	l.logger.Warn("tensor server", "message", fmt.Sprintf(format, v...))
}

// Errorf implements server.Logger.
func (l serverLog) Errorf(format string, v ...any) { l.Warnf(format, v...) }

// Fatalf implements server.Logger; the one of nats-server ends the process.
func (l serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, v...):
	default:
	}
}
