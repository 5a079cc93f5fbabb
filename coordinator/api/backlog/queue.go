package backlog

import (
	"context"
	"sync"
)

// Queue passes items to a reader from a goroutine of its own, which Close ends.
// It is safe for concurrent use.
type Queue[T any] struct {
	most int
	pass func(item T, dropped int)
	done chan struct{}

	mu      sync.Mutex
	came    *sync.Cond // something to pass, or the end
	items   []waiting[T]
	dropped int // since the last of items
	closed  bool
}

// waiting is an item, and how many were dropped before it.
type waiting[T any] struct {
	item    T
	dropped int
}

// New returns a queue in which at most so many items wait, but for those that are
// kept. pass is told how many items were dropped between the last one and this.
func New[T any](most int, pass func(item T, dropped int)) *Queue[T] {
	q := &Queue[T]{most: most, pass: pass, done: make(chan struct{})}
	q.came = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Put adds an item, unless too many wait or the queue was closed; it reports whether
// it did.
func (q *Queue[T]) Put(item T) bool { return q.add(item, false) }

// Keep adds an item, unless the queue was closed.
func (q *Queue[T]) Keep(item T) bool { return q.add(item, true) }

func (q *Queue[T]) add(item T, keep bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || !keep && len(q.items) >= q.most {
		q.dropped++
		return false
	}
	q.items = append(q.items, waiting[T]{item, q.dropped})
	q.dropped = 0
	q.came.Signal()
	return true
}

func (q *Queue[T]) run() {
	defer close(q.done)
	for {
		next, more := q.take()
		if !more {
			return
		}
		q.pass(next.item, next.dropped)
	}
}

// take waits for the next item; there is no more after Close.
func (q *Queue[T]) take() (next waiting[T], more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 {
		if q.closed {
			return next, false
		}
		q.came.Wait()
	}
	next, q.items[0] = q.items[0], next
	q.items = q.items[1:]
	return next, true
}

// Close takes no more items and waits until those that wait were passed on, or for
// ctx. It returns how many were dropped after the last one.
func (q *Queue[T]) Close(ctx context.Context) (dropped int, err error) {
	q.mu.Lock()
	q.closed = true
	q.came.Signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped, err
}
