package cli

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
)

func (a *App) logsCommand() *cobra.Command {
	var r remote
	var follow bool
	form := Table
	cmd := &cobra.Command{
		Use:   "logs JOB",
		Short: "Print the log of a job: all its ranks in one stream",
		Args:  Exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if form == YAML {
				return api.Invalid(fmt.Errorf("-o: found yaml, want table or json"))
			}
			patience := patienceOfACall
			if follow {
				patience = patienceOfAJob
			}
			c, err := r.client(patience)
			if err != nil {
				return err
			}
			defer c.Close()
			j, err := find(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			lines := logPrinter{colour: isTerminal(out)}
			_, err = c.Logs(cmd.Context(), j.ID, follow, func(l api.LogLine) error {
				if form == JSON {
					return json.NewEncoder(out).Encode(l)
				}
				_, err := fmt.Fprintln(out, lines.line(l))
				return err
			})
			return err
		},
	}
	r.register(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended")
	cmd.Flags().VarP(&form, "output-format", "o", "table or json (one object a line)")
	complete(cmd, "output-format", string(Table), string(JSON))
	return a.completeFrom(cmd, jobNames(anyJob), false)
}

// logPrinter words lines of a log, with the node before each.
type logPrinter struct {
	colour bool
	widest int // of the nodes so far
}

func (p *logPrinter) line(l api.LogLine) string {
	p.widest = max(p.widest, len(l.Node))
	node := fmt.Sprintf("%-*s", p.widest, l.Node)
	if p.colour {
		node = colourOf(l.Node).Sprint(node)
	}
	return fmt.Sprintf("%s %s %-5s %s", node, l.At.UTC().Format("15:04:05.000"), l.Level, l.Text)
}

// colourOf gives a node the same colour always.
func colourOf(node string) text.Color {
	colours := []text.Color{text.FgCyan, text.FgGreen, text.FgYellow, text.FgMagenta, text.FgBlue, text.FgHiCyan, text.FgHiGreen, text.FgHiYellow}
	h := fnv.New32a()
	h.Write([]byte(node))
	return colours[h.Sum32()%uint32(len(colours))]
}
