package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ressa/coordinator/api"
)

// stream is an object store of a NATS cluster with JetStream.
type stream struct {
	servers []string
	name    string
	options []nats.Option

	mu   sync.Mutex
	conn *nats.Conn
	jet  jetstream.ObjectStore
}

func openJetStream(s api.CheckpointStore) (Store, error) {
	out := &stream{servers: s.Servers, name: s.Bucket, options: []nats.Option{
		nats.Name("ressa checkpoints"), nats.Timeout(5 * time.Second), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond),
	}}
	if path := os.Getenv("NATS_CREDS"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: NATS_CREDS: %w", ErrRefused, err)
		}
		out.options = append(out.options, nats.UserCredentials(path))
	}
	if path := os.Getenv("NATS_CA"); path != "" {
		out.options = append(out.options, nats.RootCAs(path))
	}
	if cert, key := os.Getenv("NATS_CERT"), os.Getenv("NATS_KEY"); cert != "" || key != "" {
		out.options = append(out.options, nats.ClientCert(cert, key))
	}
	return out, nil
}

// open returns the bucket. The connection is made when it is first needed, and
// keeps itself from then on.
func (s *stream) open(ctx context.Context) (jetstream.ObjectStore, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && !s.conn.IsConnected() { // a request would wait for as long as it may
		return nil, fmt.Errorf("no connection to %s: %w", strings.Join(s.servers, ","), nats.ErrDisconnected)
	}
	if s.jet != nil {
		return s.jet, nil
	}
	if s.conn == nil {
		conn, err := nats.Connect(strings.Join(s.servers, ","), s.options...)
		if err != nil {
			return nil, refusedNATS(fmt.Errorf("connect to %s: %w", strings.Join(s.servers, ","), err))
		}
		s.conn = conn
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		return nil, err
	}
	jet, err := js.ObjectStore(ctx, s.name)
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound):
		return nil, fmt.Errorf("%w: object store %q does not exist", ErrRefused, s.name)
	case errors.Is(err, nats.ErrNoResponders): // not enabled, or without a leader
		return nil, fmt.Errorf("JetStream does not answer: %w", err)
	case err != nil:
		return nil, refusedNATS(err)
	}
	s.jet = jet
	return jet, nil
}

// Put implements [Store]. An object whose chunks did not all arrive is listed at
// most until this returns, and never read: its digest tells.
//
// What was written is read back: where a server goes in the middle, the client
// publishes a chunk again after those that followed it, from a buffer that by then
// holds one of them, and reports success.
func (s *stream) Put(ctx context.Context, name string, body *io.SectionReader) error {
	jet, err := s.open(ctx)
	if err != nil {
		return err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := jet.Put(ctx, jetstream.ObjectMeta{Name: name}, body); err != nil {
		return refusedNATS(err)
	}
	return s.readBack(ctx, name)
}

// readBack makes sure that an object can be read. A replica that lags behind may
// answer, so it asks for some seconds; content that is wrong twice stays wrong.
func (s *stream) readBack(ctx context.Context, name string) error {
	wrong := 0
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		body, err := s.Get(ctx, name)
		if err == nil {
			_, err = io.Copy(io.Discard, body) // compares the digest
			err = errors.Join(err, body.Close())
		}
		if err == nil || errors.Is(err, ErrRefused) {
			return err
		}
		if errors.Is(err, jetstream.ErrDigestMismatch) {
			wrong++
		}
		if pause > 2*time.Second || wrong > 1 {
			return fmt.Errorf("%s was written and cannot be read: %v", name, err) // not that it does not exist
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s was written and cannot be read: %v: %w", name, err, ctx.Err())
		}
	}
}

// attentive is a context whose deadline is always near: the client's reader looks
// whether its context is done only when the deadline passes.
type attentive struct{ context.Context }

func (a attentive) Deadline() (time.Time, bool) {
	end, ok := a.Context.Deadline()
	if near := time.Now().Add(250 * time.Millisecond); ok && near.Before(end) {
		end = near
	}
	return end, ok
}

// content reads on where only a near deadline passed.
type content struct {
	jetstream.ObjectResult
	ctx context.Context
}

func (c content) Read(p []byte) (int, error) {
	n, err := c.ObjectResult.Read(p)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return n, c.ctx.Err()
	}
	return n, err
}

// Get implements [Store].
func (s *stream) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	jet, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	out, err := jet.Get(attentive{ctx}, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, refusedNATS(err)
	}
	return content{out, ctx}, nil
}

// List implements [Store].
func (s *stream) List(ctx context.Context, folder string) ([]Info, error) {
	jet, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	all, err := jet.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, refusedNATS(err)
	}
	var out []Info
	for _, o := range all {
		if rest, ok := strings.CutPrefix(o.Name, folder+"/"); ok && !strings.Contains(rest, "/") {
			out = append(out, Info{o.Name, int64(o.Size), o.ModTime})
		}
	}
	return out, nil
}

// Delete implements [Store].
func (s *stream) Delete(ctx context.Context, name string) error {
	jet, err := s.open(ctx)
	if err != nil {
		return err
	}
	if err := jet.Delete(ctx, name); !errors.Is(err, jetstream.ErrObjectNotFound) {
		return refusedNATS(err)
	}
	return nil
}

// Close implements [Store].
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
	}
	return nil
}

// refusedNATS tells apart what waiting does not mend.
func refusedNATS(err error) error {
	for _, final := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrPermissionViolation, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount} {
		if errors.Is(err, final) {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return err
}
