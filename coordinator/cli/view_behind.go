package cli

import (
	"context"
	"fmt"

	"ressa/coordinator/api"
	"ressa/coordinator/api/backlog"
)

// mostEvents is how many events wait for a view at most, but for those that are kept.
const mostEvents = 1 << 14

// behindView shows a job that runs in this process without holding it up: a terminal
// may be stopped, and a pipe full. Where too much is unread, events about steps and
// progress are dropped and counted; all others, the result among them, are shown.
type behindView struct {
	view  View
	queue *backlog.Queue[api.Event]
	log   *backlog.Writer // ends with the view
}

func newBehindView(view View, log *backlog.Writer) *behindView {
	v := &behindView{view: view, log: log}
	v.queue = backlog.New(mostEvents, func(e api.Event, dropped int) {
		if dropped > 0 {
			view.Event(api.Event{Job: e.Job, Event: "note", Seconds: e.Seconds,
				Message: fmt.Sprintf("%d events of steps are left out: they were not read in time; events.jsonl has them", dropped)})
		}
		view.Event(e)
	})
	return v
}

// Event implements [View]. It does not wait.
func (v *behindView) Event(e api.Event) {
	if e.Step != nil && e.Step.Step < e.Step.Steps || e.Event == "progress" {
		v.queue.Put(e)
		return
	}
	v.queue.Keep(e)
}

// Close waits until everything was shown, however long the reader takes: the job is
// over, and its result is not to be lost.
func (v *behindView) Close(err error) {
	_, _ = v.queue.Close(context.Background())
	_ = v.log.Close() // lines that nobody reads
	v.view.Close(err)
}
