package local_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
)

// photographs writes a data set of n images and a job that trains on it.
func photographs(t *testing.T, dir string, n, steps int) (images string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	images = filepath.Join(dir, "images")
	check(os.Mkdir(images, 0o755))
	type turn struct {
		From  string `json:"from"`
		Value string `json:"value"`
	}
	type entry struct {
		ID            string `json:"id"`
		Image         string `json:"image"`
		Conversations []turn `json:"conversations"`
	}
	var all []entry
	for i := range n {
		m := image.NewGray(image.Rect(0, 0, 56, 56))
		for p := range m.Pix {
			m.Pix[p] = color.Gray{uint8(p*(i+3) + i)}.Y
		}
		var raw bytes.Buffer
		check(png.Encode(&raw, m))
		check(os.WriteFile(filepath.Join(images, fmt.Sprint(i, ".png")), raw.Bytes(), 0o644))
		all = append(all, entry{fmt.Sprint(i), fmt.Sprint(i, ".png"), []turn{{"human", "<image>\nhow many bag"}, {"gpt", []string{"one", "two", "three"}[i%3]}}})
	}
	raw, err := json.Marshal(all)
	check(err)
	check(os.WriteFile(filepath.Join(dir, "train.json"), raw, 0o644))
	job := fmt.Sprintf("name: photographs\nmodel: {path: demo}\ndata:\n  train: {format: llava, path: %q, images: %q}\n  template: terse\n"+
		"prune: {method: magnitude, pattern: \"2:4\"}\nadapter: {method: sparselora, rank: 4}\ntrain: {steps: %d, batch: 16, microbatches: 4}\n",
		filepath.Join(dir, "train.json"), images, steps)
	check(os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
	return images
}

// A node that hangs where it computes, though it beats: the job shows as stalled and
// names it, goes on without it, and ends with the adapter of a run that nothing
// disturbed. Here it hangs on a file system that does not answer, a pipe's.
func TestANodeHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes")
	}
	h := &hand{t: t, bin: program(t), dir: t.TempDir()}
	const steps = 24
	images := photographs(t, h.dir, 300, steps)
	want := repair(t, h.bin, h.dir)
	// Who inspects the job looks at every fourth or fifth example and not at this one.
	victim, aside, pipe := filepath.Join(images, "33.png"), filepath.Join(images, "aside"), filepath.Join(images, "pipe")
	swap := func(moves ...string) {
		for i := 0; i < len(moves); i += 2 {
			if err := os.Rename(moves[i], moves[i+1]); err != nil {
				t.Error(err)
			}
		}
	}
	swap(victim, aside)
	if err := unix.Mkfifo(victim, 0o644); err != nil {
		t.Fatal(err)
	}
	h.coordinator("c1", "--stall-limit", "6s")
	h.trainer("t1")
	h.trainer("t2")
	h.ready(2)
	var shown string
	ended := make(chan struct{})
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for {
			var list struct {
				Jobs []api.Status `json:"jobs"`
			}
			raw, err := h.ask("status", "-o", "json")
			if err == nil && json.Unmarshal(raw, &list) == nil && len(list.Jobs) > 0 && list.Jobs[0].Stalled != "" {
				shown = list.Jobs[0].Stalled
				swap(victim, pipe, aside, victim) // the others find the file
				return
			}
			select {
			case <-ended:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	got, _ := h.repair(0, nil, "--output", "hung", "--nodes", "2", "--vision-replicas", "1", "--language-replicas", "1")
	close(ended)
	<-looked
	if !strings.Contains(shown, `is at "waiting for data", the others wait`) {
		t.Errorf("status showed %q", shown)
	}
	if f, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
		t.Errorf("nobody hangs on the pipe: %v", err)
	} else {
		_ = f.Close() // lets it go
	}
	if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || got.Generations != 2 || got.StepsLost > 1 {
		t.Errorf("adapter %s in %d generations, %d steps lost; undisturbed %s", got.AdapterSHA256, got.Generations, got.StepsLost, want.AdapterSHA256)
	}
	var all struct {
		Jobs []api.Status `json:"jobs"`
	}
	raw, err := h.ask("status", "-o", "json")
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil || len(all.Jobs) != 1 {
		t.Fatalf("status: %v: %s", err, raw)
	}
	if raw, err := h.ask("explain", all.Jobs[0].Job); err != nil || !bytes.Contains(raw, []byte("the job has stalled")) {
		t.Errorf("explain: %v: %s", err, raw)
	}
}
