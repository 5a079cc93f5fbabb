package objectstest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStream is a cluster of NATS servers with one object store.
type JetStream struct {
	Bucket string

	t       testing.TB
	options []*server.Options
	servers []*server.Server
}

// StartJetStream starts n servers on loopback and makes an object store with a
// replica on each.
func StartJetStream(t testing.TB, n int) *JetStream {
	t.Helper()
	j := &JetStream{Bucket: "checkpoints", t: t, servers: make([]*server.Server, n)}
	dir := t.TempDir()
	var routes []*url.URL
	for i := range n {
		o := &server.Options{ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: filepath.Join(dir, fmt.Sprint(i)),
			NoLog: true, NoSigs: true, SyncAlways: true}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: freePort(t)}
			routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", o.Cluster.Port)})
		}
		j.options = append(j.options, o)
	}
	for i := range n {
		j.options[i].Routes = routes
		j.start(i)
	}
	t.Cleanup(j.Stop)
	for i := range n {
		j.ready(i)
	}
	js, done := j.client()
	defer done()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) { // until the servers have chosen a leader
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: j.Bucket, Replicas: n})
		cancel()
		if err == nil {
			return j
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// dial names the servers for a client.
func (j *JetStream) dial() string {
	var out []string
	for _, o := range j.options {
		out = append(out, fmt.Sprintf("127.0.0.1:%d", o.Port))
	}
	return "nats://" + strings.Join(out, ",")
}

// URL is the value of train.checkpoint_store.
func (j *JetStream) URL() string { return j.dial() + "/" + j.Bucket }

func (j *JetStream) client() (js jetstream.JetStream, done func()) {
	j.t.Helper()
	conn, err := nats.Connect(j.dial())
	if err != nil {
		j.t.Fatal(err)
	}
	if js, err = jetstream.New(conn); err != nil {
		j.t.Fatal(err)
	}
	return js, conn.Close
}

// Names are the names of all objects.
func (j *JetStream) Names() (names []string) {
	j.t.Helper()
	js, done := j.client()
	defer done()
	store, err := js.ObjectStore(j.t.Context(), j.Bucket)
	if err != nil {
		j.t.Fatal(err)
	}
	list, err := store.List(j.t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		j.t.Fatal(err)
	}
	for _, o := range list {
		names = append(names, o.Name)
	}
	return names
}

func (j *JetStream) start(i int) {
	j.t.Helper()
	s, err := server.NewServer(j.options[i].Clone())
	if err != nil {
		j.t.Fatal(err)
	}
	s.Start()
	j.servers[i] = s
}

func (j *JetStream) ready(i int) {
	j.t.Helper()
	if !j.servers[i].ReadyForConnections(time.Minute) {
		j.t.Fatal("a NATS server does not start")
	}
}

// Start starts the servers that were stopped.
func (j *JetStream) Start() {
	j.t.Helper()
	for i, s := range j.servers {
		if s == nil {
			j.start(i)
		}
	}
	for i := range j.servers {
		j.ready(i)
	}
}

// Stop stops all servers.
func (j *JetStream) Stop() {
	for i := range j.servers {
		j.Kill(i)
	}
}

// Kill stops one server.
func (j *JetStream) Kill(i int) {
	if s := j.servers[i]; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		j.servers[i] = nil
	}
}
