package cli

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
)

// A node has open what its jobs name now, however many addresses they have named, and no
// job waits at its end for a collector that never answers.
func TestSinksOfJobsThatAreOverAreClosed(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	log := slog.New(slog.DiscardHandler)
	named := func(path string) (j api.Job) {
		j.Trace.Endpoint = "http://" + deaf.Addr().String() + path
		return j
	}
	var s sinks
	first, release := s.of(t.Context(), named("/a"), log, log)
	again, releaseAgain := s.of(t.Context(), named("/a"), log, log)
	if first == nil || first != again {
		t.Errorf("two users of an address have sinks %p and %p", first, again)
	}
	_, span := telemetry.Service{Name: "test"}.Tracer(first.Take).Start(telemetry.Fresh().Under(context.Background()), "span")
	span.End()
	release()
	if len(s.open) != 1 {
		t.Errorf("%d are open while one is used", len(s.open))
	}
	began := time.Now()
	releaseAgain()
	if took := time.Since(began); took > lastSpans/2 {
		t.Errorf("a job waits %v for its collector", took)
	}
	for _, path := range []string{"/b", "/c"} {
		_, release := s.of(t.Context(), named(path), log, log)
		release()
	}
	if len(s.open) != 0 {
		t.Errorf("%d are open and nobody uses them", len(s.open))
	}
	_, late := s.of(t.Context(), named("/d"), log, log) // of work that hangs
	s.close(log)
	late()
	if c := first.Counts(); c.Given != 1 || c.Waiting != 0 && c.Dropped == 0 {
		t.Errorf("the span came to %+v", c)
	}
}
