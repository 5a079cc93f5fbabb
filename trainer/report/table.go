package report

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"ressa/coordinator/api"
)

// Table writes the closing table of a job.
func Table(w io.Writer, r api.Result) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"model", "score %", "95 % interval", "questions", "by kind %"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight}})
	for _, row := range Bars(r) {
		s := row.Score
		t.AppendRow(table.Row{row.Name, fmt.Sprintf("%.2f", s.Score), fmt.Sprintf("%.2f – %.2f", s.Low, s.High), s.Questions, kinds(s)})
	}
	t.Render()
}

// Bars returns the scores of a result in the order of a report.
func Bars(r api.Result) []Bar {
	var out []Bar
	for _, b := range []struct {
		name  string
		score *api.Score
	}{{"dense", r.Dense}, {"pruned", r.Pruned}, {"repaired", r.Repaired}, {"blind", r.Blind}} {
		if b.score != nil {
			out = append(out, Bar{b.name, *b.score})
		}
	}
	return out
}

func kinds(s api.Score) string {
	out := ""
	for i, k := range s.Kinds {
		if i > 0 {
			out += "  "
		}
		out += fmt.Sprintf("%s %.1f", k.Kind, k.Score)
	}
	return out
}
