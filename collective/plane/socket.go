package plane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Times of a socket's own upkeep.
const (
	writeTimeout  = 5 * time.Second
	helloTimeout  = 5 * time.Second // of a handshake
	firstRedial   = 50 * time.Millisecond
	slowestRedial = 2 * time.Second
)

// smallMessage is the largest message, in bytes, that is queued while another one
// is being written.
const smallMessage = 2 << 10

// Socket is a lean NATS client. Make one with [Dial] or [Server.Connect].
type Socket struct {
	name   string // for errors and logs
	server string // identity of the server; "": any
	inside bool   // the server is in this process
	dial   func(context.Context) (net.Conn, error)
	tls    *tls.Config
	user   *url.Userinfo
	logger *slog.Logger
	life   context.Context
	end    context.CancelFunc
	loop   sync.WaitGroup

	write sync.Mutex // whoever writes to conn, in whole messages
	line  []byte     // of the writer

	mu         sync.Mutex
	conn       net.Conn // nil while it is broken
	maxPayload int
	queue      []byte // small messages for the next writer
	spare      []byte
	subs       map[uint64]*subscription
	nextSub    uint64
}

type subscription struct {
	subject string
	deliver func(*Delivery)
}

var _ Conn = (*Socket)(nil)

// Dial connects to the server at a URL, nats://[user:password@|token@]host:port[#id],
// or tls:// with a configuration; with an id no other server is accepted. The context
// bounds the first attempt only; later ones go on until Close.
func Dial(ctx context.Context, rawURL string, config *tls.Config, logger *slog.Logger) (*Socket, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("plane: %w", err)
	}
	if u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || u.Scheme == "tls" && config == nil {
		return nil, fmt.Errorf("plane: %s: want nats://host:port, or tls:// and certificates", u.Redacted())
	}
	if config != nil {
		config = config.Clone()
		if config.ServerName == "" {
			config.ServerName = u.Hostname()
		}
	}
	d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	s := &Socket{name: u.Redacted(), server: u.Fragment, tls: config, user: u.User, logger: logger,
		dial: func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", u.Host) }}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// open makes the first connection and starts to read.
func (s *Socket) open(ctx context.Context) error {
	s.life, s.end = context.WithCancel(context.Background())
	s.subs = map[uint64]*subscription{}
	r, err := s.attach(ctx)
	if err != nil {
		s.end()
		return fmt.Errorf("plane: connect to %s: %w", s.name, err)
	}
	s.loop.Go(func() { s.run(r) })
	return nil
}

// attach dials, shakes hands and subscribes to what there is.
func (s *Socket) attach(ctx context.Context) (*bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // unblocks the handshake
	defer stop()
	secured, r, i, err := s.greet(ctx, c)
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		_ = c.Close()
		return nil, ErrClosed
	}
	s.conn, s.maxPayload, s.queue = secured, i.MaxPayload, s.queue[:0]
	for sid, sub := range s.subs {
		s.queue = fmt.Appendf(s.queue, "SUB %s %d\r\n", sub.subject, sid)
	}
	return r, nil
}

// greet is the handshake of the NATS protocol.
func (s *Socket) greet(ctx context.Context, c net.Conn) (net.Conn, *bufio.Reader, info, error) {
	r := bufio.NewReader(c)
	line, err := readLine(r)
	if err != nil {
		return nil, nil, info{}, err
	}
	i, err := parseInfo(line)
	if err != nil {
		return nil, nil, i, err
	}
	if s.server != "" && i.Server != s.server {
		return nil, nil, i, fmt.Errorf("another server answers there, %s", clip([]byte(i.Server)))
	}
	hello := connect{Name: "ressa", Lang: "go", Version: "1", Protocol: 1, Echo: true}
	if i.TLSRequired || s.tls != nil {
		if s.tls == nil {
			return nil, nil, i, errors.New("the server wants TLS, and there are no certificates")
		}
		secure := tls.Client(c, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, nil, i, err
		}
		c, r, hello.TLSRequired = secure, bufio.NewReader(secure), true
	}
	if s.user != nil {
		if password, ok := s.user.Password(); ok {
			hello.User, hello.Pass = s.user.Username(), password
		} else {
			hello.Token = s.user.Username()
		}
	}
	raw, err := json.Marshal(hello)
	if err != nil {
		return nil, nil, i, err
	}
	if _, err := fmt.Fprintf(c, "CONNECT %s\r\nPING\r\n", raw); err != nil {
		return nil, nil, i, err
	}
	for {
		line, err := readLine(r)
		switch {
		case err != nil:
			return nil, nil, i, err
		case bytes.Equal(line, []byte("PONG")):
			return c, r, i, nil
		case bytes.HasPrefix(line, []byte("-ERR")):
			return nil, nil, i, fmt.Errorf("the server refuses: %s", clip(line[4:]))
		}
	}
}

// run reads until Close, and connects again whenever the connection breaks.
func (s *Socket) run(r *bufio.Reader) {
	for {
		_ = s.flushQueue() // subscriptions; a failure shows in the next read
		err := s.read(r)
		s.drop()
		pause := firstRedial
		for r = nil; r == nil; pause = min(2*pause, slowestRedial) {
			if s.life.Err() != nil {
				return
			}
			s.logger.Debug("connection broke", "server", s.name, "error", err)
			select {
			case <-s.life.Done():
				return
			case <-time.After(pause):
			}
			r, err = s.attach(s.life)
		}
		s.logger.Info("connected again", "server", s.name)
	}
}

// read handles what the server sends until the connection breaks.
func (s *Socket) read(r *bufio.Reader) error {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	d := &Delivery{r: r, interrupt: func() {
		if c != nil {
			_ = c.Close()
		}
	}}
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, []byte("MSG ")):
			sid, size, err := parseMsg(line)
			if err != nil {
				return err
			}
			d.size, d.left = size, size
			s.mu.Lock()
			sub := s.subs[sid]
			s.mu.Unlock()
			if sub != nil {
				sub.deliver(d)
			}
			if _, err := r.Discard(d.left + len("\r\n")); err != nil {
				return err
			}
		case bytes.Equal(line, []byte("PING")):
			_ = s.enqueue([]byte("PONG\r\n")) // a failure shows in the next read
		case bytes.HasPrefix(line, []byte("-ERR")):
			s.logger.Warn("error of a NATS server", "server", s.name, "error", string(clip(line[4:])))
		case bytes.Equal(line, []byte("PONG")), bytes.Equal(line, []byte("+OK")), bytes.HasPrefix(line, []byte("INFO ")):
		default:
			return fmt.Errorf("%q: %w", clip(line), ErrProtocol)
		}
	}
}

// drop gives up the connection.
func (s *Socket) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
	s.queue = s.queue[:0]
}

// Close ends the connection and all subscriptions, and waits for a delivery that is
// under way.
func (s *Socket) Close() {
	s.end()
	s.drop()
	s.loop.Wait()
}

// MaxPayload implements [Conn].
func (s *Socket) MaxPayload() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxPayload
}

// serverRead is how much a NATS server reads at a time.
const serverRead = 64 << 10

// Grain implements [Conn]. A message that a server gets in one read, as one write to
// a pipe gives it, is passed on without a copy of its own.
func (s *Socket) Grain(subject string) int {
	if s.inside {
		return serverRead - len(appendPub(nil, subject, serverRead)) - len("\r\n")
	}
	return min(bestMessage, s.MaxPayload())
}

// Flush implements [Conn]: what was published is in the hands of the system.
func (s *Socket) Flush(time.Duration) error { return s.flushQueue() }

// Subscribe implements [Conn].
func (s *Socket) Subscribe(subject string, deliver func(*Delivery)) (func(), error) {
	s.mu.Lock()
	s.nextSub++
	sid := s.nextSub
	s.subs[sid] = &subscription{subject, deliver}
	s.mu.Unlock()
	if s.life.Err() != nil {
		return nil, ErrClosed
	}
	// While the connection is broken nothing is lost: attach subscribes to what there is.
	_ = s.enqueue(fmt.Appendf(nil, "SUB %s %d\r\n", subject, sid))
	return func() {
		s.mu.Lock()
		delete(s.subs, sid)
		s.mu.Unlock()
		_ = s.enqueue(fmt.Appendf(nil, "UNSUB %d\r\n", sid))
	}, nil
}

// appendPub writes the control line of a message.
func appendPub(b []byte, subject string, size int) []byte {
	b = append(append(b, "PUB "...), subject...)
	return append(strconv.AppendInt(append(b, ' '), int64(size), 10), "\r\n"...)
}
