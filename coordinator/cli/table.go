package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"ressa/coordinator/api"
)

// closing writes what a finished job amounts to.
func closing(w io.Writer, r api.Result) {
	if r.State != api.Succeeded {
		fmt.Fprintf(w, "%s %s after %.1f s\n", r.Job, r.State, r.Seconds)
		return
	}
	if scores := r.Scores(); len(scores) > 0 {
		scoreTable(w, scores)
	}
	if r.Recovery != nil {
		fmt.Fprintf(w, "recovery  %.3f of what pruning to %s lost\n", *r.Recovery, r.Pattern)
	}
	for _, tower := range []string{"vision", "language"} {
		if s, ok := r.Sparsity[tower]; ok {
			fmt.Fprintf(w, "sparsity  %-9s %.2f %%\n", tower, 100*s)
		}
	}
	fmt.Fprintf(w, "adapter   sha256 %s\n", r.AdapterSHA256)
	fmt.Fprintf(w, "output    %s\n", r.Output)
	fmt.Fprintf(w, "%d steps in %.1f s on %s\n", r.Steps, r.Seconds, r.NumericKind)
}

func scoreTable(w io.Writer, scores []api.NamedScore) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"model", "score %", "95 % interval", "questions", "by kind %"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight}})
	for _, s := range scores {
		t.AppendRow(table.Row{s.Name, fmt.Sprintf("%.2f", s.Score.Score), fmt.Sprintf("%.2f – %.2f", s.Low, s.High), s.Questions, kinds(s.Score)})
	}
	t.Render()
}

func kinds(s api.Score) string {
	parts := make([]string, len(s.Kinds))
	for i, k := range s.Kinds {
		parts[i] = fmt.Sprintf("%s %.1f", k.Kind, k.Score)
	}
	return strings.Join(parts, "  ")
}
