package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/trainer/job"
)

// sparseReport is what `ressa prune -o json` prints.
type sparseReport struct {
	Output   string             `json:"output"`
	Hash     string             `json:"weights_sha256"`
	DType    string             `json:"dtype"`
	Patterns map[string]string  `json:"patterns"` // by tower
	Sparsity map[string]float64 `json:"sparsity"` // by tower, over its masked layers
	Layers   []api.Layer        `json:"layers"`
	Doubts   []string           `json:"doubtful_zeros"`
}

// PruneCommand returns the verb prune.
func PruneCommand() *cobra.Command {
	var m machine
	var c conversations
	j := api.Default()
	var output, dtype string
	var arrives bool
	cmd := &cobra.Command{
		Use:   "prune MODEL --output DIR",
		Short: "Write the pruned checkpoint of a model with its masks, or take in one that arrives pruned",
		Long: "Prunes both towers of a Hugging Face folder, or of the shipped model where MODEL is\n" +
			"demo, and writes a checkpoint with exact zeros and masks.safetensors.\n\n" +
			"With --import, MODEL is a checkpoint that arrives pruned. Its masks are derived from\n" +
			"its zeros once, or verified where it brings masks.safetensors; zeros that the\n" +
			"pattern does not explain are listed. --pattern then says what the zeros must\n" +
			"fulfil; without it the tightest pattern is inferred. A job uses the masks of the\n" +
			"folder that is written through prune.masks.",
		Args: exactly("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(m.check(), dtypeFlag(dtype)); err != nil {
				return err
			}
			if err := emptyOutput(output); err != nil {
				return err
			}
			var run func(job.Machine) (job.Sparse, error)
			if arrives {
				if err := j.Prune.Validate(); err != nil {
					return api.Invalid(flagError{err})
				}
				p := api.Prune{Vision: j.Prune.Vision, Language: j.Prune.Language}
				if cmd.Flags().Changed("pattern") {
					p.Pattern = j.Prune.Pattern
				}
				run = func(on job.Machine) (job.Sparse, error) {
					return job.Import(cmd.Context(), on, job.ImportSpec{Model: job.SubjectOptions{Dir: args[0]}, Prune: p, DType: dtype, Dir: output})
				}
			} else {
				if err := pruneFlags(&c, j); err != nil {
					return err
				}
				run = func(on job.Machine) (job.Sparse, error) {
					return job.Prune(cmd.Context(), on, job.PruneSpec{Model: c.subject(args[0]), Prune: j.Prune, Data: c.source, DataField: "--data",
						Seed: c.seed, DType: dtype, Dir: output})
				}
			}
			return m.on(cmd, args[0], api.ComputeFP32, func(on job.Machine) error {
				s, err := run(on)
				if err != nil {
					return rephrase(err)
				}
				r := sparseReport{Output: s.Dir, Hash: s.Hash, DType: s.DType.String(), Patterns: s.Patterns, Sparsity: s.Sparsity, Layers: s.Layers, Doubts: s.Doubts}
				if r.Doubts == nil {
					r.Doubts = []string{}
				}
				return m.print(cmd.OutOrStdout(), r, r.table)
			})
		},
	}
	m.register(cmd)
	c.register(cmd, "train")
	cmd.Flags().StringVar(&output, "output", "", "folder of the sparse checkpoint (required)")
	cmd.Flags().StringVar(&dtype, "dtype", "", "of the written weights: bf16 or fp32 (default: as they are stored)")
	cmd.Flags().StringVar(&j.Prune.Pattern, "pattern", j.Prune.Pattern, "unstructured:RATIO or N:M, both towers")
	cmd.Flags().StringVar(&j.Prune.Vision, "vision", "", "the vision tower's own pattern; dense leaves it alone")
	cmd.Flags().StringVar(&j.Prune.Language, "language", "", "the language tower's own pattern; dense leaves it alone")
	cmd.Flags().StringVar(&j.Prune.Method, "method", j.Prune.Method, "wanda (needs data) or magnitude")
	cmd.Flags().IntVar(&j.Prune.CalibrationSamples, "calibration-samples", j.Prune.CalibrationSamples, "samples of the data for wanda")
	cmd.Flags().BoolVar(&arrives, "import", false, "MODEL arrives pruned: derive or verify its masks")
	return cmd
}

// pruneFlags checks the flags of pruning in the job file's words.
func pruneFlags(c *conversations, j api.Job) error {
	if err := c.settle(); err != nil {
		return err
	}
	j.Name, j.Model.Path, j.Data.Train = "flags", job.DemoModel, c.source
	if j.Prune.Method == "none" {
		return api.Invalid(errors.New(`--method: found "none", want wanda or magnitude`))
	}
	if err := j.Validate(); err != nil {
		return api.Invalid(flagError{err})
	}
	return nil
}

// rephrase names flags in an error of input and leaves others as they are.
func rephrase(err error) error {
	var input *api.InputError
	if errors.As(err, &input) {
		return api.Invalid(flagError{err})
	}
	return err
}

func (r sparseReport) table(w io.Writer) {
	for _, tower := range []string{"vision", "language"} {
		if s, ok := r.Sparsity[tower]; ok {
			n := 0
			for _, l := range r.Layers {
				if l.Tower == tower {
					n++
				}
			}
			fmt.Fprintf(w, "%-9s %-18s %.2f %% of %d layers\n", tower, cmp.Or(r.Patterns[tower], "as its masks say"), 100*s, n)
		}
	}
	for _, d := range r.Doubts {
		fmt.Fprintf(w, "doubtful  %s\n", d)
	}
	fmt.Fprintf(w, "weights   sha256 %s, %s\noutput    %s\n", r.Hash, r.DType, r.Output)
}
