package cli

import (
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"ressa/coordinator/api"
)

// liveView keeps one bar at the bottom of a terminal, below it a line for each
// node of a job that runs on several, and above it whatever else is said.
type liveView struct {
	out      io.Writer
	terminal io.Writer
	progress *mpb.Progress // what is at the bottom; nil while nothing is
	bar      *mpb.Bar
	suffix   atomic.Pointer[string] // read by the bar's own goroutine
	rows     []*row
	title    string
	result   *api.Result
	opened   time.Time
	started  time.Duration // of the title, since the job started
	seen     int
	losses   []float64 // of the last steps
}

// row is a line that stays at the bottom.
type row struct {
	bar  *mpb.Bar
	text atomic.Pointer[string] // read by the bar's own goroutine
}

func newLiveView(out, diagnostics io.Writer) *liveView {
	return &liveView{out: out, terminal: diagnostics, opened: time.Now()}
}

func (v *liveView) Event(e api.Event) {
	switch {
	case e.Result != nil:
		v.dropAll()
		v.result = e.Result
	case e.Event == "phase":
		v.drop()
		v.say(phaseLine(e))
	case e.Step != nil:
		s := *e.Step
		v.losses = append(v.losses, s.Loss)
		v.losses = v.losses[max(0, len(v.losses)-mostLosses):]
		v.advance("train", s.Step, s.Steps, fmt.Sprintf("loss %.4f %s  %s tok/s", s.Loss, spark(v.losses), rate(s)), v.since(e))
	case e.Event == "progress":
		v.advance(e.Of, e.Done, e.Total, "", v.since(e))
	case e.Score != nil:
		v.drop()
		v.say(scoreLine(e))
	case e.Message != "":
		v.say("  " + e.Message)
	}
}

// mostLosses is how many steps the curve of the loss has.
const mostLosses = 12

// spark draws values in as many characters, the lowest of them at the bottom.
func spark(values []float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	bars := []rune(levels)
	lo, hi := slices.Min(values), slices.Max(values)
	out := make([]rune, len(values))
	for i, x := range values {
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0):
			out[i] = '!'
		case math.IsNaN(lo) || math.IsInf(hi-lo, 0) || hi == lo:
			out[i] = bars[0]
		default:
			out[i] = bars[int(math.Round((x-lo)/(hi-lo)*float64(len(bars)-1)))]
		}
	}
	return string(out)
}

// since is when an event happened, from the start of the job: a job that is
// followed late shows its past at once.
func (v *liveView) since(e api.Event) time.Duration {
	if e.Seconds != nil {
		return time.Duration(*e.Seconds * float64(time.Second))
	}
	return time.Since(v.opened)
}

// say writes a line above what is at the bottom, or at the cursor where there is
// nothing.
func (v *liveView) say(line string) {
	if v.progress != nil {
		_, _ = fmt.Fprintln(v.progress, line) // a terminal that is gone cannot be told
		return
	}
	fmt.Fprintln(v.terminal, line)
}

// open makes the place at the bottom.
func (v *liveView) open() {
	if v.progress == nil {
		v.progress = mpb.New(mpb.WithOutput(v.terminal), mpb.WithWidth(36), mpb.WithRefreshRate(120*time.Millisecond), mpb.WithAutoRefresh())
	}
}

func (v *liveView) advance(title string, done, total int, suffix string, at time.Duration) {
	if v.bar == nil || v.title != title {
		v.drop()
		v.open()
		v.title, v.started, v.seen = title, at, done
		none := ""
		v.suffix.Store(&none)
		v.bar = v.progress.AddBar(int64(total), mpb.BarPriority(0), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("  "+title, decor.WC{W: 12, C: decor.DindentRight}), decor.CountersNoUnit("%d/%d", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *v.suffix.Load() })))
	}
	eta := "–"
	if n := done - v.seen; n > 0 {
		eta = ((at - v.started) / time.Duration(n) * time.Duration(total-done)).Round(time.Second).String()
	}
	text := fmt.Sprintf(" ETA %s  %s", eta, suffix)
	v.suffix.Store(&text)
	v.bar.SetCurrent(int64(done))
	if done >= total {
		v.drop()
	}
}

// Nodes implements [NodeView].
func (v *liveView) Nodes(lines []string) {
	for len(v.rows) > len(lines) {
		v.rows[len(v.rows)-1].bar.Abort(true)
		v.rows = v.rows[:len(v.rows)-1]
	}
	for i := range lines {
		if i == len(v.rows) {
			v.open()
			r := &row{}
			r.text.Store(&lines[i])
			r.bar = v.progress.New(1, mpb.NopStyle(), mpb.BarPriority(1+i), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return *r.text.Load() })))
			v.rows = append(v.rows, r)
		}
		v.rows[i].text.Store(&lines[i])
	}
	v.closeEmpty()
}

// drop takes the bar away.
func (v *liveView) drop() {
	if v.bar != nil {
		v.bar.Abort(true)
		v.bar, v.title = nil, ""
		v.closeEmpty()
	}
}

// dropAll takes everything at the bottom away.
func (v *liveView) dropAll() {
	v.Nodes(nil)
	v.drop()
}

// closeEmpty gives the bottom back when nothing is there.
func (v *liveView) closeEmpty() {
	if v.progress != nil && v.bar == nil && len(v.rows) == 0 {
		v.progress.Wait()
		v.progress = nil
	}
}

func (v *liveView) Close(err error) {
	v.dropAll()
	if v.result != nil && !refused(err) {
		closing(v.out, *v.result)
	}
}
