package gpu

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is said of a GPU in the course of its readings.
func TestJudging(t *testing.T) {
	warm := Device{Index: 3, UUID: "GPU-x", Slowdown: 90, Shutdown: 95}
	at := func(celsius int) Reading { return Reading{Temperature: celsius} }
	ecc := func(n uint64) Reading { return Reading{ECC: true, Uncorrected: n} }
	type turn struct {
		reading Reading
		err     error
		xid     uint64
		want    string
	}
	for name, c := range map[string]struct {
		device Device
		turns  []turn
	}{
		"well": {warm, []turn{{reading: at(89)}}},
		"hot and cooling": {warm, []turn{
			{reading: at(90), want: "warn 90 °C, it slows down from 90 °C on"}, {reading: at(89)},
			{reading: at(95), want: "fatal 95 °C, it switches itself off at 95 °C"},
			{reading: at(91), want: "fatal 91 °C, it switches itself off at 95 °C"}, {reading: at(89)},
			{reading: at(91), want: "warn 91 °C, it slows down from 90 °C on"},
		}},
		"no thresholds":        {Device{Index: 3, UUID: "GPU-x"}, []turn{{reading: at(200)}}},
		"no slowdown":          {Device{Index: 3, UUID: "GPU-x", Shutdown: 95}, []turn{{reading: at(96), want: "fatal 96 °C, it switches itself off at 95 °C"}, {reading: at(94)}}},
		"memory errors":        {warm, []turn{{reading: ecc(0)}, {reading: ecc(1), want: "fatal 1 uncorrectable memory error since this node started"}, {reading: ecc(3), want: "fatal 3 uncorrectable memory errors since this node started"}}},
		"memory errors before": {warm, []turn{{reading: ecc(2), want: "warn 2 uncorrectable memory errors before this node started, since the driver was loaded"}, {reading: ecc(3), want: "fatal 1 uncorrectable memory error since this node started"}, {reading: ecc(0)}}},
		"no ECC":               {warm, []turn{{reading: Reading{Uncorrected: 7}}}},
		"remapping": {warm, []turn{
			{reading: Reading{RemapPending: true}, want: "warn memory rows are remapped at its next reset"},
			{reading: Reading{RemapPending: true, RemapFailed: true}, want: "fatal broken memory could not be replaced: row remapping failed; warn memory rows are remapped at its next reset"},
			{reading: Reading{RetirePending: true}, want: "warn memory pages are retired at its next reset"}, {},
		}},
		"XIDs": {warm, []turn{
			{xid: 13}, {xid: 31}, {xid: 63, want: "warn XID 63: GPU memory is remapped or retired at its next reset"},
			{xid: 94, want: "warn XID 63: GPU memory is remapped or retired at its next reset; fatal XID 94: contained memory error"},
			{xid: 999, want: "fatal XID 94: contained memory error; warn XID 999"}, // an hour has passed since 63
			{xid: 48, want: "fatal XID 48: double-bit ECC error; fatal XID 94: contained memory error; warn XID 999"},
		}},
		"lost": {warm, []turn{
			{xid: 79, err: errLost, want: "fatal XID 79: GPU has fallen off the bus; fatal GPU is lost: the driver does not reach it any more"},
		}},
		"gone and back": {warm, []turn{{err: errGone, want: "fatal it is not there any more"}, {}}},
		"needs a reset": {warm, []turn{{err: errSick, want: "fatal it needs a reset"}}},
		"unknown":       {warm, []turn{{err: errors.New("temperature: no"), want: "warn its health is not known: temperature: no"}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := health{device: c.device}
			now := time.Unix(0, 0)
			for i, turn := range c.turns {
				now = now.Add(20 * time.Minute)
				if i == 4 {
					now = now.Add(time.Hour)
				}
				if turn.xid != 0 {
					h.note(turn.xid, now)
				}
				var got []string
				for _, f := range h.judge(turn.reading, turn.err, now, time.Hour) {
					text, ok := strings.CutPrefix(f.Reason, "GPU 3 (GPU-x): ")
					if !ok || f.UUID != "GPU-x" || f.Device != "" {
						t.Errorf("turn %d: %+v does not name its device", i, f)
					}
					got = append(got, fmt.Sprint(f.Severity, " ", text))
				}
				if strings.Join(got, "; ") != turn.want {
					t.Errorf("turn %d: found %q, want %q", i, got, turn.want)
				}
			}
		})
	}
}

// Each XID is in one table.
func TestXIDsHaveOneMeaning(t *testing.T) {
	for xid := range uint64(300) {
		_, fatal := fatalXIDs[xid]
		_, mild := mildXIDs[xid]
		if n := slices.DeleteFunc([]bool{fatal, mild, applicationXIDs[xid]}, func(in bool) bool { return !in }); len(n) > 1 {
			t.Errorf("XID %d is in %d tables", xid, len(n))
		}
		if _, is := words(xid); is != fatal {
			t.Errorf("XID %d: fatal %v, want %v", xid, is, fatal)
		}
	}
	for _, xid := range []uint64{48, 64, 74, 79, 94, 95, 119, 120} {
		if _, fatal := words(xid); !fatal {
			t.Errorf("XID %d is not fatal", xid)
		}
	}
}
