package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"ressa/coordinator/api"
)

func (a *App) profileCommand() *cobra.Command {
	var r remote
	ask := api.ProfileRequest{}
	var limit time.Duration
	var to string
	cmd := &cobra.Command{
		Use:   "profile JOB",
		Short: "Fetch processor, heap and goroutine profiles and the times of phases from all ranks into one archive",
		Long: "Profiles every rank of a running job while it makes its next steps. The archive has\n" +
			"a folder for each node: cpu.pprof, heap.pprof and goroutines.pprof for `go tool\n" +
			"pprof`, and phases.json, the spans of these steps summed by name. A node that does\n" +
			"not answer is named in profile.json. Nothing is written where none does.",
		Args: Exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.Seconds = int((limit + time.Second - 1) / time.Second)
			if ask.Steps < 1 || ask.Steps > api.MaxProfileSteps {
				return api.Invalid(fmt.Errorf("--steps: found %d, want 1 to %d", ask.Steps, api.MaxProfileSteps))
			}
			if ask.Seconds < 1 || ask.Seconds > api.MaxProfileSeconds {
				return api.Invalid(fmt.Errorf("--limit: found %v, want 1s to %v", limit, api.MaxProfileSeconds*time.Second))
			}
			c, err := r.client(patienceOfACall)
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Profile(cmd.Context(), args[0], ask.Steps, ask.Seconds)
			if err != nil {
				return err
			}
			if to == "" {
				to = "profile-" + p.Job + ".tar.gz"
			}
			if err := writeProfile(to, p); err != nil {
				return err
			}
			for _, m := range p.Missing {
				fmt.Fprintf(cmd.ErrOrStderr(), "node %s gave no profile: %s\n", m.Node, m.Reason)
			}
			for _, n := range p.Nodes {
				fmt.Fprintf(cmd.ErrOrStderr(), "node %s: %s in %.1f s\n", n.Node, stepsOf(n), n.Seconds)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), to)
			return err
		},
	}
	r.register(cmd)
	f := cmd.Flags()
	f.IntVar(&ask.Steps, "steps", 10, "how many steps to profile")
	f.DurationVar(&limit, "limit", 30*time.Second, "how long to wait for them")
	f.StringVar(&to, "output", "", "archive to write (default profile-JOB.tar.gz)")
	return a.completeFrom(cmd, jobNames(openJobs), false)
}

// stepsOf words which steps a profile is of.
func stepsOf(n api.NodeProfile) string {
	switch {
	case n.LastStep == 0:
		return "no step ended"
	case n.FirstStep == n.LastStep:
		return fmt.Sprintf("step %d", n.LastStep)
	}
	return fmt.Sprintf("steps %d to %d", n.FirstStep, n.LastStep)
}

// writeProfile writes an archive, whole or not at all.
func writeProfile(path string, p api.Profile) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return api.Invalid(fmt.Errorf("--output: %w", err))
	}
	defer f.Cleanup()
	if err := archive(f, p); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.CloseAtomicallyReplace()
}

// summary is profile.json: the profile without its profiles.
type summary struct {
	Job     string      `json:"job"`
	Nodes   []nodeSteps `json:"nodes"`
	Missing []api.Taken `json:"missing,omitempty"`
}

type nodeSteps struct {
	Node      string  `json:"node"`
	Seconds   float64 `json:"seconds"`
	FirstStep int     `json:"first_step"`
	LastStep  int     `json:"last_step"`
}

// archive writes a profile as a compressed tar archive.
func archive(w io.Writer, p api.Profile) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	root := "profile-" + p.Job + "/"
	put := func(name string, raw []byte) error {
		if !filepath.IsLocal(root+name) || strings.Count(root+name, "/") > 2 {
			return fmt.Errorf("name %q leads elsewhere", root+name)
		}
		if err := t.WriteHeader(&tar.Header{Name: root + name, Mode: 0o644, Size: int64(len(raw)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := io.Copy(t, bytes.NewReader(raw))
		return err
	}
	putJSON := func(name string, v any) error {
		raw, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		return put(name, append(raw, '\n'))
	}
	s := summary{Job: p.Job, Nodes: []nodeSteps{}, Missing: p.Missing}
	for _, n := range p.Nodes {
		s.Nodes = append(s.Nodes, nodeSteps{n.Node, n.Seconds, n.FirstStep, n.LastStep})
		err := errors.Join(put(n.Node+"/cpu.pprof", n.CPU), put(n.Node+"/heap.pprof", n.Heap), put(n.Node+"/goroutines.pprof", n.Goroutines), putJSON(n.Node+"/phases.json", n.Phases))
		if err != nil {
			return err
		}
	}
	return errors.Join(putJSON("profile.json", s), t.Close(), z.Close())
}
