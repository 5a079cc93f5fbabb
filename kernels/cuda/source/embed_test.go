package source

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func manifest(t *testing.T) Manifest {
	t.Helper()
	m, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// object returns what lies in an object's file.
func object(t *testing.T, source, architecture string) []byte {
	t.Helper()
	packed, err := objects.ReadFile(ObjectFile(source, architecture))
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatalf("%s of %s: %v", architecture, source, err)
	}
	return raw
}

// What was compiled is what lies here, so that no one runs kernels of older sources.
func TestObjectsAreOfTheseSources(t *testing.T) {
	m := manifest(t)
	want := map[string]string{}
	for name, s := range m.Headers {
		want[name] = s
	}
	for _, s := range m.Sources {
		want[s.Name+".cu"] = s.SHA256
	}
	for _, pattern := range []string{"*.cu", "*.cuh"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if want[f] != sum(text) {
				t.Errorf("%s is not what the objects were made from: make generate", f)
			}
			delete(want, f)
		}
	}
	for f := range want {
		t.Errorf("the manifest has %s, which is not here: make generate", f)
	}
}

func TestEveryObjectIsTheManifests(t *testing.T) {
	m := manifest(t)
	files := []string{ManifestFile}
	for _, s := range m.Sources {
		if len(s.Objects) != len(m.Sources[0].Objects) || len(s.Kernels) == 0 {
			t.Errorf("%s has %d objects and %d kernels", s.Name, len(s.Objects), len(s.Kernels))
		}
		for _, o := range s.Objects {
			files = append(files, ObjectFile(s.Name, o.Architecture))
			if got := sum(object(t, s.Name, o.Architecture)); got != o.SHA256 {
				t.Errorf("%s of %s has the sum %s, want %s: make generate", o.Architecture, s.Name, got, o.SHA256)
			}
		}
	}
	there, err := objects.ReadDir("objects")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range there {
		if !slices.Contains(files, "objects/"+e.Name()) {
			t.Errorf("the manifest does not have %s: make generate", e.Name())
		}
	}
}

// A cubin says for which architecture it is, and holds the code of each kernel.
func TestCubinsHaveTheirKernels(t *testing.T) {
	for _, s := range manifest(t).Sources {
		for _, o := range s.Objects {
			if o.Architecture == PTX {
				continue
			}
			raw := object(t, s.Name, o.Architecture)
			// e_version says for which CUDA it is; debug/elf wants 1.
			binary.LittleEndian.PutUint32(raw[20:], uint32(elf.EV_CURRENT))
			f, err := elf.NewFile(bytes.NewReader(raw))
			if err != nil {
				t.Fatalf("%s of %s: %v", o.Architecture, s.Name, err)
			}
			// e_flags of a 64-bit header; its low byte is the architecture.
			if got := fmt.Sprintf("sm_%d", binary.LittleEndian.Uint32(raw[48:])&0xff); got != strings.TrimSuffix(o.Architecture, "a") {
				t.Errorf("%s of %s is for %s", o.Architecture, s.Name, got)
			}
			for _, k := range s.Kernels {
				if _, ok := k.Usage[o.Architecture]; ok && f.Section(".text."+k.Name) == nil {
					t.Errorf("%s of %s has no %s", o.Architecture, s.Name, k.Name)
				}
			}
		}
	}
}

func TestHotKernelsDoNotSpill(t *testing.T) {
	for _, s := range manifest(t).Sources {
		for _, k := range s.Kernels {
			for a, u := range k.Usage {
				if k.Hot && u.Spills > 0 {
					t.Errorf("%s of %s spills %d bytes on %s", k.Name, s.Name, u.Spills, a)
				}
			}
		}
	}
}

// An operation that names no rounding may be fused by whoever compiles the PTX.
func TestPTXRoundsEveryOperation(t *testing.T) {
	loose := regexp.MustCompile(`\b(?:(?:mul|add|sub|div|sqrt|rcp)\.f(?:32|64)|[a-z0-9]+(?:\.[a-z0-9]+)*\.(?:ftz|approx)(?:\.[a-z0-9]+)*)\b`)
	for _, s := range manifest(t).Sources {
		if found := loose.FindAllString(string(object(t, s.Name, PTX)), -1); len(found) > 0 {
			slices.Sort(found)
			t.Errorf("%s has %v", s.Name, slices.Compact(found))
		}
	}
}

func TestLoadPicksTheArchitectureOfTheDevice(t *testing.T) {
	m := manifest(t)
	for _, c := range []struct {
		major, minor int
		want         string
	}{
		{8, 0, "sm_80"}, {8, 6, "sm_86"}, {8, 9, "sm_89"}, {9, 0, "sm_90a"},
		{8, 7, PTX}, {10, 0, PTX}, {12, 0, PTX},
	} {
		got, err := Load(c.major, c.minor)
		if err != nil {
			t.Fatal(err)
		}
		if got.Architecture != c.want || len(got.Modules) != len(m.Sources) {
			t.Errorf("%d.%d: %s with %d modules, want %s with %d", c.major, c.minor, got.Architecture, len(got.Modules), c.want, len(m.Sources))
		}
		for i, mod := range got.Modules {
			if mod.Source != m.Sources[i].Name || len(mod.Kernels) == 0 {
				t.Errorf("%d.%d: module %d is %s with %v", c.major, c.minor, i, mod.Source, mod.Kernels)
			}
			want := object(t, mod.Source, c.want)
			if c.want == PTX {
				want = append(want, 0)
				for _, k := range mod.Kernels {
					if !bytes.Contains(want, []byte(".entry "+k+"(")) {
						t.Errorf("the PTX of %s has no %s", mod.Source, k)
					}
				}
			}
			if !bytes.Equal(mod.Image, want) {
				t.Errorf("%d.%d: the image of %s is not its object", c.major, c.minor, mod.Source)
			}
		}
		if c.want == PTX {
			why := fmt.Sprintf("no cubin for compute capability %d.%d, only for sm_80, sm_86, sm_89, sm_90a", c.major, c.minor)
			if got.Reason != why || got.Compiler != "" {
				t.Errorf("%d.%d: reason %q, compiler %q", c.major, c.minor, got.Reason, got.Compiler)
			}
		} else if got.Reason != "" || got.Compiler != "ptxas12.4" {
			t.Errorf("%d.%d: reason %q, compiler %q", c.major, c.minor, got.Reason, got.Compiler)
		}
	}
	if _, err := Load(7, 5); !errors.Is(err, ErrTooOld) {
		t.Errorf("7.5: %v, want %v", err, ErrTooOld)
	}
}
