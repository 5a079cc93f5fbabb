package gpu

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"ressa/coordinator/api"
)

// Errors of a driver about one GPU.
var (
	errLost = errors.New("GPU is lost: the driver does not reach it any more")
	errGone = errors.New("it is not there any more")
	errSick = errors.New("it needs a reset")
)

// health is what is remembered of one GPU, to judge it by.
type health struct {
	device Device
	known  bool   // base is
	base   uint64 // uncorrected errors that are not this process's concern
	hot    bool   // was about to switch itself off
	xids   map[uint64]time.Time
}

// note takes an XID in.
func (h *health) note(xid uint64, now time.Time) {
	if applicationXIDs[xid] {
		return
	}
	if h.xids == nil {
		h.xids = map[uint64]time.Time{}
	}
	h.xids[xid] = now
}

// judge says what is wrong with the GPU by a reading of it, or by why there is none.
// Mild XIDs are told for some time, so that they are seen.
func (h *health) judge(r Reading, err error, now time.Time, remember time.Duration) []api.Finding {
	var out []api.Finding
	say := func(severity, format string, v ...any) {
		out = append(out, api.Finding{UUID: h.device.UUID, Severity: severity, Reason: h.device.String() + ": " + fmt.Sprintf(format, v...)})
	}
	for _, xid := range slices.Sorted(maps.Keys(h.xids)) {
		text, fatal := words(xid)
		switch {
		case fatal:
			say(api.Fatal, "%s", text)
		case now.Sub(h.xids[xid]) <= remember:
			say(api.Warn, "%s", text)
		default:
			delete(h.xids, xid)
		}
	}
	switch {
	case errors.Is(err, errLost), errors.Is(err, errGone), errors.Is(err, errSick), errors.Is(err, errHung):
		say(api.Fatal, "%v", err)
		return out
	case err != nil:
		say(api.Warn, "its health is not known: %v", err)
		return out
	}
	h.memory(r, say)
	h.temperature(r, say)
	return out
}

func (h *health) memory(r Reading, say func(severity, format string, v ...any)) {
	if r.ECC {
		if !h.known || r.Uncorrected < h.base { // the counter begins anew with the driver
			h.known, h.base = true, r.Uncorrected
		}
		if n := r.Uncorrected - h.base; n > 0 {
			say(api.Fatal, "%s since this node started", errorsOf(n))
		} else if h.base > 0 {
			say(api.Warn, "%s before this node started, since the driver was loaded", errorsOf(h.base))
		}
	}
	if r.RemapFailed {
		say(api.Fatal, "broken memory could not be replaced: row remapping failed")
	}
	if r.RemapPending {
		say(api.Warn, "memory rows are remapped at its next reset")
	}
	if r.RetirePending {
		say(api.Warn, "memory pages are retired at its next reset")
	}
}

func errorsOf(n uint64) string {
	if n == 1 {
		return "1 uncorrectable memory error"
	}
	return fmt.Sprintf("%d uncorrectable memory errors", n)
}

// temperature judges heat. A GPU that was about to switch itself off is well again
// only when it does not even slow down any more: it would be so again at once.
func (h *health) temperature(r Reading, say func(severity, format string, v ...any)) {
	d, t := h.device, r.Temperature
	cool := d.Slowdown
	if cool == 0 || cool > d.Shutdown {
		cool = d.Shutdown
	}
	if d.Shutdown > 0 {
		h.hot = t >= d.Shutdown || h.hot && t >= cool
	}
	switch {
	case h.hot:
		say(api.Fatal, "%d °C, it switches itself off at %d °C", t, d.Shutdown)
	case d.Slowdown > 0 && t >= d.Slowdown:
		say(api.Warn, "%d °C, it slows down from %d °C on", t, d.Slowdown)
	}
}
