package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ressa/coordinator/api"
)

func config(t *testing.T, mode string, nodes, coordinators int) Config {
	t.Helper()
	t.Setenv(modeVariable, mode)
	t.Setenv("RESSA_THREADS", "99") // is the launcher's, not theirs
	c := DefaultConfig(os.Args[0], nodes, slog.New(slog.DiscardHandler))
	c.Coordinators, c.Dir, c.Deadline = coordinators, t.TempDir(), 30*time.Second
	return c
}

// gone fails for processes that still run and for files that are left.
func gone(t *testing.T, dir string, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d still there: %v", pid, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func pids(l *Local) []int {
	var out []int
	for _, p := range l.processes {
		out = append(out, p.cmd.Process.Pid)
	}
	return out
}

func TestClusterIsUpAndGone(t *testing.T) {
	c := config(t, "good", 4, 3)
	c.Threads = 2
	l, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	resp, err := http.Get(l.URLs()[0] + "/v1/nodes")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var nodes api.NodeList
	if err := json.NewDecoder(resp.Body).Decode(&nodes); err != nil {
		t.Fatal(err)
	}
	if len(l.URLs()) != 3 || len(nodes.Nodes) != 4 || nodes.Nodes[0].Threads != 2 || nodes.Nodes[0].Version != "auto" {
		t.Errorf("coordinators %v, nodes %v", l.URLs(), nodes)
	}
	if tail := l.processes[0].tail(); !strings.Contains(tail, `RESSA_THREADS=""`) {
		t.Errorf("a process got its parent's settings: %s", tail)
	}
	if err := l.Ended(); err != nil {
		t.Error(err)
	}
	all := pids(l)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	gone(t, c.Dir, all...)
}

func TestStubbornProcessesAreEnded(t *testing.T) {
	c := config(t, "stubborn", 1, 1)
	c.Grace = 50 * time.Millisecond
	l, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	all := pids(l)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	gone(t, c.Dir, all...)
}

func TestStartFails(t *testing.T) {
	for name, c := range map[string]struct {
		mode string
		want []string
	}{
		"a coordinator dies": {"dies:c2", []string{"c2 ended with exit status 7", "port is taken"}},
		"a trainer dies":     {"dies:t2", []string{"t2 ended with exit status 7", "port is taken"}},
		"a trainer is mute":  {"silent:t2", []string{"not up within", "1 of 2 trainers are registered", "t1:", "trainer t2 starts"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := config(t, c.mode, 2, 3)
			if strings.HasPrefix(c.mode, "silent") {
				config.Deadline = 3 * time.Second
			}
			_, err := Start(t.Context(), config)
			if err == nil {
				t.Fatal("started")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v, want %q in it", err, w)
				}
			}
			if code := api.ExitCode(err); code != api.ExitFailed {
				t.Errorf("exit %d", code)
			}
			gone(t, config.Dir)
		})
	}
}

func TestStartIsInterrupted(t *testing.T) {
	c := config(t, "silent:t1", 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	if _, err := Start(ctx, c); api.ExitCode(err) != api.ExitCancelled {
		t.Errorf("exit %d: %v", api.ExitCode(err), err)
	}
	gone(t, c.Dir)
}

func TestAnEndShows(t *testing.T) {
	c := config(t, "good", 2, 1)
	l, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := l.processes[2]
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := l.Ended(); err == nil || !strings.Contains(err.Error(), "t2 ended with signal: killed") {
		t.Errorf("error %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"found 0 nodes":        func(c *Config) { c.Nodes = 0 },
		"found 65 nodes":       func(c *Config) { c.Nodes = 65 },
		"found 2 coordinators": func(c *Config) { c.Coordinators = 2 },
		"found -1 threads":     func(c *Config) { c.Threads = -1 },
		`binary ""`:            func(c *Config) { c.Binary = "" },
	} {
		c := config(t, "good", 1, 1)
		change(&c)
		if _, err := Start(t.Context(), c); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) || api.ExitCode(err) != api.ExitInvalid {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// launcher starts a cluster, prints the numbers of its processes and waits to be
// killed.
func launcher() {
	c := DefaultConfig(os.Args[0], 2, slog.New(slog.DiscardHandler))
	c.Dir = os.Args[2]
	l, err := Start(context.Background(), c)
	if err != nil {
		panic(err)
	}
	for _, p := range pids(l) {
		fmt.Println(p)
	}
	fmt.Println("up")
	select {}
}

func TestNothingOutlivesAKilledLauncher(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends processes with their parent")
	}
	t.Setenv(modeVariable, "stubborn")
	cmd := exec.Command(os.Args[0], "launcher", t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	buffer := make([]byte, 256)
	for !strings.Contains(text.String(), "up") {
		n, err := out.Read(buffer)
		if err != nil {
			t.Fatalf("read %v after %q", err, text.String())
		}
		text.Write(buffer[:n])
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // was killed
	for _, line := range strings.Fields(strings.TrimSuffix(strings.TrimSpace(text.String()), "up")) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d still runs", pid)
			}
		}
	}
}

// alive reports whether a process runs; one that only waits to be collected does
// not.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(raw, []byte(") Z "))
}
