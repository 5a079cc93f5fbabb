package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ressa/coordinator/api"
	"ressa/trainer/job"
)

// machine holds the flags of the verbs that compute without a run.
type machine struct {
	device  string
	threads int
	form    string
	verbose bool
}

func (m *machine) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.device, "device", "auto", deviceUsage)
	cmd.Flags().IntVar(&m.threads, "threads", 0, "processor threads; 0 uses all. Results do not depend on it")
	cmd.Flags().StringVarP(&m.form, "output-format", "o", "table", "table or json (one object)")
	cmd.Flags().BoolVarP(&m.verbose, "verbose", "v", false, "log what the verb does")
}

// check reports the first flag that cannot be right.
func (m *machine) check() error {
	if m.form != "table" && m.form != "json" {
		return api.Invalid(fmt.Errorf("-o: found %q, want table or json", m.form))
	}
	return api.CheckThreads(m.threads)
}

func (m *machine) log(cmd *cobra.Command) *slog.Logger {
	level := slog.LevelWarn
	if m.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
}

// on opens the device for the weights of a folder and closes it afterwards.
func (m *machine) on(cmd *cobra.Command, weights, compute string, run func(job.Machine) error) error {
	if err := m.check(); err != nil {
		return err
	}
	return use(m.device, m.threads, work{weightBytes(weights), api.MaxThreads, compute}, m.log(cmd), func(d *opened) error {
		return run(job.Machine{Device: d.Device, Lanes: d.Lanes})
	})
}

// print writes a result: as one JSON object, or as table says.
func (m *machine) print(w io.Writer, result any, table func(io.Writer)) error {
	if m.form == "json" {
		return json.NewEncoder(w).Encode(result)
	}
	table(w)
	return nil
}

// exactly accepts one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return api.Invalid(fmt.Errorf("%s: found %d arguments, want %d: %v", cmd.CommandPath(), len(args), len(names), names))
		}
		return nil
	}
}

// dtypeFlag reports a --dtype that is none.
func dtypeFlag(name string) error {
	if name != "" && name != "bf16" && name != "fp32" {
		return api.Invalid(fmt.Errorf("--dtype: found %q, want bf16 or fp32", name))
	}
	return nil
}

// emptyOutput makes sure, before hours of work, that nothing is in the way of the
// folder that is to appear.
func emptyOutput(dir string) error {
	if dir == "" {
		return api.Invalid(errors.New("--output: missing"))
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return api.Invalid(fmt.Errorf("--output: %w", err))
	}
	if len(entries) > 0 {
		return api.Invalid(fmt.Errorf("--output: %s is not empty; choose another folder", dir))
	}
	return nil
}

// conversations are the flags that name image-text data and how it becomes prompts.
type conversations struct {
	source    api.Source
	template  string
	maxLength int
	seed      uint64
}

// register adds the flags; split is the split of fashiongrid that is meant by default.
func (c *conversations) register(cmd *cobra.Command, split string) {
	d := api.Default()
	cmd.Flags().StringVar(&c.source.Path, "data", "", "JSON or Parquet file; for fashiongrid an optional folder of idx files")
	cmd.Flags().StringVar(&c.source.Format, "format", "", "of the data: fashiongrid (shipped), llava or parquet (default: fashiongrid without --data)")
	cmd.Flags().StringVar(&c.source.Images, "images", "", "image folder of a llava file")
	cmd.Flags().StringVar(&c.source.Split, "split", split, "fashiongrid only: train, validation or test")
	cmd.Flags().IntVar(&c.source.Limit, "limit", 0, "examples at most; 0 is all")
	cmd.Flags().StringVar(&c.template, "template", "", "llava-1.5 or terse (default: terse for fashiongrid, else llava-1.5)")
	cmd.Flags().IntVar(&c.maxLength, "max-length", d.Data.MaxLength, "tokens of a sample, image tokens included")
	cmd.Flags().Uint64Var(&c.seed, "seed", d.Seed, "of generated data and of the choice of calibration samples")
}

// settle fills in what follows from the other flags and checks them.
func (c *conversations) settle() error {
	if c.source.Format == "" && c.source.Path == "" {
		c.source.Format = "fashiongrid"
	}
	if c.source.Format != "fashiongrid" {
		c.source.Split = ""
	}
	if c.template == "" {
		c.template = api.Default().Data.Template
		if c.source.Format == "fashiongrid" {
			c.template = "terse"
		}
	}
	j := api.Default()
	j.Name, j.Model.Path = "flags", job.DemoModel
	j.Data.Train, j.Data.Template, j.Data.MaxLength = c.source, c.template, c.maxLength
	if err := j.Validate(); err != nil {
		return api.Invalid(flagError{err})
	}
	return nil
}

func (c *conversations) subject(dir string) job.SubjectOptions {
	return job.SubjectOptions{Dir: dir, Template: c.template, MaxLength: c.maxLength}
}

// describe names the data in a report.
func (c *conversations) describe() string {
	return strings.Join(strings.Fields(c.source.Format+" "+c.source.Split+" "+c.source.Path), " ")
}
