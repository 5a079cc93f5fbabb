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
	"sync"
	"testing"

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
	compiler := findCompiler()
	if compiler == "" || runtime.GOOS != "linux" {
		t.Skip("the shim needs Linux and a C++ compiler: g++ or clang++")
	}
	library, err := build(compiler, folder(t), t.TempDir(), further)
	if err != nil {
		t.Fatalf("shim: %v", err)
	}
	return library
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

// build returns the library in the folder kept, which it makes if it is not there.
func build(compiler, kept, temporary string, further []string) (string, error) {
	unlock, err := lock(filepath.Join(kept, "lock")) // tests of several packages start together
	if err != nil {
		return "", err
	}
	defer unlock()
	kernels, err := sourceFolder()
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(temporary, own); err != nil {
		return "", err
	}
	version, err := exec.Command(compiler, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", compiler, err)
	}
	host := filepath.Join(temporary, "host")
	flags := []string{"-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wno-unused-function", "-DRESSA_SHIM"}
	if cpu.X86.HasFMA {
		flags = append(flags, "-mfma")
	}
	headers, err := read(filepath.Join(host, "*.h"), filepath.Join(kernels, "*.cuh"))
	if err != nil {
		return "", err
	}
	units, err := read(append([]string{filepath.Join(host, "*.cc"), filepath.Join(kernels, "*.cu")}, further...)...)
	if err != nil {
		return "", err
	}
	// What a unit's object depends on, but for the unit itself.
	base := fmt.Appendf(nil, "%s\n%s%q\n", compiler, version, flags)
	for _, h := range headers {
		base = fmt.Appendf(base, "%s %d\n%s", filepath.Base(h.path), len(h.text), h.text)
	}
	flags = append(flags, "-I", host, "-I", kernels, "-x", "c++", "-c")
	objects, errs := make([]string, len(units)), make([]error, len(units))
	turns := make(chan struct{}, runtime.NumCPU())
	var all sync.WaitGroup
	for i, u := range units {
		objects[i] = filepath.Join(kept, name(base, []byte(filepath.Base(u.path)), u.text)+".o")
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			errs[i] = unlessThere(compiler, objects[i], append(slices.Clone(flags), u.path))
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return "", err
		}
	}
	library := filepath.Join(kept, name(fmt.Append(nil, objects))+".so")
	return library, unlessThere(compiler, library, append([]string{"-shared"}, objects...))
}

// unlessThere has the compiler make a file, which comes into being whole.
func unlessThere(compiler, file string, args []string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	out, err := exec.Command(compiler, append(args, "-o", file+".new")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w\n%s", compiler, args, err, out)
	}
	return os.Rename(file+".new", file)
}

// name is the sum of its parts.
func name(parts ...[]byte) string {
	sum := sha256.Sum256(bytes.Join(parts, []byte{0}))
	return hex.EncodeToString(sum[:16])
}

type source struct {
	path string // absolute
	text []byte
}

// read returns the files of the patterns, in order; each pattern has to match.
func read(patterns ...string) (files []source, err error) {
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 {
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
			files = append(files, source{p, text})
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
