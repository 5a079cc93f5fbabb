package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ressa/collective/group"
	"ressa/collective/plane"
)

// Options describe a node's end of the message plane.
type Options struct {
	Addr string // to listen on; "" or an unspecified address: all interfaces
	Port int    // 0: any free one
	// TLS is for the server and for dialling others; nil: plain TCP. ClientAuth and
	// ClientCAs say whose connections are taken.
	TLS *tls.Config
	// DialTimeout bounds the attempt to reach a peer's server; 0: two seconds.
	DialTimeout time.Duration
	Logger      *slog.Logger // required
}

// Node is a node's server and its own connection to it.
type Node struct {
	options Options
	server  *plane.Server
	inside  *plane.Socket
}

// Open starts the server of a node.
func Open(o Options) (*Node, error) {
	if o.Logger == nil {
		return nil, errors.New("link: no logger")
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = 2 * time.Second
	}
	s, err := plane.NewServer(o.Addr, o.Port, o.TLS, o.Logger)
	if err != nil {
		return nil, err
	}
	inside, err := s.Connect()
	if err != nil {
		s.Close()
		return nil, err
	}
	return &Node{options: o, server: s, inside: inside}, nil
}

// URLs returns where peers may dial this node, to be told to them.
func (n *Node) URLs() []string { return n.server.URLs() }

// SlowConsumers returns how many connections the node's server has dropped because
// they did not take what was sent to them; flow control keeps it at zero.
func (n *Node) SlowConsumers() int { return n.server.SlowConsumers() }

// Close stops the server. Sessions are closed before.
func (n *Node) Close() {
	n.inside.Close()
	n.server.Close()
}

// Peer is where a rank receives.
type Peer struct {
	Node string   // its name, for errors and reports
	URLs []string // of its server, as its [Node.URLs] gave them; none: it cannot be dialled
}

// Membership is one rank's place in one generation of a job.
type Membership struct {
	Job        string // letters, digits, - and _
	Generation uint64
	Rank       int
	Peers      []Peer // by rank, this one included
	// Hub is a connection to what all ranks reach; nil for none. See [plane.Wrap].
	Hub plane.Conn
	// Tune changes sizes and times of the group, where the defaults do not do.
	Tune func(*group.Config)
}

// Session is a rank's membership with the connections made for it.
type Session struct {
	*group.Group
	peers   []Peer
	sockets []*plane.Socket
}

// Join dials the peers and joins the group; the context must have a deadline.
func (n *Node) Join(ctx context.Context, m Membership) (*Session, error) {
	s := &Session{peers: m.Peers}
	c := group.DefaultConfig()
	c.Job, c.Generation, c.Rank, c.World = m.Job, m.Generation, m.Rank, len(m.Peers)
	c.Listen, c.Hub, c.Logger = n.inside, m.Hub, n.options.Logger
	c.Peers = n.dialAll(ctx, m, s)
	if m.Tune != nil {
		m.Tune(&c)
	}
	var err error
	if s.Group, err = group.Join(ctx, c); err != nil {
		s.closeSockets()
		var away *group.UnreachedError
		if errors.As(err, &away) {
			err = fmt.Errorf("node %s at %v: %w", m.Peers[away.Rank].Node, m.Peers[away.Rank].URLs, err)
		}
		return nil, err
	}
	return s, nil
}

// dialAll dials all peers at once; the sockets become the session's.
func (n *Node) dialAll(ctx context.Context, m Membership, s *Session) []plane.Conn {
	conns := make([]plane.Conn, len(m.Peers))
	sockets := make([]*plane.Socket, len(m.Peers))
	var all sync.WaitGroup
	for r, p := range m.Peers {
		if r == m.Rank || len(p.URLs) == 0 {
			continue
		}
		all.Go(func() {
			var err error
			if sockets[r], err = n.dial(ctx, p.URLs); err != nil {
				n.options.Logger.Info("peer cannot be dialled", "job", m.Job, "node", p.Node, "error", err)
			}
		})
	}
	all.Wait()
	for r, c := range sockets {
		if c != nil {
			conns[r] = c
			s.sockets = append(s.sockets, c)
		}
	}
	return conns
}

// dial tries all addresses of a peer at once and keeps the first connection.
func (n *Node) dial(ctx context.Context, urls []string) (*plane.Socket, error) {
	ctx, cancel := context.WithTimeout(ctx, n.options.DialTimeout)
	defer cancel()
	type attempt struct {
		socket *plane.Socket
		err    error
	}
	results := make(chan attempt, len(urls))
	for _, u := range urls {
		go func() {
			c, err := plane.Dial(ctx, u, n.options.TLS, n.options.Logger)
			results <- attempt{c, err}
		}()
	}
	var first *plane.Socket
	var errs []error
	for range urls {
		a := <-results
		switch {
		case a.err != nil:
			errs = append(errs, a.err)
		case first == nil:
			first = a.socket
			cancel() // the others
		default:
			a.socket.Close()
		}
	}
	if first == nil {
		return nil, errors.Join(errs...)
	}
	return first, nil
}

// Reach returns how each other node is reached: "direct", "reverse" or "hub".
func (s *Session) Reach() map[string]string {
	out := map[string]string{}
	for r, p := range s.peers {
		if r != s.Rank() {
			out[p.Node] = s.Group.Reach(r)
		}
	}
	return out
}

// Close leaves the group and closes what was dialled for it.
func (s *Session) Close() {
	s.Group.Close()
	s.closeSockets()
}

func (s *Session) closeSockets() {
	for _, c := range s.sockets {
		c.Close()
	}
}
