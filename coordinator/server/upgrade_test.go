package server_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/cluster"
)

var update = flag.Bool("update", false, "rewrite testdata/v1.tar.gz; what version 1 wrote must stay readable, so only before it is released")

// v1Dir is the folder of a coordinator as version 1 wrote it: log and snapshot of
// Raft, address, ports of the hub, lines of jobs. Zeros at the ends of files, which
// are allocated ahead, are left out.
const v1Dir = "testdata/v1.tar.gz"

// v1Addr is in that folder. Nothing else listens at such an address.
const v1Addr = "127.0.0.77:17400"

func v1Config(t *testing.T, dir string) cluster.Config {
	t.Helper()
	c := cluster.DefaultConfig(time.Hour) // no node is lost while a test looks
	c.ID, c.Dir, c.Addr, c.Version, c.Logger = "c1", dir, v1Addr, "test", slog.New(slog.DiscardHandler)
	return c
}

// TestWriteVersion1 writes the folder, with -update: jobs that run, wait, failed,
// succeeded and were cancelled, some before Raft's snapshot and some after.
func TestWriteVersion1(t *testing.T) {
	if !*update {
		t.Skip("writes what other tests read, with -update")
	}
	dir := filepath.Join(t.TempDir(), "c1")
	c := open(t, v1Config(t, dir))
	ctx := context.Background()
	cl := c.client()
	eventually(t, "c1 leads", func() bool { return cl.Ready(ctx) == nil })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	submit := func(name string, nodes int) string {
		j, err := cl.Submit(ctx, api.JobRequest{Spec: fmt.Sprintf("name: %s\n", name) + strings.Replace(api.DemoJob(), "\nname: ", "\n# name: ", 1), Nodes: nodes, Token: name})
		must(err)
		return j.ID
	}
	beat := func(node string, tasks ...api.Task) {
		_, err := cl.Beat(ctx, node, api.Beat{Session: node, Tasks: append([]api.Task{}, tasks...)})
		must(err)
	}
	c.node("n1")
	done := submit("done", 1)
	eventually(t, "done has a plan", func() bool { return c.State().Job(done).Active() })
	must(cl.Publish(ctx, done, api.Published{Generation: 1, Step: 2, SHA256: strings.Repeat("ab", 32), Nodes: []string{"n1"}}))
	must(cl.Report(ctx, done, api.Report{Node: "n1", Generation: 1, State: api.Succeeded, At: time.Now(), Result: &api.Result{Event: "result", Job: done, State: api.Succeeded, Steps: 3, Generations: 1, AdapterSHA256: "abc"}}))
	eventually(t, "done is over", func() bool { return c.State().Job(done).Over() })
	_, _, err := c.Snapshot(ctx)
	must(err)
	failed := submit("failed", 1)
	eventually(t, "failed has a plan", func() bool { return c.State().Job(failed).Active() })
	must(cl.Report(ctx, failed, api.Report{Node: "n1", Generation: 1, State: api.Failed, ExitCode: 1, Error: "the disk is full", At: time.Now()}))
	eventually(t, "failed is over", func() bool { return c.State().Job(failed).Over() })
	runs := submit("runs", 1)
	eventually(t, "runs has a plan", func() bool { return c.State().Job(runs).Active() })
	beat("n1", api.Task{Job: runs, Generation: 1, PID: 1, State: api.Running, Phase: "train", Step: 1, Microbatches: []int{2, 2}})
	eventually(t, "runs runs", func() bool { return c.State().Job(runs).State == api.Running })
	must(cl.Publish(ctx, runs, api.Published{Generation: 1, Step: 1, SHA256: strings.Repeat("cd", 32), Nodes: []string{"n1"}}))
	line, err := json.Marshal(api.LogLine{Job: runs, Generation: 1, Node: "n1", Seq: 1, At: time.Now(), Level: "INFO", Text: "step 1"})
	must(err)
	must(c.Hub().Publish(api.LogSubject(runs), line))
	eventually(t, "the line is kept", func() bool { return len(logs(t, cl, runs)) == 1 })
	waits := submit("waits", 2)
	eventually(t, "waits says why", func() bool { return c.State().Job(waits).Wait != "" })
	gone := submit("gone", 2)
	_, err = cl.Cancel(ctx, gone)
	must(err)
	c.stop()
	must(os.MkdirAll("testdata", 0o755))
	must(pack(dir, v1Dir))
}

// logs returns the lines of a job that there are.
func logs(t *testing.T, cl *client.Client, job string) (out []string) {
	t.Helper()
	if _, err := cl.Logs(context.Background(), job, false, func(l api.LogLine) error { out = append(out, l.Text); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// pack writes a folder as an archive.
func pack(dir, to string) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	a := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == ".lock" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		body := bytes.TrimRight(raw, "\x00")
		h := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(body)), PAXRecords: map[string]string{"RESSA.size": strconv.Itoa(len(raw))}, Format: tar.FormatPAX}
		if err := a.WriteHeader(h); err != nil {
			return err
		}
		_, err = a.Write(body)
		return err
	})
	if err := errors.Join(err, a.Close(), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(to, b.Bytes(), 0o644)
}

// unpack is the reverse of pack.
func unpack(t *testing.T, from, dir string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	a := tar.NewReader(z)
	for {
		h, err := a.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a)
		if err != nil {
			t.Fatal(err)
		}
		size, err := strconv.Atoi(h.PAXRecords["RESSA.size"])
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, body, 0o644), os.Truncate(path, int64(size))); err != nil {
			t.Fatal(err)
		}
	}
}

// A coordinator that is upgraded goes on with the folder that version 1 wrote: the
// jobs are as they were, with their lines and decisions, a new member gets all of it,
// and new jobs run.
func TestFolderOfVersion1(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c1")
	unpack(t, v1Dir, dir)
	for _, want := range []string{"addr", "hub", "raft/log/*.wal", "raft/log/wal-meta.db", "raft/snapshots/*/state.bin", "jobs/*"} {
		if found, err := filepath.Glob(filepath.Join(dir, want)); err != nil || len(found) == 0 {
			t.Errorf("the folder has no %s: %v", want, err)
		}
	}
	config := v1Config(t, dir)
	config.Version = "v2"
	c := open(t, config)
	ctx := context.Background()
	cl := c.client()
	eventually(t, "c1 leads", func() bool { return cl.Ready(ctx) == nil })
	jobs, err := cl.Jobs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range jobs {
		got = append(got, fmt.Sprintf("%s %s generation %d checkpoint %d exit %d on %v: %s", j.Name, j.Status.State, j.Status.Generation, j.Checkpoint.Step, j.ExitCode, j.Plan.Nodes, j.Reason))
	}
	want := []string{
		"gone cancelled generation 0 checkpoint 0 exit 3 on []: cancelled by a user",
		"demo pending generation 0 checkpoint 0 exit 0 on []: it needs 2 nodes of one numeric kind, the most there are is 1 node of cpu-avx2, free or not",
		"demo running generation 1 checkpoint 1 exit 0 on [n1]: worker 0 runs on node n1",
		"demo failed generation 1 checkpoint 0 exit 1 on [n1]: worker 0 on node n1 failed: the disk is full",
		"demo succeeded generation 1 checkpoint 2 exit 0 on [n1]: worker 0 on node n1 delivered the result",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	done, runs := jobs[4], jobs[2]
	if done.Result == nil || done.Result.AdapterSHA256 != "abc" {
		t.Errorf("result %+v", done.Result)
	}
	if h, err := cl.History(ctx, runs.ID); err != nil || len(h.Decisions) < 5 || h.Decisions[0].Action != "submitted" {
		t.Errorf("history %+v, %v", h, err)
	}

	if got := logs(t, cl, runs.ID); !slices.Equal(got, []string{"step 1"}) {
		t.Errorf("lines %q", got)
	}

	// The node that works on a job is told what it has to do, and does it.
	r, err := cl.Beat(ctx, "n1", api.Beat{Session: "n1", Tasks: []api.Task{}})
	if err != nil || r.Register || len(r.Assignments) != 1 || r.Assignments[0].Job != runs.ID || r.Assignments[0].Generation != 1 {
		t.Errorf("the node is told %+v, %v", r, err)
	}
	join := cluster.DefaultConfig(time.Hour)
	join.ID, join.Dir, join.Addr, join.Join, join.Version, join.Logger = "c2", filepath.Join(t.TempDir(), "c2"), "127.0.0.78:17400", []string{c.url}, "v2", config.Logger
	second := open(t, join)
	eventually(t, "c2 has the jobs", func() bool { return len(second.State().Jobs()) == 5 && len(second.State().Members()) == 2 })
	if err := cl.Report(ctx, runs.ID, api.Report{Node: "n1", Generation: 1, State: api.Succeeded, At: time.Now(), Result: &api.Result{Event: "result", Job: runs.ID, State: api.Succeeded, Generations: 1}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "c2 knows that the job is over", func() bool { return second.State().Job(runs.ID).State == api.Succeeded })
	again, err := second.client().Submit(ctx, api.JobRequest{Spec: "name: new\n" + strings.Replace(api.DemoJob(), "\nname: ", "\n# name: ", 1)})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both have the new job", func() bool { return c.State().Job(again.ID) != nil && second.State().Job(again.ID) != nil })
	if _, err := cl.Submit(ctx, api.JobRequest{Spec: jobs[3].Request.Spec, Nodes: 1, Token: "failed"}); err != nil {
		t.Errorf("a token of version 1 is not known any more: %v", err)
	}
}
