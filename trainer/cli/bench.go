package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

// BenchCommand returns the verb bench.
func BenchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure this machine", Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(benchKernels(), benchCollective(), benchStep(), benchSolve(), benchGPU())
	return cmd
}

// processors is the number of threads that 0 stands for.
func processors() int { return runtime.NumCPU() }
