package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/waterfall"
	"ressa/shard"
)

const (
	plainWidth = 120 // columns where there is no terminal
	leastWidth = 80
	// otherColumns are mark, service, microbatch, bytes, duration and what parts them.
	otherColumns = 39
	widestLabel  = 28
)

// width returns how many columns there are to draw on.
func (a *App) width(w io.Writer) int {
	n := 0
	if text, ok := a.Environment.Lookup("COLUMNS"); ok {
		n, _ = strconv.Atoi(text) // what is no number is not set
	}
	if f, ok := w.(*os.File); ok && n == 0 {
		n, _, _ = term.GetSize(int(f.Fd())) // 0 where it is no terminal
	}
	if n == 0 {
		n = plainWidth
	}
	return min(max(n, leastWidth), 400)
}

// drawing is how a trace is drawn.
type drawing struct {
	width  int
	colour bool
}

// trace draws a waterfall.
func (d drawing) trace(w io.Writer, t api.Trace) {
	c := waterfall.Of(t)
	d.title(w, t, c)
	label := 0
	for _, g := range c.Groups {
		for _, r := range g.Rows {
			label = max(label, text.StringWidth(name(r)))
		}
	}
	label = min(label, widestLabel)
	bars := d.width - label - otherColumns
	for _, g := range c.Groups {
		fmt.Fprintf(w, "\n%s\n", oneLine(g.Node))
		for _, r := range g.Rows {
			mark, microbatch, bytes := " ", "", ""
			if r.Critical {
				mark = "*"
			}
			if n, ok := waterfall.Attribute(r.Span, string(telemetry.Microbatch)); ok {
				microbatch = strconv.FormatInt(n, 10)
			}
			if n, ok := waterfall.Attribute(r.Span, string(telemetry.Bytes)); ok {
				bytes = shard.Bytes(n)
			}
			fmt.Fprintf(w, "%s %s %s %3s %9s %7s ms |%s|\n", mark, cell(name(r), label), cell(oneLine(strings.TrimPrefix(r.Service, "ressa-")), 8), microbatch, bytes,
				milliseconds(r.End.Sub(r.Start)), d.bar(r, c, bars))
			if r.Error != "" {
				fmt.Fprintf(w, "  failed: %s\n", oneLine(r.Error))
			}
		}
	}
}

// cell makes a text as wide as a column.
func cell(s string, width int) string { return text.Pad(text.Snip(s, width, "…"), width, ' ') }

// title says what a trace is of, and what its critical path is made of.
func (d drawing) title(w io.Writer, t api.Trace, c waterfall.Chart) {
	nodes := map[string]bool{}
	for _, g := range c.Groups {
		nodes[g.Node] = true
	}
	took := c.End.Sub(c.Begin)
	if c.Step != nil {
		took = c.Step.End.Sub(c.Step.Start)
	}
	fmt.Fprintf(w, "step %d of job %s, generation %d: %s ms, %d spans of %d nodes, trace %s\n", t.Step, t.Job, t.Generation, milliseconds(took), len(t.Spans), len(nodes), t.TraceID)
	if len(c.Path) == 0 {
		return
	}
	type share struct {
		name  string
		count int
		took  time.Duration
	}
	known := map[string]api.Span{}
	for _, s := range t.Spans {
		known[s.ID] = s
	}
	by := map[string]*share{}
	var upTo time.Time
	var spent time.Duration
	for _, id := range c.Path {
		s := known[id]
		x := by[s.Name]
		if x == nil {
			x = &share{name: oneLine(s.Name)}
			by[s.Name] = x
		}
		x.count++
		from := s.Start
		if from.Before(upTo) {
			from = upTo // what came before counts there
		}
		if s.End.After(from) {
			x.took += s.End.Sub(from)
			spent += s.End.Sub(from)
			upTo = s.End
		}
	}
	var shares []*share
	for _, x := range by {
		shares = append(shares, x)
	}
	slices.SortFunc(shares, func(a, b *share) int { return cmp.Or(cmp.Compare(b.took, a.took), cmp.Compare(a.name, b.name)) })
	var parts []string
	for _, x := range shares {
		parts = append(parts, fmt.Sprintf("%s %d× %s ms", x.name, x.count, milliseconds(x.took)))
	}
	if rest := took - spent; rest > 0 {
		parts = append(parts, fmt.Sprintf("between them %s ms", milliseconds(rest)))
	}
	fmt.Fprintf(w, "critical path (*): %s\n", strings.Join(parts, ", "))
}

// name is a row's label.
func name(r waterfall.Row) string { return strings.Repeat("  ", r.Depth) + oneLine(r.Name) }

// oneLine makes a text printable that came from elsewhere.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/1e6, 'f', 1, 64)
}

// bar draws when a span was: full on the critical path, light where it waited.
func (d drawing) bar(r waterfall.Row, c waterfall.Chart, width int) string {
	width = max(width, 10)
	at := func(t time.Time) int {
		all := c.End.Sub(c.Begin)
		if all <= 0 {
			return 0
		}
		return int(float64(width) * float64(t.Sub(c.Begin)) / float64(all))
	}
	lo := min(at(r.Start), width-1)
	hi := min(max(at(r.End), lo+1), width)
	ink := "▒"
	switch {
	case r.Critical:
		ink = "█"
	case r.Span.Name == "activations.recv":
		ink = "░"
	}
	line := strings.Repeat(ink, hi-lo)
	if d.colour && r.Critical {
		line = text.FgRed.Sprint(line)
	}
	return strings.Repeat(" ", lo) + line + strings.Repeat(" ", width-hi)
}
