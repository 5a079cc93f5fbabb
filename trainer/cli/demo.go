package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
)

// Run runs a job where and under the view that main chose, in a folder whose
// earlier run is replaced.
type Run func(cmd *cobra.Command, j api.Job, dir string) error

// quickSteps is the length of `ressa demo --quick`.
const quickSteps = 120

// DemoCommand returns the verb demo. register adds the flags that say where it
// runs, and run runs and follows it.
func DemoCommand(register func(*cobra.Command), run Run) *cobra.Command {
	var quick bool
	var pattern, method, adapter, dir string
	var steps int
	var seed uint64
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Prune and repair the shipped model on shipped photographs, and show what it won back",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return api.Invalid(fmt.Errorf("ressa demo: found %d arguments, want none", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			j, err := api.ParseJob("demo job", strings.NewReader(api.DemoJob()))
			if err != nil {
				return err
			}
			if quick {
				j.Train.Steps, j.Train.Warmup = quickSteps, 10
			}
			if cmd.Flags().Changed("steps") {
				j.Train.Steps, j.Train.Warmup = steps, min(j.Train.Warmup, max(steps, 0))
			}
			j.Prune.Pattern, j.Prune.Method, j.Adapter.Method, j.Seed = pattern, method, adapter, seed
			if err := j.Validate(); err != nil {
				return api.Invalid(flagError{err})
			}
			return run(cmd, j, dir)
		},
	}
	register(cmd)
	cmd.Flags().BoolVar(&quick, "quick", false, "fewer steps: under 40 s on two cores")
	cmd.Flags().StringVar(&pattern, "pattern", "2:4", "sparsity of both towers: unstructured:RATIO or N:M")
	cmd.Flags().StringVar(&method, "method", "wanda", "pruning method: wanda or magnitude")
	cmd.Flags().StringVar(&adapter, "adapter", "sparselora", "what is trained: sparselora, lora-remask or masked")
	cmd.Flags().IntVar(&steps, "steps", 0, "training steps instead of the demo's own")
	cmd.Flags().Uint64Var(&seed, "seed", 42, "seed of initialisation and data order")
	cmd.Flags().StringVar(&dir, "output", filepath.Join("ressa-output", "demo"), "folder of the run; an earlier demo there is replaced")
	return cmd
}
