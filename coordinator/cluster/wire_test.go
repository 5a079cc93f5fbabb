package cluster

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"ressa/coordinator/state"
)

// hole is a listener whose dialled connections swallow everything while it is open.
type hole struct {
	net.Listener
	open *atomic.Bool
}

// Dial implements raft.StreamLayer.
func (h hole) Dial(a raft.ServerAddress, wait time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", string(a), wait)
	return swallowing{c, h.open}, err
}

type swallowing struct {
	net.Conn
	open *atomic.Bool
}

func (c swallowing) Write(b []byte) (int, error) {
	if c.open.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c swallowing) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.open.Load() {
			return n, err
		}
	}
}

// A member whose packets are lost for a while, in the middle of much replication, has
// everything once they arrive again, and who led ends when asked to.
func TestLostPacketsDoNotEndReplication(t *testing.T) {
	const wait = 150 * time.Millisecond
	quiet := hclog.NewNullLogger()
	var all []*raft.Raft
	var machines []*state.FSM
	var lost atomic.Bool // what the first sends to the others
	for i := range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		open := &lost
		if i > 0 {
			open = &atomic.Bool{}
		}
		wire := newWire(hole{l, open}, wait, quiet)
		t.Cleanup(func() { _ = wire.Close() }) // may be closed
		c := raft.DefaultConfig()
		c.LocalID, c.Logger = raft.ServerID(fmt.Sprint(i)), quiet
		// The first stays leader while it hears nobody.
		c.LeaderLeaseTimeout, c.HeartbeatTimeout, c.ElectionTimeout = time.Minute, time.Minute, time.Minute
		if i == 0 {
			c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
		}
		machines = append(machines, state.NewFSM())
		r, err := raft.NewRaft(c, machines[i], raft.NewInmemStore(), raft.NewInmemStore(), raft.NewInmemSnapshotStore(), wire)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
		if i == 0 {
			err = r.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: "0", Address: wire.LocalAddr()}}}).Error()
		} else {
			leads(t, all[0])
			err = all[0].AddNonvoter("1", wire.LocalAddr(), 0, time.Minute).Error()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond): // no more than the other can take in
					_ = all[0].Barrier(time.Second).Error() // ends the test where none succeeds any more
				}
			}
		})
	}
	for range 8 {
		lost.Store(true)
		time.Sleep(2 * wait)
		lost.Store(false)
		reached := all[0].LastIndex()
		for late := time.Now().Add(10 * time.Second); all[1].LastIndex() < reached; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(late) {
				close(stop)
				t.Fatalf("the other has %d of %d entries long after packets arrive again", all[1].LastIndex(), reached)
			}
		}
	}
	close(stop)
	flood.Wait()
	for _, r := range all {
		ended := make(chan error, 1)
		go func() { ended <- r.Shutdown().Error() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a member does not end")
		}
	}
}

func leads(t *testing.T, r *raft.Raft) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); r.State() != raft.Leader; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("nobody leads")
		}
	}
}
