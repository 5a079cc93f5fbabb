package agent

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"ressa/coordinator/api"
)

// How long lines of workers that have ended can be asked for: until keptWorkers others
// have ended, or for keptFor.
const (
	keptWorkers = 2
	keptFor     = 10 * time.Minute
)

// markEvery is how often it is looked which marks are due.
const markEvery = time.Second

// asksPerSecond bounds how many questions for lines a node answers.
const asksPerSecond = 200

// said are the lines of the node's workers that can still be asked for.
type said struct {
	asks *rate.Limiter

	mu   sync.Mutex
	list []*lines // as they began
}

func newSaid() *said { return &said{asks: rate.NewLimiter(asksPerSecond, asksPerSecond)} }

func (s *said) add(l *lines) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, l)
}

// current forgets what was kept for long enough and returns the rest.
func (s *said) current(now time.Time) []*lines {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := 0
	for i := len(s.list) - 1; i >= 0; i-- {
		at := s.list[i].ended.Load()
		if at == nil {
			continue
		}
		if ended++; ended > keptWorkers || now.Sub(*at) > keptFor {
			s.list = slices.Delete(s.list, i, i+1)
		}
	}
	return slices.Clone(s.list)
}

// marking sends the marks that are due until ctx ends.
func (s *said) marking(ctx context.Context, now func() time.Time) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, l := range s.current(now()) {
			l.mark(now())
		}
	}
}

// asked answers a question for lines.
func (s *said) asked(m *nats.Msg, now time.Time) error {
	reply := nats.NewMsg(m.Reply)
	ask, err := api.ParseLineRequest(m.Data)
	switch {
	case err != nil:
	case !s.asks.Allow():
		reply.Header.Set(api.HeaderError, "too many questions for lines")
		return m.RespondMsg(reply)
	default:
		found := api.LineReply{Unknown: true}
		for _, l := range s.current(now) {
			if v := l.voice(ask.LineSource); v != nil {
				found = l.reply(v, ask.From, now)
			}
		}
		reply.Data, err = json.Marshal(found)
	}
	if err != nil {
		reply.Header.Set(api.HeaderError, err.Error())
	}
	return m.RespondMsg(reply)
}
