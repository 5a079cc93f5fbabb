package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
)

// readJob reads a job file, or standard input for "-", and returns its text too. A
// relative path in the file means relative to the working directory of who opens
// it. It does not wait for a pipe or a terminal longer than its context lasts.
func readJob(cmd *cobra.Command, path string) (api.Job, string, error) {
	type read struct {
		job  api.Job
		text string
		err  error
	}
	done := make(chan read, 1)
	go func() { // ends with the process where nothing more is ever written
		j, text, err := openJob(cmd, path)
		done <- read{j, text, err}
	}()
	select {
	case r := <-done:
		return r.job, r.text, r.err
	case <-cmd.Context().Done():
		return api.Job{}, "", cmd.Context().Err()
	}
}

func openJob(cmd *cobra.Command, path string) (api.Job, string, error) {
	in, name := cmd.InOrStdin(), "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return api.Job{}, "", api.Invalid(fmt.Errorf("read job file: %w", err))
		}
		defer f.Close()
		in, name = f, path
	}
	var text bytes.Buffer
	j, err := api.ParseJob(name, io.TeeReader(in, &text)) // reads all of a file that it accepts
	return j, text.String(), err
}
