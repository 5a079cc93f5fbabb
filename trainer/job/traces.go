package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ressa/coordinator/api"
	"ressa/trainer/checkpoint/durable"
)

const (
	// tracedSteps is of how many steps a run of one process keeps the spans.
	tracedSteps = 16
	// maxTraces bounds the file in bytes.
	maxTraces = 64 << 20
)

// writeTraces keeps the spans of the last steps, where the run is of this process alone:
// nobody can be asked for them later.
func (r *run) writeTraces() error {
	all := r.Trace.All()
	if r.Team != nil || len(all) == 0 {
		return nil
	}
	raw, err := json.Marshal(all[max(0, len(all)-tracedSteps):])
	if err != nil {
		return fmt.Errorf("write %s: %w", traceFile, err)
	}
	return durable.WriteFile(r.folder.path(traceFile), append(raw, '\n'))
}

// Trace reads what the run in a folder kept of a step; 0 is its last.
func Trace(dir string, step int) (api.Trace, error) {
	if err := (api.TraceRequest{Step: step}).Check(); err != nil {
		return api.Trace{}, fmt.Errorf("--%w", err)
	}
	f, err := os.Open(filepath.Join(dir, traceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return api.Trace{}, fmt.Errorf("%s has no %s: a run that trains in one process leaves it at its end", dir, traceFile)
	}
	if err != nil {
		return api.Trace{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTraces+1))
	if err != nil {
		return api.Trace{}, err
	}
	if len(raw) > maxTraces {
		return api.Trace{}, fmt.Errorf("%s: more than %d bytes", f.Name(), maxTraces)
	}
	var all []api.Trace
	if err := json.Unmarshal(raw, &all); err != nil {
		return api.Trace{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if len(all) == 0 {
		return api.Trace{}, fmt.Errorf("%s: found no step", f.Name())
	}
	if step == 0 {
		return all[len(all)-1], nil
	}
	for _, t := range all {
		if t.Step == step {
			return t, nil
		}
	}
	return api.Trace{}, fmt.Errorf("--step: found %d, want one of the %d to %d that %s keeps", step, all[0].Step, all[len(all)-1].Step, f.Name())
}
