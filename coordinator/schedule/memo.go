package schedule

import (
	"sync"

	"ressa/coordinator/api"
	"ressa/shard"
)

// maxMemo bounds a Memo: what it remembers is dropped as a whole when it is full.
const maxMemo = 8192

// Memo remembers what the planner answered to a question about a job and a set of
// nodes. It is safe for concurrent use; the zero value is empty.
type Memo struct {
	mu      sync.Mutex
	answers map[question]answer
}

// question identifies a request to the planner. Inspections are immutable and
// held by the key, so that their address stands for their content.
type question struct {
	inspection *api.Inspection
	wants      wants
	chief      string
	kind       string
	nodes      uint64 // sum of what is known of them
	many       int
}

type answer struct {
	planned shard.Planned
	err     error
}

func (m *Memo) get(q question) (answer, bool) {
	if m == nil {
		return answer{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.answers[q]
	return a, ok
}

func (m *Memo) put(q question, a answer) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answers == nil || len(m.answers) >= maxMemo {
		m.answers = map[question]answer{}
	}
	m.answers[q] = a
}
