package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"time"

	kernels "ressa/kernels/cpu/bench"
)

// Entrant is a form as a process that reads a line for each step and answers with
// one, as [Solve] does.
type Entrant struct {
	Form    string
	Command []string
	Env     []string // beside that of this process
}

// Result is what a form did.
type Result struct {
	Form    string         `json:"form"`
	Kind    string         `json:"kind"`
	Lanes   int            `json:"lanes,omitempty"` // microbatches at the same time
	Seconds kernels.Spread `json:"step_seconds"`
	// Ratio is this form's time divided by that of the first, of the same turn.
	Ratio kernels.Spread `json:"ratio"`
	// Processor time of all threads, which other programs disturb less; what a form
	// burns while its threads wait for each other counts.
	Processor      kernels.Spread `json:"processor_seconds"`
	ProcessorRatio kernels.Spread `json:"processor_ratio"`
	// Memory, resident: before the model is opened, with everything loaded, and at most
	// during the steps.
	Baseline int64 `json:"baseline_bytes"`
	Loaded   int64 `json:"loaded_bytes"`
	Peak     int64 `json:"peak_bytes"`
	// Activations is the most that the engine's own pools held, of all lanes.
	Activations int64 `json:"activation_bytes,omitempty"`
	// The peak, whole and above the baseline, divided by that of the first form.
	PeakRatio  float64   `json:"peak_ratio"`
	AboveRatio float64   `json:"peak_above_baseline_ratio"`
	Losses     []float64 `json:"losses"` // of each step, the warm-up first
	// Difference is the greatest relative difference of a loss to that of the first form.
	Difference float64 `json:"loss_difference"`
}

// patience is how long a form may take to load the model or to make a step.
const patience = 10 * time.Minute

// Contest starts all entrants, has each make a step to warm up and then one in each
// turn, in their order. progress is told of each step.
func Contest(ctx context.Context, entrants []Entrant, turns int, progress func(form string, turn int, seconds float64)) (results []Result, err error) {
	children := make([]*child, len(entrants))
	defer func() {
		for _, c := range children {
			c.stop(err != nil)
		}
		if err != nil && ctx.Err() != nil { // what ends with the context fails in other words
			err = ctx.Err()
		}
	}()
	for i, e := range entrants {
		c, err := start(ctx, e)
		if err != nil {
			return nil, err
		}
		children[i] = c
		r := Result{Form: e.Form}
		var first ready
		if err := c.hear(&first); err != nil {
			return nil, err
		}
		r.Kind, r.Lanes, r.Baseline, r.Loaded = first.Kind, first.Lanes, first.Baseline, first.Loaded
		results = append(results, r)
	}
	seconds, processor := make([][]float64, len(entrants)), make([][]float64, len(entrants))
	for turn := range turns + 1 {
		for i, c := range children {
			var m made
			if _, err := io.WriteString(c.in, "step\n"); err != nil {
				return nil, c.failed(err)
			}
			if err := c.hear(&m); err != nil {
				return nil, err
			}
			r := &results[i]
			r.Losses = append(r.Losses, m.Loss)
			r.Peak, r.Activations = max(r.Peak, m.Peak), max(r.Activations, m.Activations)
			if turn > 0 {
				seconds[i], processor[i] = append(seconds[i], m.Seconds), append(processor[i], m.Processor)
			}
			progress(r.Form, turn, m.Seconds)
		}
	}
	for i := range results {
		r, first := &results[i], &results[0]
		r.Seconds, r.Ratio = kernels.SpreadOf(seconds[i]), ratios(seconds[i], seconds[0])
		r.Processor, r.ProcessorRatio = kernels.SpreadOf(processor[i]), ratios(processor[i], processor[0])
		if above := first.Peak - first.Baseline; above > 0 {
			r.PeakRatio, r.AboveRatio = float64(r.Peak)/float64(first.Peak), float64(r.Peak-r.Baseline)/float64(above)
		}
		for k, loss := range r.Losses {
			d := math.Abs(loss-first.Losses[k]) / math.Abs(first.Losses[k])
			if !(d <= r.Difference) { // NaN too
				r.Difference = d
			}
		}
	}
	return results, nil
}

// ratios divides turn by turn.
func ratios(a, b []float64) kernels.Spread { return kernels.SpreadOf(quotients(a, b)) }

func quotients(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for t := range a {
		out[t] = a[t] / b[t]
	}
	return out
}

// child is an entrant's process.
type child struct {
	form  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.Closer // what lines are read from
	lines chan []byte
	said  bytes.Buffer  // on stderr
	over  chan struct{} // closed when nobody reads lines any more
	done  chan struct{}
	err   error // of the process; valid when done is closed
}

func start(ctx context.Context, e Entrant) (*child, error) {
	c := &child{form: e.Form, cmd: exec.CommandContext(ctx, e.Command[0], e.Command[1:]...), lines: make(chan []byte), over: make(chan struct{}), done: make(chan struct{})}
	c.cmd.Env, c.cmd.Stderr, c.cmd.WaitDelay = append(os.Environ(), e.Env...), &c.said, 10*time.Second
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = out
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", e.Form, err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			select {
			case c.lines <- bytes.Clone(lines.Bytes()):
			case <-c.over: // read on, or the process would wait for ever
			}
		}
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// hear reads the next line that the child says.
func (c *child) hear(v any) error { return c.hearWithin(patience, v) }

func (c *child) hearWithin(patience time.Duration, v any) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case line := <-c.lines:
		if err := json.Unmarshal(line, v); err != nil {
			return fmt.Errorf("%s said %q: %w", c.form, line, err)
		}
		return nil
	case <-c.done:
		if c.err == nil {
			return c.failed(errors.New("it ended"))
		}
		// Its exit code is not ours.
		return c.failed(fmt.Errorf("it ended: %v", c.err))
	case <-late.C:
		return c.failed(fmt.Errorf("no answer within %v", patience))
	}
}

// failed says what the child said last.
func (c *child) failed(err error) error {
	said := bytes.TrimSpace(c.said.Bytes())
	if n := len(said); n > 2000 {
		said = said[n-2000:]
	}
	return fmt.Errorf("%s: %w: %s", c.form, err, said)
}

// stop ends the child, at once where asked, and waits for it. A nil child is none.
func (c *child) stop(now bool) {
	if c == nil {
		return
	}
	close(c.over)
	_ = c.in.Close() // it may be gone already
	if now {
		_ = c.cmd.Process.Kill() // it may have ended
	}
	for _, end := range []func() error{c.cmd.Process.Kill, c.out.Close} { // a child of its own may hold the pipe
		select {
		case <-c.done:
			return
		case <-time.After(10 * time.Second):
			_ = end() // there is nothing left to do about it
		}
	}
	<-c.done // bounded by WaitDelay
}
