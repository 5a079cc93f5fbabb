package state

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the package may use of the standard library, and of it only what depends on
// its arguments. Anything else has to be looked at first: what reads a clock, the
// disk, the network, the environment or draws numbers would drive replicas apart.
var pureImports = []string{
	"bufio", "bytes", "cmp", "context", "encoding/json", "errors", "fmt", "io", "maps", "reflect", "regexp", "slices", "strings", "sync", "time", "unicode/utf8",
	"github.com/hashicorp/raft", "ressa/coordinator/api", "ressa/shard",
}

var pureNames = map[string][]string{
	"time": {"Time", "Duration"},
	// Of Raft only the interface that the state machine fills.
	"raft": {"FSM", "FSMSnapshot", "Log", "SnapshotSink"},
}

// TestPure parses the package and refuses clocks, random numbers, network and files.
func TestPure(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		looked++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, why := range impure(f) {
			t.Errorf("%s: %s", path, why)
		}
	}
	if looked < 10 {
		t.Errorf("looked at %d files: not where the package is", looked)
	}
}

// impure returns what in a file could differ between replicas.
func impure(f *ast.File) []string {
	var found []string
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil || !slices.Contains(pureImports, path) {
			found = append(found, "imports "+i.Path.Value)
		}
		if i.Name != nil {
			found = append(found, "imports "+i.Path.Value+" by another name, which this test would not see through")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, "starts a goroutine")
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			if allowed, watched := pureNames[pkg.Name]; watched && !slices.Contains(allowed, n.Sel.Name) {
				found = append(found, "uses "+pkg.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}

// TestImpure shows that the check sees what it is for.
func TestImpure(t *testing.T) {
	for src, want := range map[string]string{
		`package p; import "time"; var _ = time.Now()`:                      "uses time.Now",
		`package p; import "time"; func f() { <-time.After(1) }`:            "uses time.After",
		`package p; import "time"; func f(t time.Time) { time.Since(t) }`:   "uses time.Since",
		`package p; import "math/rand/v2"; var _ = rand.Int()`:              `imports "math/rand/v2"`,
		`package p; import "os"; var _ = os.Getpid()`:                       `imports "os"`,
		`package p; import "net"; var _ net.Conn`:                           `imports "net"`,
		`package p; import clock "time"; var _ = clock.Now()`:               `imports "time" by another name, which this test would not see through`,
		`package p; func f() { go f() }`:                                    "starts a goroutine",
		`package p; import "time"; func f(t time.Time) time.Time{return t}`: "",
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(impure(f), "; "); got != want {
			t.Errorf("%s: found %q, want %q", src, got, want)
		}
	}
}
