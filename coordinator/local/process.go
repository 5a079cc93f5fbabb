package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// process is one coordinator or trainer.
type process struct {
	name string
	dir  string // its own
	log  string // file of its standard error
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
	err  error         // why, after done
}

// command prepares a process that does not run yet. It gets none of the settings
// that are meant for its parent.
func command(binary, dir, name string, args ...string) (*process, error) {
	p := &process{name: name, dir: filepath.Join(dir, name), log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(binary, append(args, "--data", p.dir)...)
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RESSA_") }), "RESSA_CONFIG="+os.DevNull)
	p.cmd.SysProcAttr = ofGroup()
	return p, nil
}

// start starts the process; the thread that calls it must live as long.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() { // ends with the process
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

// running reports whether the process was started and has not ended.
func (p *process) running() bool {
	if p.cmd.Process == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal reaches the process and what it started itself. It must not have been
// seen to end: its number may be another's then.
func (p *process) signal(s syscall.Signal) error {
	err := syscall.Kill(-p.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// ended words the end of a process with the last lines that it wrote.
func (p *process) ended() error {
	why := "ended"
	if p.err != nil {
		why += " with " + p.err.Error()
	}
	return fmt.Errorf("%s %s; its last lines:\n%s", p.name, why, p.tail())
}

// How much of a log is shown.
const (
	tailBytes = 8 << 10
	tailLines = 20
)

// tail returns the last lines of the log, indented.
func (p *process) tail() string {
	raw, err := lastBytes(p.log)
	if err != nil {
		return "  " + err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(raw)), "\n")
	if n := len(lines) - tailLines; n > 0 {
		lines = lines[n:]
	}
	return "  " + strings.Join(lines, "\n  ")
}

func lastBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, info.Size()-tailBytes), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, tailBytes))
}

// stop asks every process to end, and ends those that do not within grace. It
// returns when all are gone.
func stop(processes []*process, grace time.Duration) error {
	var errs []error
	for _, p := range processes {
		if p.running() {
			errs = append(errs, p.signal(syscall.SIGTERM))
		}
	}
	patience := time.NewTimer(grace)
	defer patience.Stop()
	expired := false
	for _, p := range processes {
		if !p.running() {
			continue
		}
		if !expired {
			select {
			case <-p.done:
				continue
			case <-patience.C:
				expired = true
			}
		}
		errs = append(errs, p.signal(syscall.SIGKILL))
		<-p.done
	}
	return errors.Join(errs...)
}
