package cluster

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raftByte opens every connection of Raft. No method of HTTP begins with it.
const raftByte = 0x01

// firstByteWait is how long a connection may be silent before it says what it is.
const firstByteWait = 10 * time.Second

// mux shares one listener between HTTP and Raft by the first byte of a connection.
type mux struct {
	listener net.Listener
	tls      *tls.Config
	http     *branch
	raft     *raftLayer
	conns    sync.WaitGroup
}

func newMux(l net.Listener, config *tls.Config) *mux {
	m := &mux{listener: l, tls: config, http: newBranch(l.Addr())}
	m.raft = &raftLayer{branch: newBranch(l.Addr()), tls: config}
	return m
}

// serve sorts connections until the listener is closed.
func (m *mux) serve() {
	for {
		c, err := m.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				break
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors, or the like
			continue
		}
		m.conns.Go(func() { m.sort(c) })
	}
	m.http.Close()
	m.raft.Close()
	m.conns.Wait()
}

func (m *mux) sort(c net.Conn) {
	if m.tls != nil {
		c = tls.Server(c, m.tls)
	}
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(firstByteWait)) // a failure shows in the read
	_, err := io.ReadFull(c, first)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return
	}
	if first[0] == raftByte {
		m.raft.give(c)
		return
	}
	m.http.give(&begun{c, io.MultiReader(bytes.NewReader(first), c)})
}

// close ends serve.
func (m *mux) close() error { return m.listener.Close() }

// begun is a connection of which some has been read.
type begun struct {
	net.Conn
	r io.Reader
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) { return b.r.Read(p) }

// branch is a listener that is handed its connections.
type branch struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newBranch(addr net.Addr) *branch {
	return &branch{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (b *branch) give(c net.Conn) {
	select {
	case b.conns <- c:
	case <-b.done:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (b *branch) Close() error {
	b.once.Do(func() { close(b.done) })
	return nil
}

// Addr implements net.Listener.
func (b *branch) Addr() net.Addr { return b.addr }

// raftLayer is how Raft listens and dials.
type raftLayer struct {
	*branch
	tls *tls.Config
}

var _ raft.StreamLayer = (*raftLayer)(nil)

// Dial implements raft.StreamLayer.
func (r *raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	var c net.Conn
	var err error
	if r.tls != nil {
		c, err = tls.DialWithDialer(d, "tcp", string(address), r.tls)
	} else {
		c, err = d.Dial("tcp", string(address))
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{raftByte}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
