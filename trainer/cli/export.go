package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/trainer/job"
)

// exportReport is what `ressa export -o json` prints.
type exportReport struct {
	Output        string `json:"output"`
	Step          int    `json:"step"`
	Hash          string `json:"weights_sha256,omitempty"`
	AdapterSHA256 string `json:"adapter_sha256"`
}

// ExportCommand returns the verb export.
func ExportCommand() *cobra.Command {
	var m machine
	var s job.ExportSpec
	cmd := &cobra.Command{
		Use:   "export RUN_DIR --output DIR",
		Short: "Write what a run had trained at one of its checkpoints",
		Long: "Merges a checkpoint of a run and writes it as the run's own export does: the sparse\n" +
			"model, its masks and the adapter. The newest checkpoint is taken unless flags say\n" +
			"otherwise. The dtype is the job's, because training rounded to it.",
		Args: exactly("RUN_DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.Best && s.Step != 0 {
				return api.Invalid(errors.New("--best and --step: want one of them"))
			}
			if s.Step < 0 {
				return api.Invalid(fmt.Errorf("--step: found %d, want a step with a checkpoint", s.Step))
			}
			if err := emptyOutput(s.Dir); err != nil {
				return err
			}
			compute := api.ComputeFP32
			if j, err := job.Saved(args[0]); err == nil { // else it is looked at again, and reported
				compute = j.Train.Compute
			}
			return m.on(cmd, filepath.Join(args[0], "output"), compute, func(on job.Machine) error {
				done, err := job.Export(cmd.Context(), job.Options{Dir: args[0], Device: on.Device, Lanes: on.Lanes, Log: m.log(cmd), Now: time.Now}, s)
				if err != nil {
					return err
				}
				r := exportReport{Output: done.Dir, Step: done.Step, Hash: done.Hash, AdapterSHA256: done.AdapterSHA256}
				return m.print(cmd.OutOrStdout(), r, r.table)
			})
		},
	}
	m.register(cmd)
	cmd.Flags().StringVar(&s.Dir, "output", "", "folder that appears (required)")
	cmd.Flags().IntVar(&s.Step, "step", 0, "of the checkpoint; 0 is the newest")
	cmd.Flags().BoolVar(&s.Best, "best", false, "the checkpoint with the best validation score")
	cmd.Flags().BoolVar(&s.AdapterOnly, "adapter-only", false, "the adapter alone, in PEFT's layout")
	return cmd
}

func (r exportReport) table(w io.Writer) {
	fmt.Fprintf(w, "step      %d\nadapter   sha256 %s\n", r.Step, r.AdapterSHA256)
	if r.Hash != "" {
		fmt.Fprintf(w, "weights   sha256 %s\n", r.Hash)
	}
	fmt.Fprintf(w, "output    %s\n", r.Output)
}
