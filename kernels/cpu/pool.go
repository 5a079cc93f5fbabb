//go:build cgo

package cpu

// #include "kernels.h"
// #cgo noescape rk_run
// #cgo nocallback rk_run
// #cgo noescape rk_run_shared
// #cgo nocallback rk_run_shared
import "C"

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// job is one operation whose tasks several threads share. It belongs to a stream
// and is used again for every operation.
type job struct {
	fn      C.rk_task
	args    unsafe.Pointer
	next    *C.int64_t // the next task nobody has taken
	tasks   int
	scratch int           // bytes each thread needs
	done    chan struct{} // one token from each helper that ran
}

// awaitOne waits for one helper that began the job. It is in its last task, so that the
// stream looks for its token before it sleeps: to be woken takes longer than a task.
func (j *job) awaitOne() {
	for range awake {
		if len(j.done) > 0 {
			break
		}
	}
	<-j.done
}

// pool keeps the worker goroutines of a device. A stream takes the workers that
// are idle and never waits for one that is not.
type pool struct {
	mu      sync.Mutex
	idle    []*worker
	workers []*worker
	ended   sync.WaitGroup
}

// worker is a goroutine that waits for jobs, with its scratch memory. posted is the
// job in its mail that it has not begun: either it takes the job out and runs it, or
// the stream takes it out. A stream compares with its own job: by then the worker may
// have done that one and hold another's.
type worker struct {
	mail    chan *job
	posted  atomic.Pointer[job]
	scratch scratch
}

// awake is how often a worker that has nothing to do looks for its next job, and a
// stream for its helper's end, before it sleeps: some 50 µs, longer than what lies
// between two operations of a step and than what it takes to wake a thread.
const awake = 30000

func newPool(n int) *pool {
	p := &pool{}
	for range n {
		w := &worker{mail: make(chan *job, 1)}
		p.workers = append(p.workers, w)
		p.idle = append(p.idle, w)
		p.ended.Add(1)
		go p.serve(w)
	}
	return p
}

func (p *pool) serve(w *worker) {
	defer p.ended.Done()
	for {
		for range awake {
			if len(w.mail) > 0 {
				break
			}
		}
		j, open := <-w.mail
		if !open {
			break
		}
		if !w.posted.CompareAndSwap(j, nil) {
			p.put(w)
			continue
		}
		// A worker without memory for its scratch leaves the tasks to the others.
		if mem, err := w.scratch.atLeast(j.scratch); err == nil {
			C.rk_run_shared(j.fn, j.args, C.int64_t(j.tasks), j.next, mem)
		}
		done := j.done
		p.put(w)
		done <- struct{}{}
	}
	w.scratch.free()
}

// take appends up to n idle workers to ws.
func (p *pool) take(ws []*worker, n int) []*worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; n > 0 && len(p.idle) > 0; n-- {
		ws = append(ws, p.idle[len(p.idle)-1])
		p.idle = p.idle[:len(p.idle)-1]
	}
	return ws
}

func (p *pool) put(w *worker) {
	p.mu.Lock()
	p.idle = append(p.idle, w)
	p.mu.Unlock()
}

// post hands w, which was taken, a job.
func (w *worker) post(j *job) {
	w.posted.Store(j)
	w.mail <- j
}

// cancel withdraws j and reports whether w had not begun it.
func (w *worker) cancel(j *job) bool { return w.posted.CompareAndSwap(j, nil) }

// close ends the workers. No stream may be running.
func (p *pool) close() {
	for _, w := range p.workers {
		close(w.mail)
	}
	p.ended.Wait()
}
