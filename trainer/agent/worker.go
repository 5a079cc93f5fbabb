package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ressa/collective/group"
	"ressa/collective/link"
	"ressa/collective/plane"
	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
	"ressa/trainer/activity"
)

// Why a worker is stopped.
var (
	errReplaced  = errors.New("the assignment is over")
	errCancelled = errors.New("cancelled")
	errLeaving   = errors.New("the node leaves")
	errOrphaned  = errors.New("no coordinator was there for too long (--orphan-timeout)")
)

// worker is one part of a job at work.
type worker struct {
	agent *agent
	part  Part
	out   *lines
	why   chan error // to stop, once
	done  chan struct{}

	mu      sync.Mutex
	now     api.Task
	session *link.Session
}

func newWorker(a *agent, x api.Assignment) *worker {
	w := &worker{agent: a, why: make(chan error, 1), done: make(chan struct{})}
	w.out = newLines(a, x)
	w.now = api.Task{Job: x.Job, Generation: x.Generation, Worker: x.Worker, PID: a.info.PID, State: "starting", Microbatches: make([]int, len(x.Plan.Roles(x.Worker)))}
	w.part = Part{Assignment: x, Dir: jobDir(a.Dir, x.Job), Emit: w.out.event, Log: slog.New(w.out.handler(a.Logger.Handler())), Activity: activity.New(a.Now), Progress: w.progress, WentOn: w.wentOn}
	return w
}

func (w *worker) progress(phase string, step int, microbatches []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.State, w.now.Phase, w.now.Step, w.now.Microbatches = api.Running, phase, step, slices.Clone(microbatches)
}

func (w *worker) wentOn(o api.Origin) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Origin = &o
}

func (w *worker) task() api.Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, r := w.now, w.part.Activity.Report()
	x.Activity, x.Doing, x.DoingSeconds, x.Waits = r.Count, r.Doing, r.For.Seconds(), r.Waits
	return x
}

func (w *worker) reach() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session == nil {
		return nil
	}
	return w.session.Reach()
}

// over reports whether the worker has ended.
func (w *worker) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// stop asks the worker to end; the first reason counts.
func (w *worker) stop(why error) {
	select {
	case w.why <- why:
	default:
	}
}

// run does the work, and reports how it ended unless that is nobody's concern.
func (w *worker) run(ctx context.Context) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	w.agent.tasks.Go(func() {
		select {
		case why := <-w.why:
			cancel(why)
		case <-ended:
		}
	})
	w.part.Publish = func(p api.Published) {
		w.agent.tasks.Go(func() {
			w.agent.deliver(ctx, "checkpoint", w.part.Job, func(ctx context.Context) error { return w.agent.client.Publish(ctx, w.part.Job, p) })
		})
	}
	w.part.Log.Info("worker starts", "job", w.part.Job, "generation", w.part.Generation, "worker", w.part.Worker, "of", len(w.part.Plan.Nodes))
	result, err := w.work(work)
	close(ended)
	if why := context.Cause(work); why != nil && err != nil {
		err = why
	}
	if err != nil {
		w.part.Log.Error("worker ended", "error", err)
	}
	report := w.agent.outcome(w.part.Assignment, result, err)
	w.agent.diagnose(work, w.part.Device, &report)
	w.mu.Lock()
	w.now.State, w.now.Error = report.State, report.Error
	w.mu.Unlock()
	w.out.end()
	if !errors.Is(err, errReplaced) && !errors.Is(err, errLeaving) && ctx.Err() == nil {
		w.agent.report(ctx, w.part.Job, report)
	}
	close(w.done)
}

// work joins the generation's group and does the part.
func (w *worker) work(ctx context.Context) (api.Result, error) {
	a := w.agent
	m := link.Membership{Job: w.part.Job, Generation: uint64(w.part.Generation), Rank: w.part.Worker}
	if hub := a.conn(); hub != nil {
		m.Hub = plane.Wrap(hub)
	}
	for _, p := range w.part.Peers {
		m.Peers = append(m.Peers, link.Peer{Node: p.Node, URLs: p.Tensors})
	}
	join, cancel := context.WithTimeout(ctx, a.JoinTimeout)
	s, err := a.node.Join(join, m)
	cancel()
	if err != nil {
		return api.Result{}, err
	}
	w.mu.Lock()
	w.session, w.now.State = s, api.Running
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.session = nil
		w.mu.Unlock()
		s.Close()
	}()
	w.part.Session = s
	// A group that ended ends the work, also where it is not exchanging anything.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	finished := make(chan struct{})
	defer close(finished)
	a.tasks.Go(func() {
		select {
		case <-s.Done():
			stop(s.Err())
		case <-finished:
		}
	})
	result, err := a.Work(ctx, w.part)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		s.Abort(err)
	}
	return result, err
}

// outcome is how a part ended, as a report.
func (a *agent) outcome(x api.Assignment, result api.Result, err error) api.Report {
	r := api.Report{Node: a.Name, Worker: x.Worker, Generation: x.Generation, State: api.Succeeded, At: a.Now()}
	switch {
	case err == nil:
		if x.Worker == 0 {
			r.Result = &result
		}
	case errors.Is(err, errCancelled):
		r.State, r.ExitCode, r.Error = api.Cancelled, api.ExitCancelled, err.Error()
	default:
		r.State, r.ExitCode, r.Error = api.Failed, api.ExitCode(err), err.Error()
		r.Broken = broken(err, x)
	}
	return r
}

// broken returns the workers with whom an exchange failed, where that is all that
// an error says: its cause is elsewhere. This worker itself stands for a fault of its
// node that may pass.
func broken(err error, x api.Assignment) []int {
	var abort *group.AbortError
	if errors.As(err, &abort) && abort.Rank != x.Worker {
		return []int{abort.Rank}
	}
	var away *group.UnreachedError
	if errors.As(err, &away) {
		return []int{away.Rank}
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, errOrphaned) {
		return []int{x.Worker} // of this node, not of the job: there may be room again
	}
	for _, e := range []error{group.ErrSuperseded, group.ErrLost, group.ErrCancelled, group.ErrCorrupt, group.ErrClosed, plane.ErrDisconnected, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			var others []int
			for w := range x.Plan.Nodes {
				if w != x.Worker {
					others = append(others, w)
				}
			}
			return others
		}
	}
	return nil
}

// report tells how a part ended.
func (a *agent) report(ctx context.Context, job string, r api.Report) {
	a.deliver(ctx, "report", job, func(ctx context.Context) error { return a.client.Report(ctx, job, r) })
}

// deliver tells the cluster something of a job until it is taken in, or not wanted
// any more.
func (a *agent) deliver(ctx context.Context, what, job string, call func(context.Context) error) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		try, cancel := context.WithTimeout(ctx, beatWait)
		err := call(try)
		cancel()
		switch {
		case err == nil:
			return
		case client.Conflict(err) || client.NotFound(err):
			a.Logger.Info(what+" not wanted any more", "job", job, "reason", err)
			return
		case refused(err):
			a.Logger.Error(what+" refused", "job", job, "error", err)
			return
		}
		a.Logger.Debug(what+" not taken in yet", "job", job, "error", fmt.Sprint(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}
