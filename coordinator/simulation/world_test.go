package simulation

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// world is virtual time, chance, and what happens next. All of it happens on one
// goroutine; what the product calls from its own waits until that comes to it.
type world struct {
	dice    *rand.Rand
	began   time.Time
	queue   queue
	seq     int
	story   strings.Builder
	events  int
	broken  string // the first violation
	network *network

	mu    sync.Mutex
	calls []call
	poke  chan struct{}
}

// event happens at a time.
type event struct {
	at  time.Duration
	seq int
	do  func()
}

type queue []*event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// call is what the product asks of the world.
type call struct {
	key string // what it is: those of one instant are taken in this order
	do  func()
}

func newWorld(seed uint64) *world {
	w := &world{dice: rand.New(rand.NewPCG(seed, 4)), began: time.Now(), poke: make(chan struct{}, 1)}
	w.network = &network{world: w, hasty: rand.New(rand.NewPCG(seed, 5)), cut: map[[2]string]bool{}}
	return w
}

// now is how long the world has been.
func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) say(format string, v ...any) {
	fmt.Fprintf(&w.story, "%10.6f  %s\n", w.now().Seconds(), fmt.Sprintf(format, v...))
}

// violate notes that a promise is broken.
func (w *world) violate(format string, v ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, v...)
		w.say("VIOLATION: %s", w.broken)
	}
}

// after has something happen later.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, &event{w.now() + d, w.seq, do})
}

// between draws a time, to the nanosecond: two things hardly ever coincide.
func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.dice.Int64N(int64(hi-lo)))
}

// chance is true once in so many times.
func (w *world) chance(in int) bool { return w.dice.IntN(in) == 0 }

// post hands a call of the product over. It does not wait.
func (w *world) post(key string, do func()) {
	w.mu.Lock()
	w.calls = append(w.calls, call{key, do})
	w.mu.Unlock()
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// settle lets the product come to rest and takes its calls, one by one.
func (w *world) settle() {
	for {
		synctest.Wait()
		w.mu.Lock()
		if len(w.calls) == 0 {
			w.mu.Unlock()
			return
		}
		slices.SortStableFunc(w.calls, func(a, b call) int { return cmp.Compare(a.key, b.key) })
		c := w.calls[0]
		w.calls = slices.Delete(w.calls, 0, 1)
		w.mu.Unlock()
		c.do()
	}
}

// run lets things happen until a time, a violation, or until enough says so.
func (w *world) run(until time.Duration, enough func() bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for w.settle(); w.broken == "" && w.now() < until && !enough(); w.settle() {
		next := until
		if len(w.queue) > 0 {
			next = min(next, w.queue[0].at)
		}
		if next > w.now() {
			timer.Reset(next - w.now())
			select {
			case <-timer.C:
			case <-w.poke:
				continue
			}
			w.settle() // what the product does at the same time comes first
		}
		if len(w.queue) > 0 && w.queue[0].at <= w.now() {
			w.events++
			heap.Pop(&w.queue).(*event).do()
		}
	}
}
