package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"ressa/coordinator/api"
)

// View follows a job. Event is called from one goroutine at a time; Close ends it
// with the error that the job ended with. A job that was refused is nothing to
// follow: its error says everything, and what a reader of lines would see of it
// is left out.
type View interface {
	Event(api.Event)
	Close(err error)
}

// refused reports whether a job ended before it began.
func refused(err error) bool { return api.ExitCode(err) == api.ExitInvalid }

// NewView returns the view for an output form: JSON lines on out, or progress on
// diagnostics and the closing table on out. live says whether diagnostics is a
// terminal.
func NewView(form Output, out, diagnostics io.Writer, live bool) View {
	switch {
	case form == JSON:
		return &jsonView{json.NewEncoder(out)}
	case live:
		return newLiveView(out, diagnostics)
	}
	return &plainView{out: out, diagnostics: diagnostics}
}

// jsonView writes one object an event, the result last and as itself.
type jsonView struct{ enc *json.Encoder }

func (v *jsonView) Event(e api.Event) {
	// A failed write shows when the process closes its output; a job is not
	// stopped because nobody reads about it.
	if e.Result != nil {
		_ = v.enc.Encode(e.Result)
		return
	}
	_ = v.enc.Encode(e)
}

func (v *jsonView) Close(error) {}

// plainView writes lines, for logs and pipes.
type plainView struct {
	out, diagnostics io.Writer
	last             time.Time
	first            string // the line of the first phase, until something follows it
	result           *api.Result
}

// plainEvery is how often a line about steps is worth reading.
const plainEvery = 5 * time.Second

func (v *plainView) Event(e api.Event) {
	if e.Result != nil {
		v.result = e.Result
		return
	}
	if e.Event == "phase" && e.Phase == "prepare" {
		v.first = phaseLine(e)
		return
	}
	v.begin()
	switch {
	case e.Step != nil:
		if e.Step.Step == e.Step.Steps || time.Since(v.last) > plainEvery {
			v.last = time.Now()
			fmt.Fprintln(v.diagnostics, stepLine(*e.Step))
		}
	case e.Score != nil:
		fmt.Fprintln(v.diagnostics, scoreLine(e))
	case e.Event == "phase":
		fmt.Fprintln(v.diagnostics, phaseLine(e))
	case e.Message != "":
		fmt.Fprintf(v.diagnostics, "  %s\n", e.Message)
	}
}

// begin writes the line of the first phase: the job was not refused in it.
func (v *plainView) begin() {
	if v.first != "" {
		fmt.Fprintln(v.diagnostics, v.first)
		v.first = ""
	}
}

func (v *plainView) Close(err error) {
	if refused(err) {
		return
	}
	v.begin()
	if v.result != nil {
		closing(v.out, *v.result)
	}
}

// liveView keeps one bar at the bottom of a terminal and lines above it.
type liveView struct {
	out      io.Writer
	terminal io.Writer
	progress *mpb.Progress // lives as long as its one bar
	bar      *mpb.Bar
	suffix   atomic.Pointer[string] // read by the bar's own goroutine
	title    string
	result   *api.Result
	started  time.Time
	seen     int
}

func newLiveView(out, diagnostics io.Writer) *liveView {
	return &liveView{out: out, terminal: diagnostics}
}

func (v *liveView) Event(e api.Event) {
	switch {
	case e.Result != nil:
		v.drop()
		v.result = e.Result
	case e.Event == "phase":
		v.drop()
		v.say(phaseLine(e))
	case e.Step != nil:
		s := *e.Step
		v.advance("train", s.Step, s.Steps, fmt.Sprintf("loss %.4f  %s tok/s", s.Loss, rate(s)))
	case e.Event == "progress":
		v.advance(e.Of, e.Done, e.Total, "")
	case e.Score != nil:
		v.drop()
		v.say(scoreLine(e))
	case e.Message != "":
		v.say("  " + e.Message)
	}
}

// say writes a line above the bar, or at the cursor where there is none.
func (v *liveView) say(line string) {
	if v.bar != nil {
		_, _ = fmt.Fprintln(v.progress, line) // a terminal that is gone cannot be told
		return
	}
	fmt.Fprintln(v.terminal, line)
}

func (v *liveView) advance(title string, done, total int, suffix string) {
	if v.bar == nil || v.title != title {
		v.drop()
		v.title, v.started, v.seen = title, time.Now(), done-1
		v.progress = mpb.New(mpb.WithOutput(v.terminal), mpb.WithWidth(36), mpb.WithRefreshRate(120*time.Millisecond))
		none := ""
		v.suffix.Store(&none)
		v.bar = v.progress.AddBar(int64(total), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("  "+title, decor.WC{W: 12, C: decor.DindentRight}), decor.CountersNoUnit("%d/%d", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *v.suffix.Load() })))
	}
	left := time.Duration(0)
	if n := done - v.seen; n > 0 {
		left = time.Since(v.started) / time.Duration(n) * time.Duration(total-done)
	}
	text := fmt.Sprintf(" ETA %s  %s", left.Round(time.Second), suffix)
	v.suffix.Store(&text)
	v.bar.SetCurrent(int64(done))
	if done >= total {
		v.drop()
	}
}

func (v *liveView) drop() {
	if v.bar != nil {
		v.bar.Abort(true)
		v.progress.Wait()
		v.bar, v.title = nil, ""
	}
}

func (v *liveView) Close(err error) {
	v.drop()
	if v.result != nil && !refused(err) {
		closing(v.out, *v.result)
	}
}

func phaseLine(e api.Event) string {
	line := "▸ " + e.Phase
	if e.Message != "" {
		line += ": " + e.Message
	}
	return line
}

func stepLine(s api.Step) string {
	return fmt.Sprintf("  step %d/%d  loss %.4f  ce %.4f  kl %.4f  norm %.3f  lr %.2e  %s tok/s", s.Step, s.Steps, s.Loss, s.CE, s.KL, s.GradNorm, s.LR, rate(s))
}

func rate(s api.Step) string {
	if s.Seconds <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", float64(s.Tokens)/s.Seconds)
}

func scoreLine(e api.Event) string {
	s := e.Score
	return fmt.Sprintf("  %-10s %.2f %%  (%.2f – %.2f, %d of %d)", e.Of, s.Score, s.Low, s.High, s.Correct, s.Questions)
}
