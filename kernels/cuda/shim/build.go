package shim

import (
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
// library for driver.Open, and returns its path. A library of the same sources and
// compiler is kept in the user's cache folder. Without a compiler the test is
// skipped; it fails where a source does not compile.
func Build(t testing.TB, further ...string) string {
	t.Helper()
	compiler := findCompiler()
	if compiler == "" || runtime.GOOS != "linux" {
		t.Skip("the shim needs Linux and a C++ compiler: g++ or clang++")
	}
	kernels, err := sourceFolder()
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.Command(compiler, "--version").Output()
	if err != nil {
		t.Fatalf("%s --version: %v", compiler, err)
	}
	flags := []string{"-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wno-unused-function"}
	if cpu.X86.HasFMA {
		flags = append(flags, "-mfma")
	}
	sum := sha256.New()
	fmt.Fprintln(sum, compiler, string(version), flags)
	units, err := collect(kernels, further, func(name string, text []byte) { fmt.Fprintf(sum, "%s %d\n%s\n", name, len(text), text) })
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if cache, err := os.UserCacheDir(); err == nil {
		if at := filepath.Join(cache, "ressa", "shim"); os.MkdirAll(at, 0o755) == nil {
			folder = at
		}
	}
	library := filepath.Join(folder, hex.EncodeToString(sum.Sum(nil))[:32]+".so")
	if _, err := os.Stat(library); err == nil {
		return library
	}
	if err := compile(t.TempDir(), compiler, flags, kernels, units, library); err != nil {
		t.Fatal(err)
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
			return "", fmt.Errorf("shim: no kernels/cuda/source above %s", from)
		}
	}
}

// collect calls f with every source in a fixed order, and returns those to compile:
// files of ours by their name in own, others by absolute path.
func collect(kernels string, further []string, f func(name string, text []byte)) (units []string, err error) {
	names, err := fs.Glob(own, "host/*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := own.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f(name, text)
		if filepath.Ext(name) == ".cc" {
			units = append(units, name)
		}
	}
	var paths []string
	for _, pattern := range []string{"*.cuh", "*.cu"} {
		found, err := filepath.Glob(filepath.Join(kernels, pattern))
		if err != nil {
			return nil, err
		}
		paths = append(paths, found...)
	}
	for _, p := range slices.Concat(paths, further) {
		p, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		f(filepath.Base(p), text)
		if filepath.Ext(p) == ".cu" {
			units = append(units, p)
		}
	}
	return units, nil
}

// compile makes the library in the folder dir and moves it into place.
func compile(dir, compiler string, flags []string, kernels string, units []string, library string) error {
	if err := os.CopyFS(dir, own); err != nil {
		return err
	}
	var all sync.WaitGroup
	objects, errs := make([]string, len(units)), make([]error, len(units))
	turns := make(chan struct{}, runtime.NumCPU())
	for i, unit := range units {
		objects[i] = filepath.Join(dir, fmt.Sprintf("%d.o", i))
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			args := append(slices.Clone(flags), "-DRESSA_SHIM", "-I", filepath.Join(dir, "host"), "-I", kernels, "-x", "c++", "-c", unit, "-o", objects[i])
			c := exec.Command(compiler, args...)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("shim: compile %s: %w\n%s", unit, err, out)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	// Beside the library first: another process may be at the same one.
	made, err := os.CreateTemp(filepath.Dir(library), "*.new")
	if err != nil {
		return err
	}
	defer os.Remove(made.Name())
	made.Close()
	if out, err := exec.Command(compiler, append([]string{"-shared", "-o", made.Name()}, objects...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("shim: link: %w\n%s", err, out)
	}
	return os.Rename(made.Name(), library)
}
