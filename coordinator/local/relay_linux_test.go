package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// relay carries packets between two network namespaces, late, and loses some.
type relay struct {
	delay time.Duration
	loss  float64
	ends  [2]*os.File // TUN devices
	moved [2]atomic.Int64
	lost  atomic.Int64
	tasks sync.WaitGroup

	// What may be changed while it runs, beside delay and loss: nothing passes from an
	// end that is cut, everything is late by more, and so many more of 1,000 packets
	// are lost.
	cut   [2]atomic.Bool
	later atomic.Int64 // a time.Duration
	worse atomic.Int64
}

// relayQueue is how many packets may be on the way in one direction; more are lost.
const relayQueue = 4096

// openTun makes a TUN device in a network namespace. Its thread is given up: it
// cannot be trusted to be where it was.
func openTun(namespace, device string) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	out := make(chan opened)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := func() (*os.File, error) {
			ns, err := os.Open(filepath.Join("/run/netns", namespace))
			if err != nil {
				return nil, err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, fmt.Errorf("enter %s: %w", namespace, err)
			}
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, fmt.Errorf("/dev/net/tun: %w", err)
			}
			request, err := unix.NewIfreq(device)
			if err == nil {
				request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
				err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
			}
			if err != nil {
				return nil, errors.Join(err, unix.Close(fd))
			}
			return os.NewFile(uintptr(fd), device), nil
		}()
		out <- opened{f, err}
	}()
	o := <-out
	return o.f, o.err
}

type late struct {
	at     time.Time
	packet []byte
}

// run carries packets from one end to the other until the ends are closed.
func (r *relay) run(from int, seed uint64) {
	queue := make(chan late, relayQueue)
	r.tasks.Go(func() {
		defer close(queue)
		dice := rand.New(rand.NewPCG(seed, uint64(from)))
		packet := make([]byte, 65536)
		for {
			n, err := r.ends[from].Read(packet)
			if err != nil {
				return
			}
			if r.cut[from].Load() || dice.Float64() < r.loss+float64(r.worse.Load())/1000 {
				r.lost.Add(1)
				continue
			}
			select {
			case queue <- late{time.Now().Add(r.delay + time.Duration(r.later.Load())), bytes.Clone(packet[:n])}:
			default:
				r.lost.Add(1)
			}
		}
	})
	r.tasks.Go(func() {
		for p := range queue {
			time.Sleep(time.Until(p.at))
			if _, err := r.ends[1-from].Write(p.packet); err == nil {
				r.moved[from].Add(int64(len(p.packet)))
			}
		}
	})
}
