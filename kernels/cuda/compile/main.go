package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// limit is more than all sources take on one slow core.
const limit = 20 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command returns the exit code: 2 for flags that are wrong, 1 for anything else that is.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("compile", flag.ContinueOnError)
	flags.SetOutput(stderr)
	folder := flags.String("source", ".", "folder of the sources; the objects lie below it")
	page := flags.String("page", filepath.FromSlash("../../../docs/kernels-cuda.md"), "page that has the table")
	environment := flags.String("compiler", "", "Python environment with what requirements.txt pins (default ressa/cuda-compiler in the user's cache)")
	verify := flags.Bool("verify", false, "compare instead of write")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "compile: argument %q, want flags only\n", flags.Arg(0))
		return 2
	}
	if *environment == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			fmt.Fprintf(stderr, "compile: find the user's cache (-compiler names a folder): %v\n", err)
			return 2
		}
		*environment = filepath.Join(cache, "ressa", "cuda-compiler")
	}
	c, err := open(ctx, *environment)
	if err == nil {
		err = work(ctx, c, place{*folder, *page}, *verify, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "compile: %v\n", err)
		return 1
	}
	return 0
}

// work builds, then writes or compares.
func work(ctx context.Context, c compiler, p place, verify bool, stdout, stderr io.Writer) error {
	r, err := build(ctx, c, p.folder)
	if err != nil {
		return err
	}
	changes, err := p.compare(r)
	if err != nil {
		return err
	}
	faults := append(r.warnings, spills(r.manifest)...)
	for _, f := range faults {
		fmt.Fprintln(stderr, f)
	}
	for _, d := range changes {
		switch {
		case !verify:
			if err := d.apply(); err != nil {
				return fmt.Errorf("write %s: %w", d.file, err)
			}
			fmt.Fprintln(stdout, "wrote", d.file)
		case d.want == nil:
			fmt.Fprintf(stderr, "%s: no source gives it\n", d.file)
		default:
			fmt.Fprintf(stderr, "%s: not what the sources give\n", d.file)
		}
	}
	if !verify {
		return nil
	}
	if n := len(changes); n > 0 {
		return fmt.Errorf("%d generated files differ: make generate rewrites them", n)
	}
	if n := len(faults); n > 0 {
		return fmt.Errorf("warnings, and spills of hot kernels: %d", n)
	}
	fmt.Fprintf(stdout, "%d objects of %d sources are what the sources give\n", len(r.objects), len(r.manifest.Sources))
	return nil
}
