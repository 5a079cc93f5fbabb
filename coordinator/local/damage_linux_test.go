package local_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// files lists the regular files in a process's folder whose path in it matches one of
// the patterns, in order.
func (s *storm) files(p *process, patterns ...string) []string {
	var out []string
	root := filepath.Join(s.dir, p.name)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		within, err := filepath.Rel(root, path)
		for _, pattern := range patterns {
			if ok, _ := filepath.Match(pattern, within); ok {
				out = append(out, path)
				break
			}
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// damage cuts a file short, or flips one of its bits.
func (s *storm) damage(path string) {
	raw, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(raw) == 0 {
		return
	}
	s.damaged = s.damaged || filepath.Base(path) == "events.jsonl"
	at := s.dice.IntN(len(raw))
	what := "cut short"
	if s.dice.IntN(2) == 0 {
		raw = raw[:at]
	} else {
		what = "flipped a bit"
		raw[at] ^= 1 << s.dice.IntN(8)
	}
	within, _ := filepath.Rel(s.dir, path)
	s.say("  %s: %s at byte %d of %d", within, what, at, len(raw))
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// damageTrainer damages files of a trainer while it is down, or while everything is.
func (s *storm) damageTrainer(*told) {
	p, long, everything, how := s.trainer(), s.long(), s.dice.IntN(3) == 0, 1+s.dice.IntN(3)
	if chief := s.chief(); chief != nil && s.dice.IntN(2) == 0 {
		p = chief
	}
	down := []*process{p}
	if everything {
		down = s.nodes
	}
	for _, x := range down {
		s.say("  kill -9 %s, back after %v", x.name, long)
		s.kill(x)
	}
	found := s.files(p, "jobs/*/state.json", "jobs/*/events.jsonl", "jobs/*/job.yaml", "jobs/*/base/*", "jobs/*/checkpoints/*")
	for range how {
		if len(found) > 0 {
			s.damage(found[s.dice.IntN(len(found))])
		}
	}
	time.Sleep(long)
	for _, x := range down {
		s.start(x)
	}
}

// tearCoordinator leaves the files of a coordinator as a crash in the middle of a write
// can: what it keeps of its ports is garbage, and behind the last entries of its log is
// a part of one.
func (s *storm) tearCoordinator(*told) {
	p, long := s.coordinator(), s.long()
	if s.dice.IntN(2) == 0 {
		p = s.leading()
	}
	s.say("  kill -9 %s, back after %v", p.name, long)
	s.kill(p)
	for _, path := range s.files(p, "addr", "hub", "jobs/*") {
		if s.dice.IntN(2) == 0 {
			s.damage(path)
		}
	}
	if logs := s.files(p, "raft/log/*.wal"); len(logs) > 0 {
		s.tear(logs[len(logs)-1])
	}
	time.Sleep(long)
	s.start(p)
}

// tear writes the first part of an entry behind the last one of a segment.
func (s *storm) tear(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	raw, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	end := int64(len(bytes.TrimRight(raw, "\x00"))+7) &^ 7
	torn := make([]byte, 8+s.dice.IntN(300))
	for i := range torn {
		torn[i] = byte(s.dice.IntN(256))
	}
	copy(torn, []byte{1, 0, 0, 0, 0, 2, 0, 0}) // an entry of 512 bytes
	s.say("  %d bytes of an entry of 512 are behind byte %d of %s", len(torn)-8, end, filepath.Base(path))
	if _, err := f.WriteAt(torn, end); err != nil {
		s.t.Fatal(err)
	}
}

// damageLog flips a bit in the middle of a coordinator's log: the coordinator must
// refuse to go on with it, and is replaced by a new one of its name.
func (s *storm) damageLog(*told) {
	p := s.coordinator()
	s.kill(p)
	logs := s.files(p, "raft/log/*.wal")
	if len(logs) == 0 {
		s.t.Errorf("%s has no log", p.name)
		return
	}
	raw, err := os.ReadFile(logs[0])
	if err != nil {
		s.t.Fatal(err)
	}
	used := len(bytes.TrimRight(raw, "\x00"))
	at, bit := used/4+s.dice.IntN(used/4), s.dice.IntN(8)
	s.say("  bit %d of byte %d of the %d of the log of %s is flipped", bit, at, used, p.name)
	raw[at] ^= 1 << bit
	if err := os.WriteFile(logs[0], raw, 0o644); err != nil {
		s.t.Fatal(err)
	}
	before, err := os.ReadFile(s.log(p))
	if err != nil {
		s.t.Fatal(err)
	}
	s.start(p)
	select {
	case <-p.ended:
		code := p.cmd.ProcessState.ExitCode()
		p.cmd = nil
		said, err := os.ReadFile(s.log(p))
		if err != nil {
			s.t.Fatal(err)
		}
		last := lastLine(said[len(before):])
		s.say("  %s ends with %d: %s", p.name, code, last)
		if code != 2 || !strings.Contains(last, filepath.Base(logs[0])) {
			s.t.Errorf("%s, whose log is damaged, ends with %d: %s", p.name, code, last)
		}
	case <-time.After(20 * time.Second):
		s.t.Errorf("%s serves a damaged log", p.name)
		s.kill(p)
	}
	s.replace(p)
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// replace takes a coordinator that is gone out of the cluster, and has a new one of its
// name join.
func (s *storm) replace(p *process) {
	var last error
	if !s.within(40*time.Second, func() bool {
		_, last = s.ask("operator", "raft", "remove", p.name)
		return last == nil
	}) {
		s.t.Errorf("%s is not taken out: %v", p.name, last)
		return
	}
	s.empty(p)
	for _, other := range s.nodes[:stormCoordinators] {
		if other != p {
			p.args = []string{"coordinator", "--id", p.name, "--data", p.name, "--addr", p.address + ":7400", "--join", "http://" + other.address + ":7400"}
			break
		}
	}
	s.say("  %s joins anew", p.name)
	s.start(p)
}
