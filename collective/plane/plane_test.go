package plane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func startServer(t testing.TB, port int, config *tls.Config) *Server {
	t.Helper()
	s, err := NewServer("127.0.0.1", port, config, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dial(t testing.TB, url string, config *tls.Config) *Socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := Dial(ctx, url, config, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// inbox collects the messages of a subject.
func inbox(t testing.TB, c Conn, subject string) chan []byte {
	t.Helper()
	got := make(chan []byte, 1000)
	if _, err := c.Subscribe(subject, func(d *Delivery) {
		b := make([]byte, d.Size())
		if _, err := io.ReadFull(d, b); err == nil {
			got <- b
		}
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// ready waits until a subscription has reached the server.
func ready(t testing.TB, c Conn, subject string, got chan []byte) {
	t.Helper()
	for range 500 {
		_ = c.Publish(subject, nil, []byte("ready?"))
		select {
		case <-got:
			time.Sleep(20 * time.Millisecond)
			for len(got) > 0 {
				<-got
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the subscription does not begin")
}

func receive(t testing.TB, got chan []byte) []byte {
	t.Helper()
	select {
	case b := <-got:
		return b
	case <-time.After(10 * time.Second):
		t.Fatal("nothing comes")
		return nil
	}
}

// TestConns sends messages of all sizes over every kind of connection.
func TestConns(t *testing.T) {
	s := startServer(t, 0, nil)
	inside, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inside.Close)
	other, err := nats.Connect(s.URLs()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	conns := map[string]Conn{"inside": inside, "tcp": dial(t, s.URLs()[0], nil), "nats.go": Wrap(other)}
	for from, sender := range conns {
		for to, receiver := range conns {
			subject := "s." + strings.ReplaceAll(from+"-"+to, ".", "")
			got := inbox(t, receiver, subject)
			ready(t, sender, subject, got)
			for _, size := range []int{0, 1, smallMessage - 1, smallMessage, smallMessage + 1, 70_000, 1 << 20, serverPayload} {
				want := make([]byte, size)
				_, _ = rand.Read(want[:min(size, 100)])
				head := min(size, 48)
				if err := sender.Publish(subject, want[:head], want[head:]); err != nil {
					t.Fatal(err)
				}
				if b := receive(t, got); !bytes.Equal(b, want) {
					t.Errorf("%s to %s: %d of %d bytes, or others", from, to, len(b), size)
				}
			}
			if err := sender.Publish(subject, nil, make([]byte, serverPayload+1)); err == nil {
				t.Errorf("%s took more than the server does", from)
			}
		}
	}
}

// TestConcurrentPublishers mixes small and large messages from many goroutines.
func TestConcurrentPublishers(t *testing.T) {
	s := startServer(t, 0, nil)
	inside, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	c := dial(t, s.URLs()[0], nil)
	got := inbox(t, inside, "s")
	ready(t, c, "s", got)
	const publishers, each = 8, 50
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				size := 10
				if i%3 == 0 {
					size = 30_000
				}
				if err := c.Publish("s", []byte{byte(p), byte(i)}, bytes.Repeat([]byte{byte(p)}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := make([]int, publishers)
	for range publishers * each {
		b := receive(t, got)
		p, i := int(b[0]), int(b[1])
		if i != next[p] || len(bytes.Trim(b[2:], string(b[:1]))) > 0 {
			t.Fatalf("publisher %d: message %d when %d was due, or torn", p, i, next[p])
		}
		next[p]++
	}
	wg.Wait()
}

func TestUnreadMessagesAreSkipped(t *testing.T) {
	s := startServer(t, 0, nil)
	c := dial(t, s.URLs()[0], nil)
	var skipped atomic.Int32
	stop, err := c.Subscribe("skip", func(d *Delivery) { skipped.Add(1); _, _ = d.Read(make([]byte, 10)) })
	if err != nil {
		t.Fatal(err)
	}
	got := inbox(t, c, "s")
	ready(t, c, "s", got)
	for range 3 {
		if err := errors.Join(c.Publish("skip", nil, make([]byte, 100_000)), c.Publish("s", nil, []byte("next"))); err != nil {
			t.Fatal(err)
		}
		if b := receive(t, got); string(b) != "next" {
			t.Fatalf("got %q", b)
		}
	}
	stop()
	ready(t, c, "s", got)
	before := skipped.Load()
	if err := errors.Join(c.Publish("skip", nil, nil), c.Publish("s", nil, []byte("next"))); err != nil {
		t.Fatal(err)
	}
	receive(t, got)
	if before != 3 || skipped.Load() != 3 {
		t.Errorf("%d messages before and %d after the end of the subscription, want 3", before, skipped.Load())
	}
}

// TestReconnect takes the server away and brings it back at the same port.
func TestReconnect(t *testing.T) {
	s := startServer(t, 0, nil)
	port := s.Port()
	url, _, _ := strings.Cut(s.URLs()[0], "#")
	c := dial(t, url, nil) // whatever server is there
	got := inbox(t, c, "s")
	ready(t, c, "s", got)
	s.Close()
	failed := false
	for deadline := time.Now().Add(5 * time.Second); !failed && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		err := c.Publish("s", nil, make([]byte, 10_000))
		if failed = err != nil; failed && !errors.Is(err, ErrDisconnected) {
			t.Errorf("a publish without a server: %v", err)
		}
	}
	if !failed {
		t.Error("publishing without a server never fails")
	}
	startServer(t, port, nil)
	ready(t, c, "s", got)
	c.Close()
	if err := c.Publish("s", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestInterrupt frees a reader that waits for the rest of a message.
func TestInterrupt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go fakeServer(c, "MSG s 1 1000\r\nonly the beginning")
		}
	}()
	c := dial(t, "nats://"+l.Addr().String(), nil)
	failed := make(chan error, 10)
	if _, err := c.Subscribe("s", func(d *Delivery) {
		time.AfterFunc(10*time.Millisecond, d.Interrupt())
		_, err := io.ReadFull(d, make([]byte, d.Size()))
		failed <- err
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Error("a message of which half is missing was read whole")
		}
	case <-time.After(10 * time.Second):
		t.Error("the reader waits on")
	}
}

// fakeServer shakes hands, waits for a subscription and says something.
func fakeServer(c net.Conn, text string) {
	r := bufio.NewReader(c)
	fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"max_payload\":1048576}\r\n")
	for {
		line, err := readLine(r)
		if err != nil {
			return
		}
		switch {
		case bytes.Equal(line, []byte("PING")):
			fmt.Fprint(c, "PONG\r\n")
		case bytes.HasPrefix(line, []byte("SUB ")):
			fmt.Fprint(c, text)
		}
	}
}

func certificates(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

func TestTLS(t *testing.T) {
	config := certificates(t)
	s := startServer(t, 0, config)
	if !strings.HasPrefix(s.URLs()[0], "tls://") {
		t.Errorf("URLs %v", s.URLs())
	}
	inside, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	c := dial(t, s.URLs()[0], config)
	got := inbox(t, inside, "s")
	ready(t, c, "s", got)
	want := bytes.Repeat([]byte("secret"), 100_000)
	if err := c.Publish("s", nil, want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(receive(t, got), want) {
		t.Error("the message changed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	anonymous := &tls.Config{RootCAs: config.RootCAs}
	if c, err := Dial(ctx, s.URLs()[0], anonymous, quiet()); err == nil {
		c.Close()
		t.Error("a client without a certificate was let in")
	}
	if _, err := Dial(ctx, strings.Replace(s.URLs()[0], "tls", "nats", 1), nil, quiet()); err == nil {
		t.Error("a client without TLS was let in")
	}
}

func TestDialRefuses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}
	}()
	known := startServer(t, 0, nil).URLs()[0]
	for _, url := range []string{known + "X", "", "http://127.0.0.1:1", "nats://", "tls://127.0.0.1:1", "nats://127.0.0.1:1", "nats://" + l.Addr().String(), "::"} {
		if c, err := Dial(ctx, url, nil, quiet()); err == nil {
			c.Close()
			t.Errorf("%q was dialled", url)
		}
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if _, err := Dial(short, "nats://"+silent.Addr().String(), nil, quiet()); err == nil {
		t.Error("a server that says nothing was dialled")
	}
}

func TestPortInUse(t *testing.T) {
	s := startServer(t, 0, nil)
	if other, err := NewServer("127.0.0.1", s.Port(), nil, quiet()); err == nil {
		other.Close()
		t.Error("two servers on one port")
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("the error does not say why: %v", err)
	}
}

func FuzzProtocol(f *testing.F) {
	f.Add([]byte("INFO {\"max_payload\":1048576}\r\nMSG s 1 5\r\nhello\r\n"))
	f.Add([]byte("MSG s 1 r 18446744073709551616\r\n-ERR 'x'\r\nPING\r\nMSG  1 -1\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReader(bytes.NewReader(stream))
		if line, err := readLine(r); err == nil {
			if i, err := parseInfo(line); err == nil && (i.MaxPayload < 1 || i.MaxPayload > maxMessage) {
				t.Fatalf("max_payload %d", i.MaxPayload)
			}
		}
		s := &Socket{logger: quiet(), subs: map[uint64]*subscription{1: {"s", func(d *Delivery) {
			if n, err := io.Copy(io.Discard, d); err == nil && n > int64(d.Size()) {
				t.Fatalf("%d bytes of a message of %d", n, d.Size())
			}
		}}}, life: t.Context()}
		if err := s.read(r); err == nil {
			t.Fatal("a stream that ends was read without an error")
		}
	})
}
