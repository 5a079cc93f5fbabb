package local_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// program builds ressa as users run it.
func program(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "ressa")
	if out, err := exec.Command("go", "build", "-o", bin, "ressa").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// repair runs a job and returns its result.
func repair(t *testing.T, bin, dir string, args ...string) api.Result {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"repair", filepath.Join(dir, "job.yaml"), "-o", "json", "--output", filepath.Join(dir, fmt.Sprint("run", time.Now().UnixNano()))}, args...)...)
	cmd.Env = append(os.Environ(), "RESSA_CONFIG="+os.DevNull)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("repair %v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var r api.Result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || r.Event != "result" {
		t.Fatalf("repair %v: last line %q: %v", args, lines[len(lines)-1], err)
	}
	return r
}

// A job gives the same adapter and scores in one process and on clusters of real
// processes, whatever their number, with several coordinators, in fp32 and with a
// bf16 wire, also where the microbatches are no power of two.
func TestClustersGiveTheSameAdapter(t *testing.T) {
	if testing.Short() {
		t.Skip("starts clusters of processes")
	}
	bin, dir := program(t), t.TempDir()
	for _, c := range []struct {
		wire     string
		micro    int
		clusters [][]string
	}{
		{"fp32", 8, [][]string{{"--local", "1"}, {"--local", "2"}, {"--local", "3", "--coordinators", "3"}, {"--local", "4"}}},
		{"bf16", 5, [][]string{{"--local", "2", "--vision-replicas", "1", "--language-replicas", "1"}, {"--local", "4"}}},
	} {
		j, err := api.ParseJob("demo", strings.NewReader(api.DemoJob()))
		if err != nil {
			t.Fatal(err)
		}
		text := api.DemoJob()
		for from, to := range map[string]string{
			fmt.Sprintf("  steps: %d", j.Train.Steps):               "  steps: 6",
			fmt.Sprintf("  warmup: %d", j.Train.Warmup):             "  warmup: 2",
			fmt.Sprintf("  microbatches: %d", j.Train.Microbatches): fmt.Sprintf("  microbatches: %d", c.micro),
			"  questions: 10000":                                    "  questions: 2000",
			"  wire: " + j.Train.Wire:                               "  wire: " + c.wire,
		} {
			if !strings.Contains(text, from) {
				t.Fatalf("the demo's job has no %q", from)
			}
			text = strings.Replace(text, from, to, 1)
		}
		if err := os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		want := repair(t, bin, dir)
		for _, args := range c.clusters {
			got := repair(t, bin, dir, args...)
			if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || got.Repaired.Score != want.Repaired.Score {
				t.Errorf("%s, %d microbatches, %v: adapter %s, score %v; in one process %s, %v",
					c.wire, c.micro, args, got.AdapterSHA256, got.Repaired.Score, want.AdapterSHA256, want.Repaired.Score)
			}
			byRole, nodes, pids := map[string]int{}, []string{}, map[int]bool{}
			for _, r := range got.Ranks {
				byRole[r.Role] += r.Microbatches
				pids[r.PID] = true
				if !slices.Contains(nodes, r.Node) {
					nodes = append(nodes, r.Node)
				}
			}
			if n := fmt.Sprint(len(nodes)); n != args[1] || len(pids) != len(nodes) || byRole["vision"] != 6*c.micro || byRole["language"] != 6*c.micro {
				t.Errorf("%v: ranks %+v", args, got.Ranks)
			}
		}
	}
}
