package server_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/coordinator/snapshot"
)

// A snapshot goes out and comes back by way of a follower; what is no snapshot
// changes nothing.
func TestSnapshotThroughTheAPI(t *testing.T) {
	a := start(t, "a")
	eventually(t, "a leads", func() bool { return a.client().Ready(context.Background()) == nil })
	b := start(t, "b", a.url)
	ctx := context.Background()
	cl := b.client()
	first, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob()})
	if err != nil {
		t.Fatal(err)
	}
	file, err := cl.Snapshot(ctx, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	meta, _, err := snapshot.Read(bytes.NewReader(file))
	if err != nil || meta.Coordinator != "a" {
		t.Fatalf("%+v, %v", meta, err)
	}
	if _, err := cl.Snapshot(ctx, 10); err == nil {
		t.Error("a file above the limit was taken")
	}
	second, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob()})
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(file)
	broken[len(broken)/2]++
	for name, bad := range map[string][]byte{"nothing": {}, "half": file[:len(file)/2], "broken": broken, "foreign": []byte("name: demo")} {
		_, err := cl.Restore(ctx, bad)
		var refused *client.Error
		if api.ExitCode(err) != api.ExitInvalid || !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a.State().Job(second.ID) == nil {
		t.Fatal("a refused file changed the state")
	}
	done, err := cl.Restore(ctx, file)
	if err != nil || done.Jobs != 1 || len(done.Again) != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, c := range []*coordinator{a, b} {
		eventually(t, c.ID()+" has the restored state", func() bool { return c.State().Job(first.ID) != nil && c.State().Job(second.ID) == nil })
	}
	if _, err := cl.Job(ctx, second.ID); !client.NotFound(err) {
		t.Errorf("the later job: %v", err)
	}
}
