package local_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ressa/coordinator/api"
)

// check waits for the end of a repair and compares it with one that nothing disturbed.
func (s *storm) check(f *told, want *told, steps int) {
	s.t.Helper()
	select {
	case err := <-f.ended:
		if err != nil {
			raw, _ := s.ask("status", "-o", "json")
			s.history()
			s.t.Fatalf("repair: %v: %s\n%s", err, f.stderr.String(), raw)
		}
	case <-time.After(3 * time.Minute):
		raw, _ := s.ask("status", "-o", "json")
		s.history()
		s.t.Fatalf("the repair does not end; status %s", raw)
	}
	r := f.result
	s.say("%s: %d generations, %d steps lost, %.1f s, %d steps told", r.State, r.Generations, r.StepsLost, r.Seconds, len(f.steps))
	if r.AdapterSHA256 != want.result.AdapterSHA256 || r.AdapterSHA256 == "" || r.Steps != steps || r.Repaired == nil || r.Repaired.Score != want.result.Repaired.Score {
		s.t.Errorf("adapter %s after %d steps, score %v; undisturbed %s, %d, %v", r.AdapterSHA256, r.Steps, r.Repaired, want.result.AdapterSHA256, steps, want.result.Repaired)
	}
	// A step that is made again is made of the same microbatches.
	for _, x := range f.steps {
		y := want.steps[x.Step-1]
		if x.Step != y.Step || x.Loss != y.Loss || x.GradNorm != y.GradNorm || x.Tokens != y.Tokens {
			s.t.Errorf("step %d: loss %v, norm %v, %d tokens; undisturbed step %d %v, %v, %d", x.Step, x.Loss, x.GradNorm, x.Tokens, y.Step, y.Loss, y.GradNorm, y.Tokens)
		}
	}
}

// microbatches compares what the ranks of the result count, which is theirs in the last
// generation, with the steps that the run's own log has of it: every stage computed
// every microbatch of each of these steps once. That no step was made of others is
// told by what the steps say, in check.
func (s *storm) microbatches(f *told, output string, micro int) {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, output, "events.jsonl"))
	if err != nil {
		s.t.Error(err)
		return
	}
	steps, last := 0, -1
	for line := range bytes.Lines(raw) {
		var e api.Event
		switch err := json.Unmarshal(line, &e); {
		case err != nil: // torn by a crash, or damaged
		case e.Phase == "train":
			steps, last = 0, -1
		case e.Step != nil:
			if last >= 0 && e.Step.Step != last+1 && !s.damaged {
				s.t.Errorf("step %d comes after step %d in one generation", e.Step.Step, last)
			}
			steps, last = steps+1, e.Step.Step
		}
	}
	done := map[string]int{}
	for _, r := range f.result.Ranks {
		done[fmt.Sprint(r.Role, " stage ", r.Stage)] += r.Microbatches
	}
	if len(done) < 2 {
		s.t.Errorf("ranks %+v", f.result.Ranks)
	}
	s.say("microbatches of %d steps in the last generation: %v", steps, done)
	for stage, n := range done {
		if n%micro != 0 || n != steps*micro && !s.damaged {
			s.t.Errorf("%s computed %d microbatches in %d steps of %d", stage, n, steps, micro)
		}
	}
}

// leftovers reports temporary files in the nodes' folders.
func (s *storm) leftovers() {
	for _, p := range s.nodes {
		err := filepath.WalkDir(filepath.Join(s.dir, p.name), func(path string, e fs.DirEntry, err error) error {
			hidden := strings.HasPrefix(e.Name(), ".") && e.Name() != ".lock" // as those of durable and renameio
			if err == nil && (hidden || strings.Contains(e.Name(), "tmp") || e.Type()&fs.ModeSocket != 0) {
				s.t.Errorf("%s is left", path)
			}
			return nil // what goes away meanwhile is no leftover
		})
		if err != nil {
			s.t.Error(err)
		}
	}
}

// noProcesses reports what still runs on the machines.
func (s *storm) noProcesses() {
	for _, p := range s.nodes {
		raw, err := exec.Command("ip", "netns", "pids", p.namespace).CombinedOutput()
		if err != nil {
			s.t.Errorf("processes of %s: %v: %s", p.name, err, raw)
		} else if len(strings.TrimSpace(string(raw))) > 0 {
			s.t.Errorf("processes of %s are left: %s", p.name, strings.Fields(string(raw)))
		}
	}
}
