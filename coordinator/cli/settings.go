package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ressa/coordinator/api"
)

// Environment is where settings come from beside flags.
type Environment struct {
	Lookup func(name string) (string, bool)
	// ConfigDir is the user's configuration directory; empty where there is none.
	ConfigDir string
}

// ProcessEnvironment returns that of this process.
func ProcessEnvironment() Environment {
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = ""
	}
	return Environment{Lookup: os.LookupEnv, ConfigDir: dir}
}

// Settle gives every flag of cmd that was not set on the command line the value
// of its variable (RESSA_OUTPUT for --output), else of its key in the
// configuration file: RESSA_CONFIG, or ressa/config.yaml in the user's
// configuration directory, a flat mapping of flag names to values.
func (e Environment) Settle(cmd *cobra.Command) error {
	file, path, err := e.configFile()
	if err != nil {
		return api.Invalid(err)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || err != nil {
			return
		}
		variable := "RESSA_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := e.Lookup(variable); ok {
			err = settle(cmd, f, v, variable, fromVariable)
		} else if v, ok := file[f.Name]; ok {
			err = settle(cmd, f, v, path, fromFile)
		}
	})
	return api.Invalid(err)
}

// Where a flag's value comes from, the most specific first.
const (
	onCommandLine = iota
	fromVariable
	fromFile
	fromDefault
)

// settled annotates a flag whose value is from a variable or the file.
const settled = "ressa-settled"

// settle sets a flag from a source that errors name.
func settle(cmd *cobra.Command, f *pflag.Flag, value, source string, from int) error {
	if err := cmd.Flags().Set(f.Name, value); err != nil {
		return fmt.Errorf("%s: %w", source, flagValue(err))
	}
	return cmd.Flags().SetAnnotation(f.Name, settled, []string{strconv.Itoa(from)})
}

// origin returns where the value of a flag comes from.
func origin(cmd *cobra.Command, name string) int {
	f := cmd.Flag(name)
	switch {
	case f == nil || !f.Changed:
		return fromDefault
	case f.Annotations[settled] == nil:
		return onCommandLine
	}
	from, err := strconv.Atoi(f.Annotations[settled][0])
	if err != nil {
		return fromDefault
	}
	return from
}

func (e Environment) configFile() (settings map[string]string, path string, err error) {
	path, named := e.Lookup("RESSA_CONFIG")
	if !named {
		if e.ConfigDir == "" {
			return nil, "", nil
		}
		path = filepath.Join(e.ConfigDir, "ressa", "config.yaml")
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && !named {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	settings, err = api.Flat(f)
	if err != nil {
		return nil, "", fmt.Errorf("configuration %s: %w", path, err)
	}
	return settings, path, nil
}

// flagValue words an error about the value of a flag that is no number or boolean
// as other errors are, without the words of the library that parsed it.
func flagValue(err error) error {
	var value *pflag.InvalidValueError
	var parse *strconv.NumError
	if !errors.As(err, &value) {
		return err
	}
	if value.GetFlag().Value.Type() == "duration" {
		return fmt.Errorf("--%s: found %q, want a time such as 3s or 1m30s", value.GetFlag().Name, value.GetValue())
	}
	if !errors.As(err, &parse) {
		return err
	}
	want := "a number"
	switch value.GetFlag().Value.Type() {
	case "bool":
		want = "true or false"
	case "int", "int64":
		want = "an integer of at most 64 bits"
	case "uint", "uint64":
		want = "an integer of 0 or more, of at most 64 bits"
	}
	return fmt.Errorf("--%s: found %q, want %s", value.GetFlag().Name, value.GetValue(), want)
}

// Output is the value of -o.
type Output string

// The output forms.
const (
	Table Output = "table"
	JSON  Output = "json"
	YAML  Output = "yaml"
)

// String implements pflag.Value.
func (o *Output) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *Output) Type() string { return "form" }

// Set implements pflag.Value.
func (o *Output) Set(s string) error {
	if !slices.Contains([]Output{Table, JSON, YAML}, Output(s)) {
		return fmt.Errorf("found %q, want table, json or yaml", s)
	}
	*o = Output(s)
	return nil
}
