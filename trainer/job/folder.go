package job

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint/durable"
)

// ErrBusy is returned when another process runs the job of a folder.
var ErrBusy = errors.New("another process is running this job")

// The files of a run's folder.
const (
	jobFile    = "job.yaml"
	stateFile  = "state.json"
	eventsFile = "events.jsonl"
	resultFile = "result.json"
	plotFile   = "plot.png"
	traceFile  = "trace.json"
	lockFile   = ".lock"
)

// folder is a run's folder, held by this process.
type folder struct {
	dir  string
	lock *os.File
	made bool // by this process
}

// claim opens the folder of a run, making it where it is missing, and locks it
// against other processes.
func claim(dir string) (*folder, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return nil, fmt.Errorf("run folder: %s is a file, want a folder", dir)
	}
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("run folder %s: %w", dir, ErrBusy)
	}
	return &folder{dir, f, made}, nil
}

// release lets others have the folder; closing the file drops the lock.
func (f *folder) release() { _ = f.lock.Close() }

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

// runNames are what a run leaves in its folder. The job, by which a run is known,
// comes last, so that one that was discarded in part is still one.
func runNames() []string {
	return []string{stateFile, eventsFile, resultFile, plotFile, traceFile, "base", "checkpoints", "model", "output", jobFile}
}

// fresh makes sure that the folder holds no run, discarding one with replace, and
// nothing that is not a run's.
func (f *folder) fresh(replace bool) error {
	_, err := os.Stat(f.path(jobFile))
	switch {
	case err == nil && !replace:
		return api.Invalid(fmt.Errorf("--output: %s holds a run already; go on with it by `ressa resume %s`, or choose another folder", f.dir, f.dir))
	case err == nil:
		return f.discard()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("run folder: %w", err)
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockFile && !durable.IsTemp(e.Name()) {
			return api.Invalid(fmt.Errorf("--output: %s holds %s and no run; choose an empty folder", f.dir, e.Name()))
		}
	}
	return nil
}

// discard removes a run, but for what is named.
func (f *folder) discard(but ...string) error {
	for _, name := range runNames() {
		if slices.Contains(but, name) {
			continue
		}
		if err := os.RemoveAll(f.path(name)); err != nil {
			return fmt.Errorf("discard the old run: %w", err)
		}
	}
	return nil
}

// undo removes a run that was refused, and the folder where this process made
// it. What cannot be removed stays: the refusal is what the user has to hear.
func (f *folder) undo() {
	if f.discard() == nil && f.made {
		_ = os.Remove(f.path(lockFile))
		_ = os.Remove(f.dir)
	}
}

func (f *folder) writeJob(job api.Job) error {
	raw, err := yaml.Marshal(job)
	if err != nil {
		return fmt.Errorf("write %s: %w", jobFile, err)
	}
	return durable.WriteFile(f.path(jobFile), raw)
}

func (f *folder) readJob() (api.Job, error) { return Saved(f.dir) }

// Saved returns the job of the run that a folder holds.
func Saved(dir string) (api.Job, error) {
	f, err := os.Open(filepath.Join(dir, jobFile))
	if err != nil {
		return api.Job{}, api.Invalid(fmt.Errorf("%s holds no run: %w", dir, err))
	}
	defer f.Close()
	return api.ParseJob(f.Name(), f)
}

// state is what state.json holds: how far the run is and what finished phases
// found out.
type state struct {
	Job    string                `json:"job"`
	State  string                `json:"state"`
	Phase  string                `json:"phase"`
	Step   int                   `json:"step"`
	Steps  int                   `json:"steps"`
	Error  string                `json:"error,omitempty"`
	PID    int                   `json:"pid"`
	At     time.Time             `json:"at"`
	Scores map[string]*api.Score `json:"scores"`
	// Seconds that earlier processes spent on the run.
	Seconds float64 `json:"seconds"`
	// Best is the step of the checkpoint with the best validation score.
	Best      int     `json:"best"`
	BestScore float64 `json:"best_score"`
	Since     int     `json:"since"` // validations since the best
	Microdone int     `json:"microbatches"`
	// Lost counts steps that were made and had to be made again.
	Lost int `json:"steps_lost"`
	// Config is the hash of the job that the run began with.
	Config string `json:"job_config_sha256"`
	// Sum is the SHA-256 of all the rest, hexadecimal: numbers that a flipped bit made
	// others would go into the result.
	Sum string `json:"sha256"`
}

// sum returns what Sum has to be.
func (s *state) sum() (string, error) {
	rest := *s
	rest.Sum = ""
	raw, err := json.Marshal(&rest)
	return fmt.Sprintf("%x", sha256.Sum256(raw)), err
}

func (f *folder) writeState(s *state) error {
	summed := *s
	var err error
	if summed.Sum, err = s.sum(); err != nil {
		return fmt.Errorf("write %s: %w", stateFile, err)
	}
	raw, err := json.MarshalIndent(&summed, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", stateFile, err)
	}
	return durable.WriteFile(f.path(stateFile), append(raw, '\n'))
}

func readState(dir string) (*state, error) {
	path := filepath.Join(dir, stateFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s holds no run: %w", dir, err)
	}
	s := &state{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if want, err := s.sum(); err != nil || s.Sum != want {
		return nil, fmt.Errorf("read %s: damaged: its content has SHA-256 %s, it says %s", path, want, s.Sum)
	}
	if s.Scores == nil {
		s.Scores = map[string]*api.Score{}
	}
	return s, nil
}

// Status returns what `ressa status` prints for a run's folder. A run that says
// it is running but that no process holds was interrupted.
func Status(dir string, now time.Time) (api.Status, error) {
	s, err := readState(dir)
	if err != nil {
		return api.Status{}, err
	}
	out := api.Status{Job: s.Job, State: s.State, Phase: s.Phase, Step: s.Step, Steps: s.Steps, Generation: 1, Error: s.Error,
		BeatAge: now.Sub(s.At).Seconds(), Ranks: []api.Rank{}}
	if s.State == api.Running {
		f, err := claim(dir)
		switch {
		case err == nil:
			f.release()
			out.State = api.Interrupted
		case errors.Is(err, ErrBusy):
			out.Ranks = localRanks(s.PID, s.Microdone)
		default:
			return api.Status{}, err
		}
	}
	return out, nil
}

// readResult reads the result of a run that has succeeded.
func readResult(path string) (*api.Result, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := &api.Result{}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return out, nil
}
