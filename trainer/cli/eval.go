package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/trainer/job"
)

// assessment is what `ressa eval -o json` prints.
type assessment struct {
	Model string `json:"model"`
	Data  string `json:"data"`
	DType string `json:"dtype"`
	Kind  string `json:"numeric_kind"`
	api.Score
	Blind *api.Score `json:"blind,omitempty"`
}

// EvalCommand returns the verb eval.
func EvalCommand() *cobra.Command {
	var m machine
	var c conversations
	j := api.Default()
	var dtype string
	var blind bool
	cmd := &cobra.Command{
		Use:   "eval MODEL",
		Short: "Score a checkpoint, dense or sparse, on a data set",
		Long: "Asks a Hugging Face folder, or the shipped model where MODEL is demo, the questions\n" +
			"of a data set and prints the share of right answers with its 95 % Wilson interval.\n" +
			"An exported checkpoint scores exactly what the job that trained it reported, given\n" +
			"the job's data, template, batch and number of new tokens.",
		Args: exactly("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := dtypeFlag(dtype); err != nil {
				return err
			}
			if err := c.settle(); err != nil {
				return err
			}
			j.Name, j.Model.Path, j.Data.Train = "flags", args[0], c.source
			if err := j.Validate(); err != nil {
				return api.Invalid(flagError{err})
			}
			return m.on(cmd, args[0], api.ComputeFP32, func(on job.Machine) error {
				found, err := job.Assess(cmd.Context(), on, job.AssessSpec{Model: c.subject(args[0]), Data: c.source,
					DataField: "--data", Seed: c.seed, DType: dtype, Batch: j.Evaluate.Batch, MaxNew: j.Evaluate.MaxNewTokens, Blind: blind})
				if err != nil {
					return rephrase(err)
				}
				a := assessment{Model: args[0], Data: c.describe(), DType: found.DType.String(), Kind: on.Device.Kind(), Score: found.Score, Blind: found.Blind}
				return m.print(cmd.OutOrStdout(), a, a.table)
			})
		},
	}
	m.register(cmd)
	c.register(cmd, "test")
	cmd.Flags().StringVar(&dtype, "dtype", "", "that weights are rounded to: bf16 or fp32 (default: as they are stored)")
	cmd.Flags().IntVar(&j.Evaluate.Batch, "batch", j.Evaluate.Batch, "questions at once")
	cmd.Flags().IntVar(&j.Evaluate.MaxNewTokens, "max-new-tokens", j.Evaluate.MaxNewTokens, "length of an answer at most")
	cmd.Flags().BoolVar(&blind, "blind", false, "also score with the image zeroed")
	return cmd
}

func (a assessment) table(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"", "score %", "95 % interval", "right", "questions", "by kind %"})
	row := func(name string, s api.Score) {
		kinds := make([]string, len(s.Kinds))
		for i, k := range s.Kinds {
			kinds[i] = fmt.Sprintf("%s %.1f", k.Kind, k.Score)
		}
		t.AppendRow(table.Row{name, fmt.Sprintf("%.2f", s.Score), fmt.Sprintf("%.2f – %.2f", s.Low, s.High), s.Correct, s.Questions, strings.Join(kinds, "  ")})
	}
	row(a.Model, a.Score)
	if a.Blind != nil {
		row("blind", *a.Blind)
	}
	t.Render()
}
