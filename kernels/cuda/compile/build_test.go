package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ressa/kernels/cuda/source"
)

// echo makes objects that hold what they were made from. A kernel that is called
// spilling spills on sm_86; a source with the word warn gives a warning.
type echo struct{}

var kernelIn = regexp.MustCompile(`KERNEL\((\w+)`)

func (echo) tools() (nvrtc, ptxas source.Tool) {
	return source.Tool{Version: "1.2.3"}, source.Tool{Version: "1.2.4"}
}

func (echo) ptx(_ context.Context, architecture string, u unit) ([]byte, []string, error) {
	var warnings []string
	if strings.Contains(u.Text, "warn") {
		warnings = []string{"something is odd"}
	}
	return fmt.Appendf(nil, "%s %s %v", architecture, u.Text, u.Headers), warnings, nil
}

func (echo) cubin(_ context.Context, architecture string, ptx []byte) ([]byte, string, error) {
	log := ""
	for _, m := range kernelIn.FindAllSubmatch(ptx, -1) {
		spill := 0
		if string(m[1]) == "spilling" && architecture == "sm_86" {
			spill = 4
		}
		log += fmt.Sprintf("ptxas info    : Compiling entry function '%s' for '%s'\n    0 bytes stack frame, %d bytes spill stores, 0 bytes spill loads\nptxas info    : Used 10 registers\n",
			m[1], architecture, spill)
	}
	return append([]byte(architecture+"|"), ptx...), log, nil
}

// folder has one source and a page.
func folder(t *testing.T) place {
	t.Helper()
	p := place{t.TempDir(), filepath.Join(t.TempDir(), "page.md")}
	write(t, p.page, "before\n"+tableBegin+"old\n"+tableEnd+"after\n")
	write(t, filepath.Join(p.folder, "device.cuh"), "header\n")
	write(t, filepath.Join(p.folder, "a.cu"), "//compile: hot=add\nKERNEL(add, add_args)\n")
	return p
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func works(t *testing.T, p place, verify bool) (said string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = work(t.Context(), echo{}, p, verify, &out, &out)
	return out.String(), err
}

func TestVerifyFindsWhatTheSourcesDoNotGive(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, p place)
		want   []string // files that differ
	}{
		{"nothing", func(*testing.T, place) {}, nil},
		{"a source", func(t *testing.T, p place) { write(t, p.folder+"/a.cu", "KERNEL(sub, add_args)\n") },
			[]string{"objects/a.compute_80.zst", "objects/a.sm_80.zst", "objects/a.sm_86.zst", "objects/a.sm_89.zst", "objects/a.sm_90a.zst", "objects/manifest.json", "page.md"}},
		{"the header", func(t *testing.T, p place) { write(t, p.folder+"/device.cuh", "other\n") },
			[]string{"objects/a.compute_80.zst", "objects/manifest.json"}},
		{"PTX of its own", func(t *testing.T, p place) {
			write(t, p.folder+"/a.cu", "//compile: sm_90a hot=add\nKERNEL(add, add_args)\n")
		}, []string{"objects/a.sm_90a.zst", "objects/manifest.json"}},
		{"a new source", func(t *testing.T, p place) { write(t, p.folder+"/b.cu", "KERNEL(sub, add_args)\n") },
			[]string{"objects/b.sm_80.zst", "objects/manifest.json", "page.md"}},
		{"a damaged object", func(t *testing.T, p place) { write(t, p.folder+"/objects/a.sm_80.zst", "damaged") }, []string{"objects/a.sm_80.zst"}},
		{"an object that is gone", func(t *testing.T, p place) {
			if err := os.Remove(p.folder + "/objects/a.sm_80.zst"); err != nil {
				t.Fatal(err)
			}
		}, []string{"objects/a.sm_80.zst"}},
		{"an object of no source", func(t *testing.T, p place) { write(t, p.folder+"/objects/c.sm_80.zst", "") }, []string{"objects/c.sm_80.zst"}},
		{"the manifest", func(t *testing.T, p place) { write(t, p.folder+"/objects/manifest.json", "{}") }, []string{"objects/manifest.json"}},
		{"the page", func(t *testing.T, p place) { write(t, p.page, tableBegin+tableEnd) }, []string{"page.md"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := folder(t)
			if said, err := works(t, p, false); err != nil {
				t.Fatalf("generate: %v\n%s", err, said)
			}
			c.change(t, p)
			said, err := works(t, p, true)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("verify: %v\n%s", err, said)
			}
			for _, f := range c.want {
				if !strings.Contains(said, f+": no") {
					t.Errorf("verify does not name %s:\n%s", f, said)
				}
			}
			if said, err := works(t, p, false); err != nil {
				t.Fatalf("generate again: %v\n%s", err, said)
			}
			if said, err := works(t, p, true); err != nil {
				t.Errorf("generate does not give what verify wants: %v\n%s", err, said)
			}
		})
	}
}

func TestPTXOfItsOwnIsCompiledForHopper(t *testing.T) {
	p := folder(t)
	write(t, p.folder+"/a.cu", "//compile: sm_90a\nKERNEL(add, add_args)\n")
	r, err := build(t.Context(), echo{}, p.folder)
	if err != nil {
		t.Fatal(err)
	}
	for file, begin := range map[string]string{
		"objects/a.compute_80.zst": "compute_80 ", "objects/a.sm_89.zst": "sm_89|compute_80 ", "objects/a.sm_90a.zst": "sm_90a|compute_90a ",
	} {
		if !bytes.HasPrefix(r.objects[file], []byte(begin)) {
			t.Errorf("%s begins with %.20q, want %q", file, r.objects[file], begin)
		}
	}
}

func TestVerifyFailsOnWarningsAndSpills(t *testing.T) {
	for text, want := range map[string]string{
		"//compile: hot=*\nKERNEL(spilling, args)\n":   "a.cu: hot kernel spilling spills 4 bytes on sm_86\n",
		"//compile: hot=b*\nKERNEL(beside, args) warn": "a.cu for compute_80: something is odd\n",
	} {
		p := folder(t)
		write(t, p.folder+"/a.cu", text)
		if said, err := works(t, p, false); err != nil || !strings.Contains(said, want) {
			t.Errorf("generate: %v\n%s", err, said)
		}
		if said, err := works(t, p, true); err == nil || err.Error() != "warnings, and spills of hot kernels: 1" || !strings.Contains(said, want) {
			t.Errorf("verify: %v\n%s", err, said)
		}
	}
	p := folder(t)
	write(t, p.folder+"/a.cu", "KERNEL(spilling, args)\n")
	if said, err := works(t, p, false); err != nil {
		t.Fatalf("generate: %v\n%s", err, said)
	}
	if said, err := works(t, p, true); err != nil {
		t.Errorf("a kernel that is not hot must not spill: %v\n%s", err, said)
	}
}

func TestSourcesThatCannotBeBuilt(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"b.cu", "KERNEL(add, args)", "a.cu and b.cu both have a kernel add"},
		{"b.cu", "//compile: hot=mul\nKERNEL(sub, args)", "b.cu: hot=mul fits none of its kernels [sub]"},
		{"b.cu", "no kernels", "ptxas names no kernel"},
	} {
		p := folder(t)
		write(t, filepath.Join(p.folder, c.file), c.text)
		if said, err := works(t, p, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s\n%s", err, c.want, said)
		}
		if _, err := os.Stat(filepath.Join(p.folder, "objects")); !os.IsNotExist(err) {
			t.Errorf("objects were written although a source cannot be built: %v", err)
		}
	}
}

// The page of the repository shows the manifest that is there.
func TestThePageHasTheTable(t *testing.T) {
	m, err := source.Read()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../docs/kernels-cuda.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := withTable(page, table(m))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, want) {
		t.Error("docs/kernels-cuda.md shows another manifest: make generate")
	}
}
