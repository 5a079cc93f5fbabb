package cli

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"ressa/coordinator/api"
	"ressa/trainer/agent"
	"ressa/trainer/job"
	"ressa/trainer/team"
	"ressa/trainer/trace"
)

// idleWait is how long a node keeps what it has open of a job that it has no part in
// any more: its next generation may want the node back.
const idleWait = 5 * time.Minute

// node is what computes on this machine. Between the generations of a job it keeps
// the device open and what the job's memory holds there; it keeps one job.
type node struct {
	device  api.DeviceChoice
	threads int
	name    string
	version string
	log     *slog.Logger
	sinks   sinks
	past    trace.Past

	mu   sync.Mutex
	kept *keeping
}

// keeping is what a node keeps of a job.
type keeping struct {
	job    string
	device *opened // nil: put away
	memory job.Memory
	busy   bool
	idle   *time.Timer // nil until it was busy
}

// take returns what is kept of a job, to work with; what is kept of another one goes.
func (n *node) take(id string, j api.Job, log *slog.Logger) (*keeping, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.kept; k != nil && k.job == id && k.device != nil {
		k.busy = true
		k.idle.Stop()
		return k, nil
	}
	if n.kept == nil || n.kept.job != id {
		if err := n.drop(); err != nil {
			log.Warn("device not closed", "error", err)
		}
		n.kept = &keeping{job: id}
	}
	k := n.kept // a job that was put away is still remembered
	var err error
	if k.device, err = openDevice(n.device, n.threads, workOf(j), log); err != nil {
		return nil, err
	}
	k.busy = true
	return k, nil
}

// give ends the work. A job that is over is forgotten; of another one the trained
// state is remembered, and after a while nothing else.
func (n *node) give(k *keeping, over bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	k.busy = false
	if over {
		return n.drop()
	}
	k.idle = time.AfterFunc(idleWait, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.kept == k && !k.busy {
			_ = k.putAway() // its device has nothing left to report
		}
	})
	return nil
}

// putAway closes what is open and keeps what is remembered.
func (k *keeping) putAway() error {
	if k.device == nil {
		return nil
	}
	k.memory.Close()
	err := k.device.Close()
	k.device = nil
	return err
}

// drop forgets the job that is kept.
func (n *node) drop() error {
	if n.kept == nil {
		return nil
	}
	if n.kept.idle != nil {
		n.kept.idle.Stop()
	}
	err := n.kept.putAway()
	n.kept = nil
	return err
}

// close gives everything back, unless work that hangs has it: it ends with the
// process.
func (n *node) close() {
	n.sinks.close(n.log)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.kept == nil || !n.kept.busy {
		_ = n.drop() // the process ends
	}
}

// work does one worker's part of a job.
func (n *node) work(ctx context.Context, p agent.Part) (api.Result, error) {
	j, err := api.ParseJob("job", strings.NewReader(p.Spec))
	if err != nil {
		return api.Result{}, err
	}
	t, err := team.New(team.Config{Plan: p.Plan, Group: p.Session, Timeout: exchangeWait})
	if err != nil {
		return api.Result{}, err
	}
	k, err := n.take(p.Job, j, p.Log)
	if err != nil {
		return api.Result{}, err
	}
	sink, release := n.sinks.of(ctx, j, p.Log, n.log)
	defer release()
	recorder := trace.New(trace.Config{Job: p.Job, Generation: p.Generation, Node: n.name, Worker: p.Worker, Version: n.version, Every: j.Trace.Every,
		Keep: keptSteps, Sink: sink})
	n.past.Add(recorder)
	r, err := job.Work(p.Activity.Track(ctx), j, job.Options{Dir: p.Dir, Device: k.device.Device, On: k.device.String(), Lanes: k.device.Lanes, Trace: recorder, Emit: p.Emit, Log: p.Log, Now: time.Now, Team: t, Generation: p.Generation, Memory: &k.memory, Publish: p.Publish,
		Progress: func(x job.Progress) { p.Progress(x.Phase, x.Step, x.Microbatches) }, WentOn: p.WentOn})
	return r, errors.Join(err, n.give(k, err == nil))
}
