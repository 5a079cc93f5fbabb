package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tmaxmax/go-sse"

	"ressa/coordinator/api"
)

const (
	// silence is after how long a stream counts as broken: coordinators send a
	// comment every 10 s.
	silence = 35 * time.Second
	// maxEvent bounds one event of a stream in bytes: the hub takes no more.
	maxEvent = api.MaxHubPayload + 64<<10
)

// Events hands every event of a job to each, from the job's first one on, until
// the job ends, and returns the job as it ended. An error of each ends the stream
// and is returned as it is.
func (c *Client) Events(ctx context.Context, id string, each func(api.LogLine) error) (api.JobRecord, error) {
	return c.stream(ctx, jobPath(id, "/events"), nil, each)
}

// Logs hands every line of a job's log to each: those that there are, or with
// follow all until the job ends. It returns the job as it is then.
func (c *Client) Logs(ctx context.Context, id string, follow bool, each func(api.LogLine) error) (api.JobRecord, error) {
	var query url.Values
	if follow {
		query = url.Values{"follow": {"1"}}
	}
	return c.stream(ctx, jobPath(id, "/logs"), query, each)
}

// worker is one source of lines.
type worker struct{ generation, worker int }

// stream reads a stream until its last event. When it breaks, the next attempt
// goes on after the last identifier; a coordinator that numbers the lines
// otherwise starts over, so each worker's lines are counted here too.
func (c *Client) stream(ctx context.Context, path string, query url.Values, each func(api.LogLine) error) (api.JobRecord, error) {
	var end api.JobRecord
	var last string
	seen := map[worker]uint64{}
	for {
		ended := false
		r := request{method: http.MethodGet, path: path, query: query, header: http.Header{"Accept": {"text/event-stream"}}}
		if last != "" {
			r.header.Set("Last-Event-ID", last)
		}
		err := c.try(ctx, r, func(resp *http.Response) error {
			body := watch(resp.Body)
			defer body.timer.Stop()
			for e, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxEvent}) {
				if err != nil {
					return nil // broken: what was read counts, so the patience begins anew
				}
				if e.Type == api.EndOfStream {
					ended = true
					return json.Unmarshal([]byte(e.Data), &end)
				}
				var line api.LogLine
				if err := json.Unmarshal([]byte(e.Data), &line); err != nil {
					return &callbackError{fmt.Errorf("event %s of the stream: %w", e.LastEventID, err)}
				}
				last = e.LastEventID
				from := worker{line.Generation, line.Worker}
				if line.Seq <= seen[from] {
					continue
				}
				seen[from] = line.Seq
				if err := each(line); err != nil {
					return &callbackError{err}
				}
			}
			return nil
		})
		var callback *callbackError
		switch {
		case errors.As(err, &callback):
			return end, callback.err
		case err != nil || ended:
			return end, err
		case ctx.Err() != nil:
			return end, ctx.Err()
		}
		select { // a coordinator that is stopping ends its streams before its listener
		case <-time.After(firstPause):
		case <-ctx.Done():
			return end, ctx.Err()
		}
	}
}

// watched closes a body that has been silent for too long.
type watched struct {
	io.ReadCloser
	timer *time.Timer
}

func watch(body io.ReadCloser) *watched {
	return &watched{body, time.AfterFunc(silence, func() { body.Close() })}
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.timer.Reset(silence)
	return n, err
}
