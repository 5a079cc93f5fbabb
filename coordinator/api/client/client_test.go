package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// serve returns a client of a server with one handler, that tries each call once.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Config{URLs: []string{s.URL}, Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func listed(path, contents string) api.File {
	sum := sha256.Sum256([]byte(contents))
	return api.File{Path: path, Size: int64(len(contents)), SHA256: hex.EncodeToString(sum[:])}
}

func TestDownload(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/jobs/abc/output/output/a b.txt" {
			t.Errorf("asked for %q", r.URL.Path)
		}
		if calls.Add(1) < 3 { // breaks off
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "he")
			return
		}
		fmt.Fprint(w, "hello")
	})
	dir := t.TempDir()
	if err := c.Download(t.Context(), "abc", listed("output/a b.txt", "hello"), dir); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "output", "a b.txt"))
	if err != nil || string(raw) != "hello" || calls.Load() != 3 {
		t.Errorf("found %q after %d calls, error %v", raw, calls.Load(), err)
	}
}

func TestDownloadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file   api.File
		answer string
		want   string
	}{
		"other bytes": {listed("a", "hello"), "hallo", "SHA-256"},
		"more":        {listed("a", "hello"), "hello!", "6 bytes"},
		"fewer":       {listed("a", "hello"), "hell", "4 bytes"},
		"above":       {listed("../a", "hello"), "hello", "leads out"},
		"absolute":    {listed("/a", "hello"), "hello", "leads out"},
		"nothing":     {listed("", "hello"), "hello", "leads out"},
	} {
		cl := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.answer) })
		dir := t.TempDir()
		err := cl.Download(t.Context(), "abc", c.file, dir)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want damage with %q", name, err, c.want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%s: left %v, %v", name, entries, err)
		}
	}
}

// event writes one event of a stream.
func event(w http.ResponseWriter, id int, kind string, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	if kind != "" {
		fmt.Fprintf(w, "event: %s\n", kind)
	}
	fmt.Fprintf(w, "id: %d\ndata: %s\n\n", id, raw)
}

// A stream that breaks goes on where it was, with every line once.
func TestStreamGoesOn(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			event(w, 1, "", api.LogLine{Generation: 1, Seq: 1, Text: "a"})
			event(w, 2, "", api.LogLine{Generation: 1, Seq: 2, Text: "b"})
		case 2:
			if id := r.Header.Get("Last-Event-ID"); id != "2" {
				t.Errorf("goes on after %q, want 2", id)
			}
			event(w, 2, "", api.LogLine{Generation: 1, Seq: 2, Text: "b"})
			event(w, 3, "", api.LogLine{Generation: 1, Worker: 1, Seq: 1, Text: "c"})
			event(w, 4, api.EndOfStream, api.JobRecord{ID: "abc"})
		}
	})
	var texts string
	job, err := c.Events(t.Context(), "abc", func(l api.LogLine) error { texts += l.Text; return nil })
	if err != nil || job.ID != "abc" || texts != "abc" {
		t.Errorf("job %q, lines %q, error %v", job.ID, texts, err)
	}
}

func TestAnErrorOfTheReaderEndsTheStream(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		event(w, 1, "", api.LogLine{Seq: 1})
		event(w, 2, api.EndOfStream, api.JobRecord{ID: "abc"})
	})
	c.config.Patience = 10 * time.Second
	mine := errors.New("mine")
	calls := 0
	if _, err := c.Events(t.Context(), "abc", func(api.LogLine) error { calls++; return mine }); err != mine || calls != 1 {
		t.Errorf("error %v after %d calls, want mine after 1", err, calls)
	}
}

func TestExitCodesOfCalls(t *testing.T) {
	for status, want := range map[int]int{http.StatusBadRequest: 2, http.StatusServiceUnavailable: 4} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error":"no","exit_code":2}`)
		})
		if _, err := c.Jobs(t.Context()); api.ExitCode(err) != want {
			t.Errorf("status %d: exit %d with %v, want %d", status, api.ExitCode(err), err, want)
		}
	}
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	c.config.URLs[0] = "http://127.0.0.1:1"
	c.urls[0].Host = "127.0.0.1:1"
	if _, err := c.Jobs(context.Background()); api.ExitCode(err) != api.ExitUnreachable || !strings.HasPrefix(err.Error(), "no coordinator reachable at http://127.0.0.1:1") {
		t.Errorf("exit %d with %v, want 4", api.ExitCode(err), err)
	}
}

// A coordinator that hangs costs one call its time: the next one asks another.
func TestACoordinatorThatHangsIsAskedOnce(t *testing.T) {
	hung := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	defer hangs.Close()
	defer close(hung)
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"leader":"c2"}`)) }))
	defer answers.Close()
	config := DefaultConfig(hangs.URL, answers.URL)
	config.Patience = 0
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	beat := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := c.Beat(ctx, "t1", api.Beat{})
		return err
	}
	if err := beat(); err == nil {
		t.Fatal("a coordinator that hangs has answered")
	}
	if err := beat(); err != nil {
		t.Errorf("the next call: %v", err)
	}
}
