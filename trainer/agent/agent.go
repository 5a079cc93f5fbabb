package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"ressa/collective/link"
	"ressa/coordinator/api"
	"ressa/coordinator/api/client"
)

// agent is a node at work.
type agent struct {
	Config
	info   api.NodeInfo
	client *client.Client
	node   *link.Node
	nudge  chan struct{}
	tasks  sync.WaitGroup
	health *health
	said   *said
	toHub  *publisher

	mu      sync.Mutex
	hub     *nats.Conn // nil before the first reply of a coordinator
	hubURLs []string
	worker  *worker // nil without work
}

// Run is a node until ctx ends. It fails when the cluster refuses the node, and
// when no coordinator can be reached at the start.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	release, err := claim(c.Dir)
	if err != nil {
		return err
	}
	defer release()
	if err := sweep(c.Dir); err != nil {
		c.Logger.Warn("half-written files of an earlier process are left", "error", err)
	}
	a := &agent{Config: c, nudge: make(chan struct{}, 1), health: newHealth(), said: newSaid()}
	config := client.DefaultConfig(c.Coordinators...)
	config.Logger, config.Timeout, config.Patience = c.Logger, tryWait, 0
	if a.client, err = client.New(config); err != nil {
		return err
	}
	defer a.client.Close()
	if a.node, err = link.Open(link.Options{Addr: c.Listen, Logger: c.Logger}); err != nil {
		return fmt.Errorf("server for tensors: %w", err)
	}
	defer a.node.Close()
	a.info = api.NodeInfo{Name: c.Name, Session: rand.Text(), PID: os.Getpid(), Version: c.Version, Devices: c.Devices,
		Tensors: a.node.URLs(), Threads: c.Threads}
	a.toHub = newPublisher(a)
	defer a.toHub.close()
	defer a.closeHub()
	marking, stop := context.WithCancel(ctx)
	a.tasks.Go(func() { a.said.marking(marking, a.Now) })
	err = a.watching(ctx, a.run)
	stop()
	return errors.Join(err, a.finish())
}

// finish waits for what still goes on, but not for ever.
func (a *agent) finish() error {
	ended := make(chan struct{})
	go func() { a.tasks.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-time.After(stopWait):
		return fmt.Errorf("node %s ends though work on it does not", a.Name)
	}
}

// claim makes the node's folder and locks it against other processes.
func claim(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, api.Invalid(fmt.Errorf("--data: %w", err))
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, api.Invalid(fmt.Errorf("--data: %w", err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(api.Invalid(fmt.Errorf("--data %s: another process runs this node", dir)), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// stopWait is how long a worker may take to stop when the node ends. One that hangs
// ends with the process.
const stopWait = 20 * time.Second

// beatWait bounds one beat, tryWait how long one coordinator may take to answer: one
// that stands still must not cost a node its lease with the leader.
const (
	beatWait = 3 * time.Second
	tryWait  = time.Second
)

// run registers, beats and follows what the replies say.
func (a *agent) run(ctx context.Context) error {
	began, heard, registered := a.Now(), time.Time{}, false
	// The first beat brings no inventory: the reply tells where the hub is, which
	// part of the inventory is measured on.
	register, every := false, time.Second
	for ctx.Err() == nil {
		reply, err := a.beat(ctx, register, false)
		switch {
		case err == nil:
			if register && !reply.Register {
				a.Logger.Info("registered", "node", a.Name, "leader", reply.Leader)
			}
			heard, register = a.Now(), reply.Register
			registered = registered || !register
			every = time.Duration(reply.LeaseSeconds / 4 * float64(time.Second))
			a.follow(ctx, reply)
			if register {
				a.measure()
				continue
			}
		case ctx.Err() != nil:
		case refused(err):
			return err
		case !registered && a.Now().Sub(began) > a.RegisterWait:
			return err
		default:
			a.Logger.Debug("no coordinator took the beat", "error", err)
			every = 300 * time.Millisecond
			// Another leader may not know this node yet.
			register = register || client.Conflict(err)
			if !heard.IsZero() && a.Now().Sub(heard) > a.OrphanTimeout {
				a.Logger.Warn("no coordinator for too long; stopping what runs here", "since", heard)
				a.orphan()
			}
		}
		select {
		case <-a.nudge:
		case <-time.After(every):
		case <-ctx.Done():
		}
	}
	a.leave()
	return nil
}

// measure completes the inventory by what the link to the hub is worth.
func (a *agent) measure() {
	if conn := a.conn(); conn != nil && a.info.Bandwidth == 0 {
		var err error
		if a.info.Bandwidth, a.info.Latency, err = measure(conn); err != nil {
			a.Logger.Warn("link to the hub not measured; the planner assumes one", "error", err)
		}
	}
}

// refused reports whether beating again would be refused again.
func refused(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Answer.ExitCode == api.ExitInvalid && (e.Status == http.StatusConflict || e.Status == http.StatusBadRequest)
}

func (a *agent) beat(ctx context.Context, register, leaving bool) (api.BeatReply, error) {
	b := api.Beat{Session: a.info.Session, Tasks: []api.Task{}, Leaving: leaving}
	if register {
		b.Info = &a.info
	}
	b.Health, _ = a.health.now()
	a.mu.Lock()
	w := a.worker
	a.mu.Unlock()
	if w != nil {
		b.Tasks, b.Reach = append(b.Tasks, w.task()), w.reach()
	}
	ctx, cancel := context.WithTimeout(ctx, beatWait)
	defer cancel()
	return a.client.Beat(ctx, a.Name, b)
}

// follow does what a reply says.
func (a *agent) follow(ctx context.Context, r api.BeatReply) {
	if err := a.connect(ctx, r.Hub); err != nil {
		a.Logger.Warn("hub not reached", "urls", r.Hub, "error", err)
		return
	}
	if !r.Register {
		a.assign(ctx, r.Assignments)
	}
}

// assign starts and stops workers until the newest assignment is what runs.
func (a *agent) assign(ctx context.Context, list []api.Assignment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.worker; w != nil {
		i := slices.IndexFunc(list, func(x api.Assignment) bool { return x.Job == w.part.Job && x.Generation == w.part.Generation })
		switch {
		case i < 0 && !w.over():
			w.stop(errReplaced)
			return // the next beat, which the end of the worker asks for, starts another
		case i >= 0:
			if list[i].Cancel {
				w.stop(errCancelled)
			}
			return
		}
	}
	if len(list) == 0 || list[0].Cancel && a.worker == nil {
		if len(list) > 0 { // cancelled before it began
			a.tasks.Go(func() { a.report(ctx, list[0].Job, a.outcome(list[0], api.Result{}, errCancelled)) })
		}
		return
	}
	w := newWorker(a, list[0])
	a.worker = w
	a.tasks.Go(func() {
		w.run(ctx)
		a.hurry()
	})
}

// orphan stops the worker of a node that no coordinator is left for. How that ended is
// told to whoever comes.
func (a *agent) orphan() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.worker != nil && !a.worker.over() {
		a.worker.stop(errOrphaned)
	}
}

// hurry has the node beat at once.
func (a *agent) hurry() {
	select {
	case a.nudge <- struct{}{}:
	default:
	}
}

// leave stops the worker and says goodbye.
func (a *agent) leave() {
	a.mu.Lock()
	w := a.worker
	a.mu.Unlock()
	if w != nil {
		w.stop(errLeaving)
		select {
		case <-w.done:
		case <-time.After(stopWait):
			a.Logger.Error("the worker does not end; leaving without it", "job", w.part.Job, "doing", w.task().Doing)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), beatWait)
	defer cancel()
	if _, err := a.beat(ctx, false, true); err != nil {
		a.Logger.Info("left without goodbye", "error", err)
	}
}
