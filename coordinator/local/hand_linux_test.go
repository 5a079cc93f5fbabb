package local_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
)

// hand is a cluster that is started by hand on loopback, process by process.
type hand struct {
	t        *testing.T
	bin, dir string
	urls     []string
}

// launch starts a process that ends with the test, or when end is called, which kills
// it.
func (h *hand) launch(name string, args ...string) (end func()) {
	h.t.Helper()
	log, err := os.OpenFile(filepath.Join(h.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(h.bin, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = h.dir, append(os.Environ(), "RESSA_CONFIG="+os.DevNull), log, log
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	_ = log.Close() // the process has it
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // was killed
		}
	}
	h.t.Cleanup(func() {
		end()
		if h.t.Failed() {
			raw, _ := os.ReadFile(filepath.Join(h.dir, name+".log"))
			h.t.Logf("%s:\n%s", name, raw[max(0, len(raw)-3000):])
		}
	})
	return end
}

// coordinator starts one with a folder of its name on any port.
func (h *hand) coordinator(id string, args ...string) (end func()) {
	h.t.Helper()
	_ = os.Remove(filepath.Join(h.dir, id, "addr")) // of an earlier one at that place
	end = h.launch(id, append([]string{"coordinator", "--id", id, "--data", id, "--addr", "127.0.0.1:0"}, args...)...)
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		raw, err := os.ReadFile(filepath.Join(h.dir, id, "addr"))
		if err == nil {
			h.urls = append(h.urls, "http://"+strings.TrimSpace(string(raw)))
			return end
		}
		if time.Now().After(until) {
			h.t.Fatalf("%s does not come up: %v", id, err)
		}
	}
}

func (h *hand) trainer(name string) (end func()) {
	return h.launch(name, "trainer", "--name", name, "--data", name, "--threads", "1", "--coordinator", strings.Join(h.urls, ","))
}

// ask runs a verb and returns what it prints.
func (h *hand) ask(args ...string) ([]byte, error) {
	cmd := exec.Command(h.bin, args...)
	cmd.Dir, cmd.Env = h.dir, append(os.Environ(), "RESSA_CONFIG="+os.DevNull, "RESSA_COORDINATOR="+strings.Join(h.urls, ","))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
	}
	return out, err
}

// ready waits until so many nodes are.
func (h *hand) ready(want int) {
	h.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var list api.NodeList
		raw, err := h.ask("nodes", "-o", "json")
		if err == nil && json.Unmarshal(raw, &list) == nil && len(list.Nodes) == want {
			return
		}
		if time.Now().After(until) {
			h.t.Fatalf("not %d nodes: %s, %v", want, raw, err)
		}
	}
}

// repair follows a job; at is called once when a step has been told.
func (h *hand) repair(step int, at func(job string), args ...string) (api.Result, []int) {
	h.t.Helper()
	cmd := exec.Command(h.bin, append([]string{"repair", "job.yaml", "-o", "json"}, args...)...)
	cmd.Dir, cmd.Env = h.dir, append(os.Environ(), "RESSA_CONFIG="+os.DevNull, "RESSA_COORDINATOR="+strings.Join(h.urls, ","))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	timer := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	var result api.Result
	var steps []int
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // how it ended is what counts
		}
		var e api.Event
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		switch {
		case e.Event == "step":
			steps = append(steps, e.Step.Step)
			if e.Step.Step == step && at != nil {
				at(e.Job)
				at = nil
			}
		case e.Event == "result":
			if err := json.Unmarshal(line, &result); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		h.t.Fatalf("repair: %v: %s", err, stderr.Bytes())
	}
	return result, steps
}

// An existing NATS that carries a cluster's control messages is killed in the middle
// of a job and is back after two seconds: training does not notice.
func TestNATSOfOthersIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	const steps = 60
	h := &hand{t: t, bin: program(t), dir: t.TempDir()}
	shortJob(t, h.dir, steps)
	port := server.RANDOM_PORT
	start := func() *server.Server {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, MaxPayload: api.MaxHubPayload})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("NATS does not start")
		}
		return s
	}
	broker := start()
	defer func() { broker.Shutdown() }()
	at, err := url.Parse(broker.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := net.SplitHostPort(at.Host)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.coordinator("c1", "--nats", broker.ClientURL())
	h.trainer("t1")
	h.trainer("t2")
	h.ready(2)
	want, _ := h.repair(0, nil, "--coordinator", "", "--output", "alone")
	got, told := h.repair(steps/3, func(string) {
		broker.Shutdown()
		broker.WaitForShutdown()
		time.AfterFunc(2*time.Second, func() { broker = start() })
	}, "--nodes", "2", "--output", "killed")
	if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || got.Generations > 2 || got.StepsLost > 1 {
		t.Errorf("adapter %s in %d generations, %d steps lost; undisturbed %s", got.AdapterSHA256, got.Generations, got.StepsLost, want.AdapterSHA256)
	}
	t.Logf("%d generations, %d steps lost, %d steps told of %d", got.Generations, got.StepsLost, len(told), steps)
	for i, s := range told {
		if s != i+1 {
			t.Errorf("step %d was told as the %dth", s, i+1)
			break
		}
	}
}

// A coordinator is lost for good while a job runs; it is taken out, one with another
// name and an empty folder joins, and another is lost then: the job loses no step.
func TestACoordinatorIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	const steps = 120
	h := &hand{t: t, bin: program(t), dir: t.TempDir()}
	shortJob(t, h.dir, steps)
	h.coordinator("c1")
	second := h.coordinator("c2", "--join", h.urls[0])
	third := h.coordinator("c3", "--join", h.urls[0])
	h.trainer("t1")
	h.trainer("t2")
	h.ready(2)
	want, _ := h.repair(0, nil, "--coordinator", "", "--output", "alone")
	h.urls = append(h.urls, "http://"+free(t)) // where the new one will be; those who follow may know
	done := make(chan error, 1)
	got, told := h.repair(steps/6, func(string) {
		go func() {
			done <- func() error {
				third()
				if _, err := h.ask("operator", "raft", "remove", "c3"); err != nil {
					return err
				}
				h.launch("c4", "coordinator", "--id", "c4", "--data", "c4", "--addr", strings.TrimPrefix(h.urls[3], "http://"), "--join", h.urls[0])
				for until := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
					raw, err := h.ask("operator", "raft", "list", "-o", "json")
					var c api.Cluster
					if err == nil && json.Unmarshal(raw, &c) == nil && len(c.Members) == 3 && c.Members[2].ID == "c4" {
						break
					}
					if time.Now().After(until) {
						return fmt.Errorf("c4 is no member: %s, %w", raw, err)
					}
				}
				second()
				_, err := h.ask("nodes") // c1 and c4 are a majority
				return err
			}()
		}()
	}, "--nodes", "2", "--output", "replaced")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || got.Generations != 1 || got.StepsLost != 0 || len(told) != steps {
		t.Errorf("adapter %s in %d generations, %d steps lost, %d told; undisturbed %s", got.AdapterSHA256, got.Generations, got.StepsLost, len(told), want.AdapterSHA256)
	}
}

// free returns an address on loopback that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// `ressa explain` tells what the loss of a node cost: the cause and its node, from
// where training went on, for how long there were no steps.
func TestExplainTellsWhatALostNodeCost(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	const steps = 60
	h := &hand{t: t, bin: program(t), dir: t.TempDir()}
	shortJob(t, h.dir, steps)
	t.Setenv("RESSA_LEASE", "1s") // the processes'
	h.coordinator("c1")
	h.trainer("t1")
	h.trainer("t2")
	third := h.trainer("t3")
	h.ready(3)
	got, _ := h.repair(steps/3, func(string) { third() }, "--nodes", "3", "--output", "explained")
	var list struct {
		Jobs []api.Status `json:"jobs"`
	}
	raw, err := h.ask("status", "-o", "json")
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil || len(list.Jobs) != 1 {
		t.Fatalf("status %s: %v", raw, err)
	}
	for _, verb := range []string{"explain", "history"} {
		var said struct {
			Changes []api.Change `json:"changes"`
		}
		raw, err := h.ask(verb, list.Jobs[0].Job, "-o", "json")
		if err == nil {
			err = json.Unmarshal(raw, &said)
		}
		if err != nil || len(said.Changes) != 1 || got.Generations != 2 {
			t.Fatalf("%s of a job of %d generations: %v: %s", verb, got.Generations, err, raw)
		}
		c := said.Changes[0]
		if c.Generation != 2 || c.Node != "t3" || c.From != api.FromMemory || c.StepsLost != got.StepsLost || c.StepsLost > 1 || c.Step < steps/3-1 || c.Pause <= 0 || c.Pause > 60 || c.Cause == "" {
			t.Errorf("%s: %+v; the result has %d steps lost", verb, c, got.StepsLost)
		}
		t.Log(c)
	}
	text, err := h.ask("explain", list.Jobs[0].Job)
	if err != nil || !bytes.Contains(text, []byte("1 change of generation cost ")) {
		t.Errorf("explain: %v: %s", err, text)
	}
}
