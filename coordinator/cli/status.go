package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
)

func (a *App) statusCommand() *cobra.Command {
	form := Table
	cmd := &cobra.Command{
		Use:   "status DIR",
		Short: "Show how far the run in a folder is",
		Args:  Exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.Launcher.Status(args[0])
			if err != nil {
				return api.Invalid(err)
			}
			return printStatus(cmd.OutOrStdout(), form, s)
		},
	}
	cmd.Flags().VarP(&form, "output-format", "o", "table, json or yaml")
	return cmd
}

func printStatus(w io.Writer, form Output, s api.Status) error {
	switch form {
	case JSON:
		return json.NewEncoder(w).Encode(s)
	case YAML:
		raw, err := yaml.Marshal(s)
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	}
	fmt.Fprintf(w, "job    %s\nstate  %s\nphase  %s\nstep   %d of %d\n", s.Job, s.State, s.Phase, s.Step, s.Steps)
	if s.Error != "" {
		fmt.Fprintf(w, "error  %s\n", s.Error)
	}
	return nil
}
