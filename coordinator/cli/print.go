package cli

import (
	"encoding/json"
	"io"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// printer writes an answer in the form that -o asks for.
type printer struct {
	out  io.Writer
	form Output
}

func registerForm(cmd *cobra.Command, form *Output) {
	cmd.Flags().VarP(form, "output-format", "o", "table, json or yaml")
	complete(cmd, "output-format", string(Table), string(JSON), string(YAML))
}

// print writes v as JSON or YAML, which have the same keys, or has table write it.
func (p printer) print(v any, table func(w io.Writer)) error {
	if p.form == Table {
		table(p.out)
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if p.form == YAML {
		if raw, err = yaml.JSONToYAML(raw); err != nil {
			return err
		}
	} else {
		raw = append(raw, '\n')
	}
	_, err = p.out.Write(raw)
	return err
}

// grid is a table under a header, in the style of all of them. Columns that are
// numbers are named in right, counted from 1.
func grid(w io.Writer, header table.Row, rows []table.Row, right ...int) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	t.AppendRows(rows)
	columns := make([]table.ColumnConfig, len(header))
	for i := range columns {
		columns[i] = table.ColumnConfig{Number: i + 1, WidthMax: widestColumn}
	}
	for _, n := range right {
		columns[n-1].Align = text.AlignRight
	}
	t.SetColumnConfigs(columns)
	t.Render()
}

// widestColumn is where the text of a column is wrapped.
const widestColumn = 60
