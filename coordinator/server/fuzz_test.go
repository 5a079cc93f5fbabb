package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// FuzzBodies sends anything to every request that takes a body: an answer comes, it is
// no internal error, and a refusal has the documented shape.
func FuzzBodies(f *testing.F) {
	paths := []string{"/v1/jobs", "/v1/plan", "/v1/nodes/n1/beat", "/v1/nodes/n1/drain", "/v1/jobs/zz/report", "/v1/cluster/members"}
	for i := range paths {
		for _, body := range []string{"", "{", "null", "[]", `"x"`, "{}", `{"spec": 3}`, `{"unknown": 1}`, `{"drain": true} {}`, `{"spec": "` + strings.Repeat("a", 300) + `"}`,
			`{"session": "s", "info": {"name": "n1", "session": "s", "pid": -1, "threads": -7, "devices": [{}]}, "tasks": [{"worker": -1}]}`,
			`{"node": "n1", "worker": 99999, "generation": -3, "state": "odd", "broken": [-1]}`, `{"id": "a/b", "addr": "x"}`, `{"id": "b", "addr": ":"}`,
			strings.Repeat("[", 20000), "{\"spec\": \"\xff\x00\"}", `{"nodes": 1e400}`, `{"lease": 1, "tasks": null}`} {
			f.Add(i, []byte(body))
		}
	}
	f.Add(0, bytes.Repeat([]byte{' '}, 3<<20))
	c := start(f, "a")
	cl := c.client()
	eventually(f, "a leads", func() bool { return cl.Ready(context.Background()) == nil })
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		path := paths[uint(which)%uint(len(paths))]
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("POST %s %q: %v", path, clip(body), err)
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusInternalServerError || resp.StatusCode == http.StatusServiceUnavailable {
			t.Errorf("POST %s %q: %d", path, clip(body), resp.StatusCode)
		}
		if resp.StatusCode < 400 {
			return
		}
		var answer api.Error
		d := json.NewDecoder(resp.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&answer); err != nil || answer.Message == "" || answer.ExitCode == 0 {
			t.Errorf("POST %s %q: status %d, answer %+v, %v", path, clip(body), resp.StatusCode, answer, err)
		}
	})
}

func clip(b []byte) []byte { return b[:min(len(b), 200)] }
