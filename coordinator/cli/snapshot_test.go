package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ressa/coordinator/api"
)

func TestSnapshots(t *testing.T) {
	f := known(t)
	goldens, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, verb := range []string{"save", "inspect", "restore"} {
		for _, form := range []string{"table", "json", "yaml"} {
			out, stderr, err := f.ask("operator", "snapshot", verb, "cluster.snapshot", "-o", form)
			if err != nil || stderr != "" {
				t.Errorf("%s: error %v, diagnostics %q", verb, err, stderr)
				continue
			}
			goldenIn(t, goldens, "snapshot-"+verb+"."+form, out)
			if form == "json" && !json.Valid([]byte(out)) {
				t.Errorf("%s: no JSON: %s", verb, out)
			}
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// A file that is none of ours, or not whole, is refused before anybody is asked; what
// is in the way of a new one stays.
func TestSnapshotsAreChecked(t *testing.T) {
	f := known(t)
	t.Chdir(t.TempDir())
	if _, _, err := f.ask("operator", "snapshot", "save", "good"); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile("good")
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, good...)
	flipped[len(flipped)/2] ^= 4
	for name, contents := range map[string][]byte{"half": good[:len(good)/2], "empty": nil, "foreign": []byte("name: demo\n"), "flipped": flipped, "longer": append(append([]byte{}, good...), 0)} {
		if err := os.WriteFile(name, contents, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("folder", 0o755); err != nil {
		t.Fatal(err)
	}
	f.calls = nil
	for _, verb := range []string{"restore", "inspect"} {
		for _, name := range []string{"half", "empty", "foreign", "flipped", "longer", "folder", "missing"} {
			_, _, err := f.ask("operator", "snapshot", verb, name)
			if api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %s: exit %d with %v, want 2 and the file's name", verb, name, api.ExitCode(err), err)
			}
		}
	}
	if len(f.calls) > 0 {
		t.Errorf("asked %v", f.calls)
	}
	for _, name := range []string{"folder", "nowhere/file"} {
		if _, _, err := f.ask("operator", "snapshot", "save", name); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), name) {
			t.Errorf("save %s: exit %d with %v, want 2", name, api.ExitCode(err), err)
		}
	}
}
