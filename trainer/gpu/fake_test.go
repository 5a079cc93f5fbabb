package gpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// fake is a driver that says what a test has it say.
type fake struct {
	mu       sync.Mutex
	devices  []Device
	readings []Reading
	errs     []error
	calls    int
	hang     chan struct{} // not nil: reading the device hung waits until it is closed
	hung     int
	openHang chan struct{}
	openErr  error
	events   chan event
	waitErr  error
	closed   chan struct{}
}

func newFake(devices int) *fake {
	f := &fake{readings: make([]Reading, devices), errs: make([]error, devices), events: make(chan event, 8), closed: make(chan struct{})}
	for i := range devices {
		f.devices = append(f.devices, Device{Index: i, UUID: fmt.Sprint("GPU-", i), Slowdown: 90, Shutdown: 95})
	}
	return f
}

func (f *fake) open() error {
	if f.openHang != nil {
		<-f.openHang
	}
	return f.openErr
}
func (f *fake) list() ([]Device, error) { return f.devices, nil }
func (f *fake) listen() error           { return nil }

func (f *fake) read(i int) (Reading, error) {
	f.mu.Lock()
	hang := f.hang
	if i != f.hung {
		hang = nil
	}
	f.calls++
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readings[i], f.errs[i]
}

func (f *fake) wait(d time.Duration) (*event, error) {
	f.mu.Lock()
	err := f.waitErr
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case e := <-f.events:
		return &e, nil
	case <-time.After(min(d, 5*time.Millisecond)):
		return nil, nil
	}
}

func (f *fake) close() error {
	close(f.closed)
	return nil
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func quick() Config {
	c := DefaultConfig()
	c.Every, c.Patience, c.OpenWait, c.Logger = 5*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond, slog.New(slog.DiscardHandler)
	return c
}

// told collects what a watch tells.
type told struct {
	t     *testing.T
	found chan []api.Finding
	now   []string
	end   func()
}

// watching starts a watch of a driver.
func watching(t *testing.T, c Config, d driver) *told {
	t.Helper()
	m, err := open(context.Background(), c, d)
	if err != nil {
		t.Fatal(err)
	}
	return watched(t, m)
}

// watched has a monitor watch.
func watched(t *testing.T, m *Monitor) *told {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	x := &told{t: t, found: make(chan []api.Finding, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Watch(ctx, func(f []api.Finding) { x.found <- f })
	}()
	x.end = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(2 * endWait):
			t.Error("the watch does not end")
		}
	}
	t.Cleanup(x.end)
	return x
}

// until waits until exactly these findings are told, each as "severity reason".
func (x *told) until(want ...string) {
	x.t.Helper()
	for end := time.After(10 * time.Second); ; {
		select {
		case found := <-x.found:
			x.now = nil
			for _, f := range found {
				x.now = append(x.now, f.Severity+" "+f.Reason)
			}
		case <-end:
			x.t.Fatalf("found  %s\nwanted %s", strings.Join(x.now, "\n       "), strings.Join(want, "\n       "))
		}
		if slices.Equal(x.now, want) {
			return
		}
	}
}

func TestAHungDriverBlocksNothing(t *testing.T) {
	f := newFake(3)
	f.hang, f.hung = make(chan struct{}), 1
	x := watching(t, quick(), f)
	x.until("fatal GPU 1 (GPU-1): the driver does not answer for 100ms; no GPU is watched until it does")
	f.mu.Lock()
	calls := f.calls
	f.mu.Unlock()
	f.events <- event{2, 79} // events are heard meanwhile
	x.until("fatal GPU 1 (GPU-1): the driver does not answer for 100ms; no GPU is watched until it does", "fatal GPU 2 (GPU-2): XID 79: GPU has fallen off the bus")
	f.set(func() {
		if f.calls != calls {
			t.Errorf("%d more calls were made while one hung", f.calls-calls)
		}
		close(f.hang)
		f.hang = nil
	})
	x.until("fatal GPU 2 (GPU-2): XID 79: GPU has fallen off the bus")
	x.end()
	<-f.closed
}

// A driver that hangs for ever does not keep the node from ending.
func TestAWatchEndsThoughTheDriverHangs(t *testing.T) {
	f := newFake(1)
	f.hang = make(chan struct{})
	x := watching(t, quick(), f)
	x.until("fatal GPU 0 (GPU-0): the driver does not answer for 100ms; no GPU is watched until it does")
	x.end()
	select {
	case <-f.closed:
		t.Error("the driver was closed during a call")
	default:
	}
	close(f.hang)
	<-f.closed // when it is back
}

func TestOpeningThatHangs(t *testing.T) {
	f := newFake(1)
	f.openHang = make(chan struct{})
	_, err := open(context.Background(), quick(), f)
	if err == nil || errors.Is(err, ErrNone) || err.Error() != "the NVIDIA driver has not answered for 100ms" {
		t.Errorf("opened with %v", err)
	}
	close(f.openHang)
	<-f.closed // nobody wants it any more
}

func TestNoDevices(t *testing.T) {
	f := newFake(0)
	if _, err := open(context.Background(), quick(), f); !errors.Is(err, ErrNone) {
		t.Errorf("opened with %v", err)
	}
	<-f.closed
}

func TestEventsThatCannotBeHeard(t *testing.T) {
	f := newFake(1)
	f.waitErr = errors.New("wait for events: unknown error")
	x := watching(t, quick(), f)
	x.until("warn XIDs of GPUs are not heard of: wait for events: unknown error")
	f.set(func() { f.waitErr = nil })
	f.events <- event{0, 48}
	x.until("fatal GPU 0 (GPU-0): XID 48: double-bit ECC error")
}
