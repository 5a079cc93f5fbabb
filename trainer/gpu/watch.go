package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// eventWait bounds one wait for an event, and with it the end of a watch.
const eventWait = 500 * time.Millisecond

// errHung is returned in the place of an answer that has not come.
var errHung = errors.New("the driver does not answer")

// watch is a monitor at work. Two goroutines call the driver, one for readings and one
// for events; run, which decides, calls nothing and so never hangs.
type watch struct {
	*Monitor
	asks    chan int // devices to read
	answers chan answer
	events  chan heard

	gpus  []health
	last  []answer // by device
	next  int      // device to be read; len(gpus) when the round is over
	asked time.Time
	busy  bool // the reader has not answered yet

	failing error // of the last wait for events
}

type answer struct {
	device  int
	reading Reading
	err     error
}

// heard is an event, or why none can be heard.
type heard struct {
	event *event
	err   error
}

func newWatch(m *Monitor) *watch {
	w := &watch{Monitor: m, asks: make(chan int, 1), answers: make(chan answer, 1), events: make(chan heard)}
	for i, d := range m.devices {
		w.gpus = append(w.gpus, health{device: d})
		w.last = append(w.last, answer{device: i})
	}
	return w
}

// read answers asks. There is never more than one, so that neither channel blocks.
func (w *watch) read() {
	for i := range w.asks {
		r, err := w.driver.read(i)
		w.answers <- answer{i, r, err}
	}
}

// listen passes events on. After an error it tries again, in case it passes.
func (w *watch) listen(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		e, err := w.driver.wait(eventWait)
		if e != nil || (err != nil) != failing {
			failing = err != nil
			select {
			case w.events <- heard{e, err}:
			case <-ctx.Done():
			}
		}
		if err != nil {
			select {
			case <-time.After(w.Every):
			case <-ctx.Done():
			}
		}
	}
}

// run decides until ctx ends.
func (w *watch) run(ctx context.Context, tell func([]api.Finding)) {
	every := time.NewTicker(w.Every)
	defer every.Stop()
	var told []api.Finding
	first := true // something is told after the first round, or when that hangs
	w.ask()
	for {
		select {
		case a := <-w.answers:
			w.busy, w.last[a.device] = false, a
			if w.next < len(w.gpus) {
				w.ask()
				continue // judged when all have answered
			}
		case h := <-w.events:
			w.hear(h)
			if first {
				continue
			}
		case <-every.C:
			switch {
			case w.busy && w.Now().Sub(w.asked) >= w.Patience:
				w.last[w.next-1].err = fmt.Errorf("%w for %v; no GPU is watched until it does", errHung, w.Patience)
			case w.busy:
				continue
			default:
				w.next = 0
				w.ask()
				continue
			}
		case <-ctx.Done():
			return
		}
		found := w.judge()
		if first || !slices.Equal(found, told) {
			first, told = false, found
			tell(slices.Clone(found))
		}
	}
}

// ask has the next device read.
func (w *watch) ask() {
	w.asks <- w.next
	w.busy, w.asked = true, w.Now()
	w.next++
}

// hear takes an event in. One of a GPU that cannot be told may be of any.
func (w *watch) hear(h heard) {
	w.failing = h.err
	if h.event == nil {
		return
	}
	text, _ := words(h.event.xid)
	w.Logger.Warn("the NVIDIA driver reports", "xid", h.event.xid, "about", text, "gpu", h.event.device)
	for i := range w.gpus {
		if h.event.device == i || h.event.device < 0 {
			w.gpus[i].note(h.event.xid, w.Now())
		}
	}
}

// judge returns all findings, in the order of the devices.
func (w *watch) judge() []api.Finding {
	var out []api.Finding
	if err := cmp.Or(w.failing, w.deaf); err != nil {
		out = append(out, api.Finding{Severity: api.Warn, Reason: fmt.Sprintf("XIDs of GPUs are not heard of: %v", err)})
	}
	for i := range w.gpus {
		out = append(out, w.gpus[i].judge(w.last[i].reading, w.last[i].err, w.Now(), w.Remember)...)
	}
	return out[:min(len(out), api.MaxFindings)]
}
