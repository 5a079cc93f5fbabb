package joblog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// Listen keeps what arrives over the hub, and asks for what does not, until Close.
func (s *Store) Listen(hub *nats.Conn) error {
	for subject, take := range map[string]func(job string, raw []byte) error{
		api.LogSubject("*"):   s.lines(Log),
		api.EventSubject("*"): s.lines(Events),
		api.MarkSubject("*"):  s.marked,
	} {
		sub, err := hub.Subscribe(subject, func(m *nats.Msg) {
			if err := take(strings.Split(m.Subject, ".")[2], m.Data); err != nil {
				s.logger.Warn("line of a job not kept", "subject", m.Subject, "error", err)
			}
		})
		if err != nil {
			return fmt.Errorf("job logs: %w", err)
		}
		s.subs = append(s.subs, sub)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.tasks.Go(func() { s.asking(ctx, hub) })
	return nil
}

var errOtherJob = errors.New("it names another job")

// lines returns what takes lines of a kind.
func (s *Store) lines(kind Kind) func(job string, raw []byte) error {
	return func(job string, raw []byte) error {
		line, _, err := parseLine(raw)
		if err != nil {
			return err
		}
		if line.Job != job {
			return errOtherJob
		}
		return s.Add(kind, line)
	}
}

func (s *Store) marked(job string, raw []byte) error {
	m, err := api.ParseLineMark(raw)
	if err != nil {
		return err
	}
	if m.Job != job {
		return errOtherJob
	}
	return s.Mark(m)
}

// parseLine returns a line that was sent, and as it is kept.
func parseLine(raw []byte) (line api.LogLine, kept []byte, err error) {
	if err = json.Unmarshal(raw, &line); err == nil {
		kept, err = json.Marshal(line)
	}
	return line, kept, err
}
