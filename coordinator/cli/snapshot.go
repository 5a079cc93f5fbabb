package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/snapshot"
	"ressa/coordinator/state"
	"ressa/shard"
)

func (a *App) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save what the coordinators agree on to a file, look into one, or go back to one",
		Args:  Exactly(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	save := a.ask("save FILE", "Write jobs, plans and decisions, as the leader has them now, to a file; it is there whole or not at all", Exactly("FILE"), saveSnapshot)
	restore := a.ask("restore FILE", "Go back to the jobs of a file; what runs is stopped and planned again", Exactly("FILE"), restoreSnapshot)
	cmd.AddCommand(save, restore, a.inspectCommand())
	return cmd
}

// kept is what a snapshot holds, for people and scripts.
type kept struct {
	File string `json:"file"`
	snapshot.Meta
	Jobs    []keptJob `json:"jobs"` // newest first
	Nodes   []string  `json:"nodes"`
	Members []string  `json:"members"`
}

type keptJob struct {
	Job        string    `json:"job"`
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Generation int       `json:"generation"`
	Step       int       `json:"step"`       // highest known at the end of its last generation
	Checkpoint int       `json:"checkpoint"` // step of the newest
	Submitted  time.Time `json:"submitted"`
}

// openSnapshot checks a snapshot and says what is in it.
func openSnapshot(name string, raw []byte) (kept, error) {
	m, contents, err := snapshot.Read(bytes.NewReader(raw))
	var s *state.State
	if err == nil {
		s, err = state.Read(bytes.NewReader(contents))
	}
	if err != nil {
		return kept{}, api.Invalid(fmt.Errorf("%s: %w", name, err))
	}
	k := kept{File: name, Meta: m, Jobs: []keptJob{}, Nodes: []string{}, Members: []string{}}
	for _, j := range s.Jobs() {
		k.Jobs = append(k.Jobs, keptJob{j.ID, j.Name, j.State, j.Generation, j.Step, j.Checkpoint().Step, j.Submitted})
	}
	for _, n := range s.Nodes() {
		k.Nodes = append(k.Nodes, n.Info.Name)
	}
	for _, x := range s.Members() {
		k.Members = append(k.Members, x.ID)
	}
	return k, nil
}

// readSnapshot reads a file of the user's, which may be anything.
func readSnapshot(name string) ([]byte, kept, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, kept{}, api.Invalid(err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, snapshot.MaxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, kept{}, api.Invalid(err)
	}
	k, err := openSnapshot(name, raw)
	return raw, k, err
}

func saveSnapshot(ctx context.Context, c *client.Client, args []string, show printer) error {
	if info, err := os.Stat(args[0]); err == nil && !info.Mode().IsRegular() {
		return api.Invalid(fmt.Errorf("%s: found no ordinary file, want one to be written", args[0]))
	}
	raw, err := c.Snapshot(ctx, snapshot.MaxFile)
	if err != nil {
		return err
	}
	k, err := openSnapshot(args[0], raw)
	if err != nil {
		return fmt.Errorf("what the leader sent is damaged: %w", errors.Unwrap(err))
	}
	if err := renameio.WriteFile(args[0], raw, 0o600); err != nil {
		return api.Invalid(fmt.Errorf("%s: not saved: %w", args[0], err))
	}
	return show.print(k, func(w io.Writer) { fmt.Fprintf(w, "saved %s: %s\n", k.File, k.summary()) })
}

func restoreSnapshot(ctx context.Context, c *client.Client, args []string, show printer) error {
	raw, k, err := readSnapshot(args[0])
	if err != nil {
		return err
	}
	done, err := c.Restore(ctx, raw)
	if err != nil {
		return err
	}
	return show.print(done, func(w io.Writer) {
		fmt.Fprintf(w, "restored %s: %s\n", k.File, k.summary())
		if len(done.Again) > 0 {
			fmt.Fprintf(w, "planned again: %s\n", strings.Join(done.Again, " "))
		}
	})
}

func (k kept) summary() string {
	return fmt.Sprintf("index %d, term %d, %d jobs, taken at %s by %s", k.Index, k.Term, len(k.Jobs), stamp(k.At), k.Coordinator)
}

func (a *App) inspectCommand() *cobra.Command {
	form := Table
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a snapshot holds; no coordinator is asked",
		Args:  Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, k, err := readSnapshot(args[0])
			if err != nil {
				return err
			}
			return printer{cmd.OutOrStdout(), form}.print(k, k.table)
		},
	}
	registerForm(cmd, &form)
	return cmd
}

func (k kept) table(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, Ressa %s\n", k.File, k.summary(), k.Ressa)
	fmt.Fprintf(w, "state of %s, SHA-256 %s\n", shard.Bytes(k.Bytes), k.SHA256)
	fmt.Fprintf(w, "coordinators %s; nodes %s\n", orNone(k.Members), orNone(k.Nodes))
	rows := make([]table.Row, len(k.Jobs))
	for i, j := range k.Jobs {
		rows[i] = table.Row{j.Job, j.Name, j.State, j.Generation, j.Step, j.Checkpoint, stamp(j.Submitted)}
	}
	grid(w, table.Row{"job", "name", "state", "generation", "step", "checkpoint", "submitted (UTC)"}, rows, 4, 5, 6)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}
