package cli_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
)

// A weight that is no finite number is refused by every verb that reads it,
// before anything is computed, and by its name.
func TestWeightsThatAreNotFinite(t *testing.T) {
	s := newScenario(t)
	for _, c := range []struct {
		tensor, want string // the name in the file ends so; the name in the error
		bits         uint32
		says         string
	}{
		{"multi_modal_projector.linear_1.bias", "model.multi_modal_projector.linear_1.bias", 0x7fc00000, "element [0] is NaN"},
		{"layers.1.mlp.up_proj.weight", "model.language_model.layers.1.mlp.up_proj.weight", 0xff800000, "element [0 0] is -Inf"},
		{"post_layernorm.bias", "model.vision_tower.post_layernorm.bias", 0x7f800000, "element [0] is +Inf"},
	} {
		dir := s.copyModel()
		s.edit(filepath.Join(dir, "model.safetensors"), func(b []byte) []byte {
			n, h := header(b)
			found := false
			for name, e := range h {
				if strings.HasSuffix(name, c.tensor) {
					found = true
					binary.LittleEndian.PutUint32(b[8+n+int(e["data_offsets"].([]any)[0].(float64)):], c.bits)
				}
			}
			if !found {
				t.Fatalf("no tensor %s", c.tensor)
			}
			return b
		})
		out := filepath.Join(t.TempDir(), "out")
		for _, args := range [][]string{
			{"eval", dir}, {"prune", dir, "--output", out}, {"prune", dir, "--import", "--output", out}, {"repair", s.job("MODEL", dir), "--output", out}, {"validate", s.job("MODEL", dir)},
		} {
			o := s.run(args...)
			if o.code != api.ExitInvalid || strings.Count(o.stderr, "\n") != 1 || o.stdout != "" || !strings.Contains(o.stderr, `tensor "`+c.want+`"`) ||
				!strings.Contains(o.stderr, filepath.Join(dir, "model.safetensors")+": "+c.says) {
				t.Errorf("%v: exit %d, %q and %q, want one line with %s: %s", args, o.code, o.stderr, o.stdout, c.want, c.says)
			}
			if _, err := os.Stat(out); err == nil {
				t.Errorf("%v left a folder", args)
			}
		}
	}
}

// A signal ends a verb also while it still waits for its job or draws its weights.
func TestStartUpIsInterrupted(t *testing.T) {
	s := newScenario(t)
	t.Run("waiting for a job", func(t *testing.T) {
		s := scenario{t, s.files}
		fifo := filepath.Join(t.TempDir(), "job.yaml")
		s.check(unix.Mkfifo(fifo, 0o600))
		cmd := s.command("repair", fifo, "--output", filepath.Join(t.TempDir(), "run"))
		s.check(cmd.Start())
		writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // returns once the verb reads
		s.check(err)
		defer writer.Close()
		s.check(cmd.Process.Signal(unix.SIGTERM))
		_ = cmd.Wait() // the exit code tells
		if code := cmd.ProcessState.ExitCode(); code != api.ExitCancelled {
			t.Errorf("exit %d, want %d", code, api.ExitCancelled)
		}
	})
	t.Run("drawing weights", func(t *testing.T) {
		s := scenario{t, s.files}
		big := s.copyModel()
		s.check(os.Remove(filepath.Join(big, "model.safetensors")))
		s.edit(filepath.Join(big, "config.json"), func(b []byte) []byte {
			var c map[string]any
			s.check(json.Unmarshal(b, &c))
			c["text_config"].(map[string]any)["num_hidden_layers"] = 2000
			b, err := json.Marshal(c)
			s.check(err)
			return b
		})
		dir := filepath.Join(t.TempDir(), "run")
		cmd := s.command("repair", s.job("MODEL", big, "pretrained", "random"), "--output", dir, "-o", "json")
		out, err := cmd.StdoutPipe()
		s.check(err)
		s.check(cmd.Start())
		lines := bufio.NewReader(out)
		first, err := lines.ReadString('\n')
		s.check(err)
		if !strings.Contains(first, `"prepare"`) {
			t.Errorf("the first event is %s", first)
		}
		s.check(cmd.Process.Signal(unix.SIGTERM))
		rest, err := io.ReadAll(lines)
		s.check(err)
		_ = cmd.Wait() // the exit code tells
		if code := cmd.ProcessState.ExitCode(); code != api.ExitCancelled || strings.Count(string(rest), "\n") != 1 || !strings.Contains(string(rest), api.Cancelled) {
			t.Errorf("exit %d after %q, want %d and a result", code, rest, api.ExitCancelled)
		}
		if out := s.succeed("status", dir); !strings.Contains(out, api.Cancelled) {
			t.Errorf("status %q", out)
		}
	})
}
