package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

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
