package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ressa/trainer/checkpoint/durable"
)

// check is how the steps run.
type check struct {
	binaries    string // the folder with ressa and cuda.test
	library     string // of the driver
	device      int
	python      string
	torchDevice string // empty for the GPU
	short       bool   // a form of a minute or two, for a slow device
	within      time.Duration
	limits      map[string]time.Duration // of steps, instead of their own
	began       time.Time
	folder      string // for what steps write; removed at the end
}

// The exit codes, as those of ressa.
const (
	allPassed = 0
	failed    = 1
	invalid   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(stderr, "gpu-check:", err)
		return failed
	}
	c := &check{limits: map[string]time.Duration{}}
	var jsonFile string
	var describing bool
	f := flag.NewFlagSet("gpu-check", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.binaries, "binaries", filepath.Dir(self), "folder with ressa and cuda.test")
	f.StringVar(&c.library, "library", "libcuda.so.1", "the driver")
	f.IntVar(&c.device, "gpu", 0, "number of the GPU")
	f.StringVar(&c.python, "python", "python3", "an interpreter that has PyTorch")
	f.StringVar(&c.torchDevice, "torch-device", "", "what PyTorch computes on; empty is the GPU, cpu is for trying the check without one")
	f.BoolVar(&c.short, "short", false, "fewer and smaller cases, for a device that is slow")
	f.DurationVar(&c.within, "within", 8*time.Minute, "deadline of the whole check")
	f.StringVar(&jsonFile, "json", "", "also write the results to this file")
	f.Func("limit", "STEP=DURATION: another deadline of one step; may be repeated", c.limit)
	f.BoolVar(&describing, "describe", false, "only say what the GPU is, as JSON")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return allPassed
	} else if err != nil {
		return invalid // Parse has said why
	}
	if f.NArg() > 0 || c.device < 0 || c.within <= 0 {
		fmt.Fprintf(stderr, "gpu-check: found arguments %q, -gpu %d, -within %v; want no arguments, 0 or more, a time\n", f.Args(), c.device, c.within)
		return invalid
	}
	if describing {
		return describe(c, stdout, stderr)
	}
	if c.binaries, err = filepath.Abs(c.binaries); err != nil {
		fmt.Fprintln(stderr, "gpu-check: -binaries:", err)
		return invalid
	}
	if jsonFile != "" { // now, not after minutes
		if info, err := os.Stat(filepath.Dir(jsonFile)); err != nil || !info.IsDir() {
			fmt.Fprintf(stderr, "gpu-check: -json: found %q, want a file in a folder that is there\n", jsonFile)
			return invalid
		}
	}
	if c.folder, err = os.MkdirTemp("", "ressa-gpu-check-"); err != nil {
		fmt.Fprintln(stderr, "gpu-check:", err)
		return failed
	}
	defer os.RemoveAll(c.folder)
	c.began = time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.within)
	defer cancel()
	r := c.all(ctx, stdout)
	if jsonFile != "" {
		raw, err := json.MarshalIndent(r, "", " ")
		if err == nil {
			err = durable.WriteFile(jsonFile, append(raw, '\n'))
		}
		if err != nil {
			fmt.Fprintln(stderr, "gpu-check: -json:", err)
			return failed
		}
	}
	if !r.Passed {
		return failed
	}
	return allPassed
}

// limit reads a value of -limit.
func (c *check) limit(text string) error {
	name, value, _ := strings.Cut(text, "=")
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return fmt.Errorf("want STEP=DURATION, as benchmark=2m")
	}
	for _, s := range steps() {
		if s.name == name {
			c.limits[name] = d
			return nil
		}
	}
	return fmt.Errorf("no step is called %q; %s are", name, strings.Join(names(), ", "))
}
