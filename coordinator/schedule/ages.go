package schedule

import (
	"sync"
	"time"
)

// Ages remembers when a leader first saw the time that something was stamped with. A
// wall clock may jump while it leads: how long something has waited is then told by
// the clock that does not, which measures how long the leader has listened. The zero
// value is empty; it is safe for concurrent use.
type Ages struct {
	mu    sync.Mutex
	began map[int64]time.Duration // by stamp, in nanoseconds: how long the leader had listened when it was made
}

// of returns the age of a stamp, which is first at its first sight.
func (a *Ages) of(at time.Time, listened, first time.Duration) time.Duration {
	if a == nil {
		return first
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if began, ok := a.began[at.UnixNano()]; ok {
		return max(0, listened-began)
	}
	if a.began == nil || len(a.began) >= maxMemo {
		a.began = map[int64]time.Duration{}
	}
	a.began[at.UnixNano()] = listened - first
	return first
}
