package local_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
	bin, dir := program(t), t.TempDir()
	const steps = 24
	images := photographs(t, dir, 300, steps)
	want := repair(t, bin, dir)
	// Who inspects the job looks at every fourth or fifth example and not at this one.
	victim, aside, pipe := filepath.Join(images, "33.png"), filepath.Join(images, "aside"), filepath.Join(images, "pipe")
	for _, err := range []error{os.Rename(victim, aside), unix.Mkfifo(victim, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(bin, "repair", filepath.Join(dir, "job.yaml"), "-o", "json", "--output", filepath.Join(dir, "hung"),
		"--local", "2", "--vision-replicas", "1", "--language-replicas", "1")
	cmd.Env = append(os.Environ(), "RESSA_CONFIG="+os.DevNull, "RESSA_STALL_LIMIT=6s")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	var got api.Result
	swapped, released := false, false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e api.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Event == "note":
			notes = append(notes, e.Message)
			if strings.Contains(e.Message, "nothing has moved") && !swapped {
				swapped = true // the others find the file
				if err := os.Rename(victim, pipe); err != nil {
					t.Error(err)
				}
				if err := os.Rename(aside, victim); err != nil {
					t.Error(err)
				}
			}
		case e.Event == "step" && e.Step.Step == steps && swapped: // let it go, so that it ends with its cluster
			released = true
			if f, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
				t.Errorf("nobody hangs on the pipe: %v", err)
			} else {
				_ = f.Close()
			}
		case e.Event == "result":
			if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s\n%s", err, stderr.Bytes(), strings.Join(notes, "\n"))
	}
	text := strings.Join(notes, "\n")
	if !swapped || !released || !strings.Contains(text, `is at "waiting for data", the others wait`) || !strings.Contains(text, "the job has stalled") {
		t.Errorf("the notes do not tell who hangs:\n%s", text)
	}
	if got.AdapterSHA256 != want.AdapterSHA256 || got.AdapterSHA256 == "" || got.Generations != 2 || got.StepsLost > 1 {
		t.Errorf("adapter %s in %d generations, %d steps lost; undisturbed %s", got.AdapterSHA256, got.Generations, got.StepsLost, want.AdapterSHA256)
	}
}
