package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "ressa"

// importRules say which packages of ours a folder may import besides its own. A
// rule holds for the folder and everything below it; the longest match counts.
var importRules = []struct {
	folder  string
	allowed []string // packages; with /... also what lies below
	reason  string
}{
	{"kernels", nil, "arithmetic knows nothing of what uses it"},
	{"shard", nil, "planning is a pure function of its input"},
	{"collective", []string{"kernels", "kernels/sparse"}, "what moves tensors needs their description, not what computes them"},
	{"coordinator", []string{"shard"}, "what decides never links what computes"},
	{"coordinator/api", []string{"shard"}, "leaf types that both sides share; plans are among them"},
	{"trainer", []string{"kernels/...", "shard/...", "collective/...", "coordinator/api/..."}, "a trainer sees the coordinator through its API only"},
}

// forbidden are packages of others that a folder must not import.
var forbidden = []struct {
	folder   string
	packages []string
	reason   string
}{
	{"shard", []string{"os", "net", "net/http", "time", "math/rand", "math/rand/v2", "io/fs"}, "no I/O, no clock, no randomness"},
	{"collective/reduce", []string{"os", "net", "time", "math/rand", "math/rand/v2"}, "order is part of the result"},
	{"kernels", []string{"net", "math/rand", "math/rand/v2"}, "random numbers come from (seed, step, microbatch, site)"},
}

// source is one Go file of the repository.
type source struct {
	path, dir string // slash-separated, relative to the root
	test      bool
	syntax    *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var files []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p = filepath.ToSlash(p)
		files = append(files, source{p, path.Dir(p), strings.HasSuffix(name, "_test.go"), syntax})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// within reports whether dir is folder or lies below it.
func within(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}

// refusal returns why dir must not import the package of ours at imported, or "".
func refusal(dir, imported string) string {
	rule := -1
	for i, r := range importRules {
		if within(dir, r.folder) && (rule < 0 || len(r.folder) > len(importRules[rule].folder)) {
			rule = i
		}
	}
	if rule < 0 {
		return ""
	}
	r := importRules[rule]
	if within(imported, r.folder) {
		return ""
	}
	for _, a := range r.allowed {
		if tree, below := strings.CutSuffix(a, "/..."); imported == tree || below && within(imported, tree) {
			return ""
		}
	}
	return fmt.Sprintf("%s imports only %v of ours: %s", r.folder, r.allowed, r.reason)
}

func TestImportsGoOneWay(t *testing.T) {
	for _, f := range sources(t) {
		for _, spec := range f.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range forbidden {
				if within(f.dir, r.folder) && !f.test && slices.Contains(r.packages, imported) {
					t.Errorf("%s imports %s: %s", f.path, imported, r.reason)
				}
			}
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				if why := refusal(f.dir, ours); why != "" {
					t.Errorf("%s imports %s: %s", f.path, imported, why)
				}
			}
		}
	}
}

func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		want          bool
	}{
		{".", "trainer/cli", true},
		{"kernels/cpu", "kernels", true},
		{"kernels/cpu", "collective/tensor", false},
		{"shard", "kernels", false},
		{"collective/reduce", "kernels", true},
		{"collective/reduce", "kernels/cpu", false},
		{"collective/group", "collective/tensor", true},
		{"trainer/step", "collective/reduce", true},
		{"trainer/agent", "coordinator/api", true},
		{"trainer/agent", "coordinator/api/client", true},
		{"trainer/agent", "coordinator/state", false},
		{"coordinator/cli", "coordinator/api", true},
		{"coordinator/cli", "trainer/cli", false},
		{"coordinator/state", "collective/group", false},
		{"coordinator/api", "coordinator/state", false},
	} {
		if why := refusal(c.dir, c.imported); (why == "") != c.want {
			t.Errorf("%s may import %s: %v (%s), want %v", c.dir, c.imported, why == "", why, c.want)
		}
	}
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	docs := map[string][]string{}
	names := map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		names[f.dir] = f.syntax.Name.Name
		if f.syntax.Doc == nil || strings.TrimSpace(f.syntax.Doc.Text()) == "" {
			continue
		}
		want := "Package " + f.syntax.Name.Name + " "
		if f.syntax.Name.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(f.syntax.Doc.Text(), want) {
			t.Errorf("%s: the package comment does not begin with %q", f.path, want)
		}
		docs[f.dir] = append(docs[f.dir], f.path)
	}
	for dir, name := range names {
		if len(docs[dir]) != 1 {
			t.Errorf("package %s (%s) has %d package comments %v, want one", name, dir, len(docs[dir]), docs[dir])
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: wire it up in main", f.path)
			}
		}
	}
}

// folderNames say nothing about what is inside.
var folderNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared", "base"}

func TestLayout(t *testing.T) {
	allowed := []string{"coordinator", "trainer", "shard", "collective", "kernels", "deploy", "docs"}
	built := []string{"bin", "build", "ressa-output"} // ignored by git
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) && !slices.Contains(built, e.Name()) {
			t.Errorf("folder %s at the top level, want one of %v", e.Name(), allowed)
		}
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".go") && !slices.Contains([]string{"main.go", "imports_test.go"}, e.Name()) {
			t.Errorf("%s at the top level: main.go only wires", e.Name())
		}
	}
	for _, f := range sources(t) {
		if slices.Contains(folderNames, path.Base(f.dir)) {
			t.Errorf("folder %s: want a noun that says what is inside", f.dir)
		}
	}
}

// Pages name tests as proof and link to files: both have to be there.
func TestPagesNameWhatIsThere(t *testing.T) {
	tests := map[string]bool{}
	for _, f := range sources(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil {
				tests[fn.Name.Name] = true
			}
		}
	}
	pages := []string{"README.md"}
	err := filepath.WalkDir("docs", func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".md") {
			pages = append(pages, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, p := range pages {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(raw), -1) {
			if !tests[name] {
				t.Errorf("%s names %s, which no package has", p, name)
			}
		}
		for _, m := range link.FindAllStringSubmatch(string(raw), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(p), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", p, m[1], err)
			}
		}
	}
}
