package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
)

// within runs ressa in a network namespace until the test ends.
func within(t *testing.T, namespace, bin, dir, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace, bin}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "RESSA_CONFIG="+os.DevNull)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		end := time.AfterFunc(20*time.Second, func() {
			t.Errorf("%s does not end on SIGTERM", name)
			_ = cmd.Process.Kill()
		})
		_ = cmd.Wait() // how it ended is in its log
		end.Stop()
		_ = log.Close()
		if t.Failed() {
			if raw, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("%s:\n%s", name, raw[max(0, len(raw)-3000):])
			}
		}
	})
}

// shortJob writes job.yaml, the demo's with so many steps and a short test.
func shortJob(t *testing.T, dir string, steps int) {
	t.Helper()
	text := api.DemoJob()
	j, err := api.ParseJob("demo", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		fmt.Sprintf("  steps: %d", j.Train.Steps):   fmt.Sprintf("  steps: %d", steps),
		fmt.Sprintf("  warmup: %d", j.Train.Warmup): "  warmup: 2",
		"  questions: 10000":                        "  questions: 400",
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the demo's job has no %q", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	if err := os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A cluster whose halves are in different network namespaces, 5 ms apart by a link
// that loses packets, gives the adapter that one process gives.
func TestClusterAcrossNetworks(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes in network namespaces")
	}
	bin, dir := program(t), t.TempDir()
	networks, link := namespaces(t, 5*time.Millisecond, 0.001)
	shortJob(t, dir, 6)
	want := repair(t, bin, dir)
	const first = "http://10.77.0.1:7400"
	within(t, networks[0], bin, dir, "c1", "coordinator", "--id", "c1", "--data", "c1", "--addr", "10.77.0.1:7400")
	within(t, networks[0], bin, dir, "c2", "coordinator", "--id", "c2", "--data", "c2", "--addr", "10.77.0.1:7401", "--join", first)
	within(t, networks[1], bin, dir, "c3", "coordinator", "--id", "c3", "--data", "c3", "--addr", "10.77.0.2:7402", "--join", first)
	urls := first + ",http://10.77.0.1:7401,http://10.77.0.2:7402"
	for i := range 4 {
		name := fmt.Sprintf("t%d", i+1)
		within(t, networks[i/2], bin, dir, name, "trainer", "--name", name, "--data", name, "--threads", "1", "--coordinator", urls)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	ask := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", networks[1], bin}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "RESSA_CONFIG="+os.DevNull, "RESSA_COORDINATOR="+urls)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
		}
		return out, err
	}
	for ready := 0; ready < 4; {
		raw, err := ask("nodes", "-o", "json")
		var list api.NodeList
		if err == nil {
			err = json.Unmarshal(raw, &list)
		}
		if ctx.Err() != nil {
			t.Fatalf("%d nodes are ready: %v", ready, err)
		}
		if ready = len(slices.DeleteFunc(list.Nodes, func(n api.NodeRecord) bool { return n.State != api.NodeReady })); ready < 4 {
			time.Sleep(100 * time.Millisecond)
		}
	}
	before := link.moved[0].Load() + link.moved[1].Load()
	raw, err := ask("repair", "job.yaml", "--nodes", "4", "--output", "across", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	var got api.Result
	if err := json.NewDecoder(strings.NewReader(lines[len(lines)-1])).Decode(&got); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || got.Repaired.Score != want.Repaired.Score {
		t.Errorf("adapter %s, score %v; in one process %s, %v", got.AdapterSHA256, got.Repaired, want.AdapterSHA256, want.Repaired)
	}
	nodes := map[string]bool{}
	for _, r := range got.Ranks {
		if r.Microbatches > 0 {
			nodes[r.Node] = true
		}
	}
	if len(nodes) != 4 {
		t.Errorf("ranks %+v, want work on four nodes", got.Ranks)
	}
	if moved := link.moved[0].Load() + link.moved[1].Load() - before; moved < 1<<20 || link.lost.Load() == 0 {
		t.Errorf("%d bytes went over the link and %d packets were lost: the halves did not work together", moved, link.lost.Load())
	}
	if nodes, err := ask("nodes"); err == nil {
		t.Logf("%d MB over the link, %d packets lost, %v s\n%s", (link.moved[0].Load()+link.moved[1].Load())>>20, link.lost.Load(), got.Seconds, nodes)
	}
}
