package server_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ressa/coordinator/api"
)

// A job ends whose worker's last events no coordinator has heard: who follows gets them
// before the end, as soon as the node can be asked; without the node the end comes later,
// but it comes.
func TestAStreamEndsWithTheLastLines(t *testing.T) {
	c := start(t, "a")
	ctx, cl := context.Background(), c.client()
	eventually(t, "a leads", func() bool { return cl.Ready(ctx) == nil })
	c.node("n1")
	line := func(job string, seq uint64) []byte {
		raw, err := json.Marshal(api.LogLine{Job: job, Generation: 1, Node: "n1", Seq: seq, Event: []byte(`{"event":"note"}`)})
		if err != nil {
			t.Error(err)
		}
		return raw
	}
	run := func() (heard []uint64, after time.Duration) {
		t.Helper()
		j, err := cl.Submit(ctx, api.JobRequest{Spec: api.DemoJob()})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the job is planned", func() bool { return c.State().Job(j.ID).Active() })
		first := make(chan struct{}, 10)
		followed := make(chan error, 1)
		go func() {
			_, err := cl.Events(ctx, j.ID, func(l api.LogLine) error { heard = append(heard, l.Seq); first <- struct{}{}; return nil })
			followed <- err
		}()
		if err := c.Hub().Publish(api.EventSubject(j.ID), line(j.ID, 1)); err != nil {
			t.Fatal(err)
		}
		<-first
		began := time.Now()
		if err := cl.Report(ctx, j.ID, api.Report{Node: "n1", Generation: 1, State: api.Failed, ExitCode: 1, Error: "the disk is full", At: began}); err != nil {
			t.Fatal(err)
		}
		if err := <-followed; err != nil {
			t.Fatal(err)
		}
		return heard, time.Since(began)
	}
	if heard, after := run(); len(heard) != 1 || after < 4*time.Second || after > 15*time.Second {
		t.Errorf("without the node: lines %v after %v", heard, after)
	}
	// The node comes to the hub a second after the question.
	go func() {
		time.Sleep(time.Second)
		if _, err := c.Hub().Subscribe(api.LinesSubject("n1"), func(m *nats.Msg) {
			ask, err := api.ParseLineRequest(m.Data)
			if want := (api.LineSource{Job: ask.Job, Node: "n1", Generation: 1, Kind: api.EventLines}); err != nil || ask.LineSource != want || ask.From != 2 {
				t.Errorf("asked for %+v, %v", ask, err)
			}
			raw, err := json.Marshal(api.LineReply{First: 2, Last: 3, Ended: true, Lines: []json.RawMessage{line(ask.Job, 2), line(ask.Job, 3)}})
			if err != nil {
				t.Error(err)
			}
			_ = m.Respond(raw)
		}); err != nil {
			t.Error(err)
		}
	}()
	if heard, after := run(); len(heard) != 3 || heard[2] != 3 || after > 4*time.Second {
		t.Errorf("with the node: lines %v after %v", heard, after)
	}
}
