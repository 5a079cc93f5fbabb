//go:build linux && cgo

package gpu

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// built compiles a library of NVML and returns its path and what changes its GPUs.
func built(t *testing.T, flags ...string) (path string, say func(lines ...string)) {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path = filepath.Join(dir, "libnvidia-ml.so.1")
	args := append(flags, "-shared", "-fPIC", "-I", filepath.Join(strings.TrimSpace(string(module)), "pkg", "nvml"), "-o", path, filepath.Join("testdata", "nvml.c"))
	if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	state := filepath.Join(dir, "state")
	t.Setenv("NVML_STATE", state)
	return path, func(lines ...string) {
		t.Helper()
		next := state + ".next"
		if err := os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, state); err != nil {
			t.Fatal(err)
		}
	}
}

// The whole way to a library in C, with its types, handles and events.
func TestALibraryInC(t *testing.T) {
	path, say := built(t)
	d := &nvmlDriver{library: nvml.New(nvml.WithLibraryPath(path))}
	m, err := open(context.Background(), quick(), d)
	if err != nil {
		t.Fatal(err)
	}
	for i, found := range m.Devices() {
		want := Device{Index: i, UUID: []string{"GPU-0", "GPU-1"}[i], Name: "Fake H100", Memory: 80 << 30, Capability: "9.0", Driver: "550.54.15",
			BusID: []string{"00000000:A0:00.0", "00000000:A1:00.0"}[i], MIG: i == 1, Slowdown: 89, Shutdown: 92}
		if found != want {
			t.Errorf("found %+v, want %+v", found, want)
		}
	}
	x := watched(t, m)
	x.until()
	say("ecc 0 3", "temperature 1 90", "retire 1 1")
	x.until("fatal GPU 0 (GPU-0): 3 uncorrectable memory errors since this node started",
		"warn GPU 1 (GPU-1): memory pages are retired at its next reset", "warn GPU 1 (GPU-1): 90 °C, it slows down from 89 °C on")
	say("failed 1 1", "remap 1 1", "xid 1 79")
	fallen := "fatal GPU 1 (GPU-1): XID 79: GPU has fallen off the bus"
	x.until(fallen, "fatal GPU 1 (GPU-1): broken memory could not be replaced: row remapping failed", "warn GPU 1 (GPU-1): memory rows are remapped at its next reset")
	say("lost 1 1", "xid 1 79", "gone 0 1")
	x.until("fatal GPU 0 (GPU-0): it is not there any more", fallen, "fatal GPU 1 (GPU-1): GPU is lost: the driver does not reach it any more")
	say("hang 0 1", "xid 0 48")
	x.until("fatal GPU 0 (GPU-0): XID 48: double-bit ECC error", "fatal GPU 0 (GPU-0): the driver does not answer for 100ms; no GPU is watched until it does",
		fallen, "fatal GPU 1 (GPU-1): GPU is lost: the driver does not reach it any more")
	say("xid 0 48")
	x.until("fatal GPU 0 (GPU-0): XID 48: double-bit ECC error", fallen)
	x.end()
}

func TestALibraryOfAnotherVersion(t *testing.T) {
	path, say := built(t)
	say("init 0 18")
	_, err := open(context.Background(), quick(), &nvmlDriver{library: nvml.New(nvml.WithLibraryPath(path))})
	if err == nil || !strings.Contains(err.Error(), "different versions") {
		t.Errorf("opened with %v", err)
	}
}

// To call what the library lacks would end this process.
func TestAnOldLibrary(t *testing.T) {
	path, say := built(t, "-DOLD")
	m, err := open(context.Background(), quick(), &nvmlDriver{library: nvml.New(nvml.WithLibraryPath(path))})
	if err != nil {
		t.Fatal(err)
	}
	x := watched(t, m)
	x.until()
	say("ecc 1 1")
	x.until("fatal GPU 1 (GPU-1): 1 uncorrectable memory error since this node started")
	x.end()
}
