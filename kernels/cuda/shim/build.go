package shim

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/cpu"
)

// own is the shim itself.
//
//go:embed host
var own embed.FS

// Build compiles the kernels, and the further .cu files that are named, to a
// library for driver.Open, and returns its path. What was compiled of the same
// sources by the same compiler is kept in the user's cache folder. Without a compiler
// the test is skipped; it fails where a source does not compile.
func Build(t testing.TB, further ...string) string {
	t.Helper()
	l := newLibrary(t)
	kernels, err := sourceFolder()
	if err == nil {
		l.include = append(l.include, kernels)
		err = l.add(optimised, append([]string{filepath.Join(kernels, "*.cu")}, further...)...)
	}
	return l.finish(t, err)
}

func findCompiler() string {
	for _, name := range []string{"g++", "clang++"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	return ""
}

// folder returns where compiled files are kept.
func folder(t testing.TB) string {
	if cache, err := os.UserCacheDir(); err == nil {
		if at := filepath.Join(cache, "ressa", "shim"); os.MkdirAll(at, 0o755) == nil {
			return at
		}
	}
	return t.TempDir()
}

// library is what is compiled to one.
type library struct {
	compiler        string
	kept, temporary string
	lock            string   // file in kept, of those that are built in turns
	include         []string // folders
	units           []unit
}

// unit is one file with what it is compiled with beside what all are.
type unit struct {
	file
	flags []string
}

var (
	optimised = []string{"-O2", "-Wall", "-Wno-unused-function", "-DRESSA_SHIM"}
	// Of PTX comes long straight code, which more would take minutes for.
	translated = []string{"-O1", "-w", "-fno-strict-aliasing"}
)

// newLibrary returns one of the runtime alone.
func newLibrary(t testing.TB) *library {
	t.Helper()
	l := &library{compiler: findCompiler(), lock: "lock"}
	if l.compiler == "" || runtime.GOOS != "linux" {
		t.Skip("the shim needs Linux and a C++ compiler: g++ or clang++")
	}
	l.kept, l.temporary = folder(t), t.TempDir()
	host := filepath.Join(l.temporary, "host")
	l.include = []string{host}
	err := os.CopyFS(l.temporary, own)
	if err == nil {
		err = l.add(optimised, filepath.Join(host, "*.cc"))
	}
	if err != nil {
		t.Fatalf("shim: %v", err)
	}
	return l
}

// add adds the files of the patterns.
func (l *library) add(flags []string, patterns ...string) error {
	files, err := read(patterns...)
	for _, f := range files {
		l.units = append(l.units, unit{f, flags})
	}
	return err
}

// finish ends a test that could not add what the library is of, and else returns it.
func (l *library) finish(t testing.TB, err error) string {
	t.Helper()
	var at string
	if err == nil {
		at, err = l.build()
	}
	if err != nil {
		t.Fatalf("shim: %v", err)
	}
	return at
}

// build returns the library in the folder kept, which it makes if it is not there.
func (l *library) build() (string, error) {
	unlock, err := lock(filepath.Join(l.kept, l.lock)) // tests of several packages start together
	if err != nil {
		return "", err
	}
	defer unlock()
	version, err := exec.Command(l.compiler, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", l.compiler, err)
	}
	flags := []string{"-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"}
	if cpu.X86.HasFMA {
		flags = append(flags, "-mfma")
	}
	// What a unit's object depends on, but for the unit itself.
	base := fmt.Appendf(nil, "%s\n%s%q\n", l.compiler, version, flags)
	for _, folder := range l.include {
		headers, err := read(filepath.Join(folder, "*.h"), filepath.Join(folder, "*.cuh"))
		if err != nil {
			return "", err
		}
		for _, h := range headers {
			base = fmt.Appendf(base, "%s %d\n%s", filepath.Base(h.path), len(h.text), h.text)
		}
		flags = append(flags, "-I", folder)
	}
	flags = append(flags, "-x", "c++", "-c")
	objects := make([]string, len(l.units))
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i, u := range l.units {
		objects[i] = filepath.Join(l.kept, name(base, fmt.Appendf(nil, "%q", u.flags), []byte(filepath.Base(u.path)), u.text)+".o")
		group.Go(func() error {
			return unlessThere(l.compiler, objects[i], slices.Concat(flags, u.flags, []string{u.path}))
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	library := filepath.Join(l.kept, name(fmt.Append(nil, objects))+".so")
	return library, unlessThere(l.compiler, library, append([]string{"-shared"}, objects...))
}

// unlessThere has the compiler make a file, which comes into being whole.
func unlessThere(compiler, file string, args []string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	made := fmt.Sprintf("%s.%d", file, os.Getpid())
	out, err := exec.Command(compiler, append(args, "-o", made)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w\n%s", compiler, args, err, out)
	}
	return os.Rename(made, file)
}

// name is the sum of its parts.
func name(parts ...[]byte) string {
	sum := sha256.Sum256(bytes.Join(parts, []byte{0}))
	return hex.EncodeToString(sum[:16])
}

type file struct {
	path string // absolute
	text []byte
}

// read returns the files of the patterns, in order; each pattern has to match, but for
// those of headers.
func read(patterns ...string) (files []file, err error) {
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 && !strings.HasSuffix(pattern, "h") {
			return nil, fmt.Errorf("%s: %w", pattern, fs.ErrNotExist)
		}
		for _, p := range paths {
			p, err := filepath.Abs(p)
			if err != nil {
				return nil, err
			}
			text, err := os.ReadFile(p)
			if err != nil {
				return nil, err
			}
			files = append(files, file{p, text})
		}
	}
	return files, nil
}

// sourceFolder returns kernels/cuda/source of the module that is tested.
func sourceFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for from := dir; ; dir = filepath.Dir(dir) {
		at := filepath.Join(dir, "kernels", "cuda", "source")
		if _, err := os.Stat(filepath.Join(at, "device.cuh")); err == nil {
			return at, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no kernels/cuda/source above %s", from)
		}
	}
}
