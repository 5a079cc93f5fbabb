package agent

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ressa/coordinator/api"
)

// Without any coordinator, and without the hub, ranks go on exchanging until the
// timeout and then stop; who comes later is told, as of something that may pass.
func TestOrphansGoOnForAWhile(t *testing.T) {
	const timeout = 2 * time.Second
	f := newFake(t)
	f.orphan = timeout
	var steps [2]atomic.Int64
	work := func(ctx context.Context, p Part) (api.Result, error) {
		for {
			step, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := p.Session.AllGather(step, nil, "step", []byte{byte(p.Worker)})
			cancel()
			if err != nil {
				return api.Result{}, err
			}
			steps[p.Worker].Add(1)
			time.Sleep(5 * time.Millisecond)
		}
	}
	f.node("a", t.TempDir(), work)
	f.node("b", t.TempDir(), work)
	f.assign("job1", 1, false, "a", "b")
	f.eventually("both step", func() bool { return steps[0].Load() > 5 && steps[1].Load() > 5 })

	addr := f.http.Listener.Addr().String()
	f.http.CloseClientConnections()
	f.http.Close()
	f.hub.Shutdown()
	gone := time.Now()
	var last [2]int64
	for time.Since(gone) < timeout*3/4 {
		time.Sleep(timeout / 8)
		for w := range steps {
			if n := steps[w].Load(); n <= last[w] {
				t.Fatalf("worker %d stands still after %v without a coordinator", w, time.Since(gone))
			} else {
				last[w] = n
			}
		}
	}
	f.eventually("both stop", func() bool {
		before := [2]int64{steps[0].Load(), steps[1].Load()}
		time.Sleep(100 * time.Millisecond)
		return before == [2]int64{steps[0].Load(), steps[1].Load()}
	})
	if after := time.Since(gone); after > 4*timeout {
		t.Errorf("stopped %v after the last coordinator was lost, want about %v", after, timeout)
	}

	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	_ = again.Listener.Close()
	again.Listener = l
	again.Start()
	defer again.Close()
	f.eventually("both report", func() bool { return len(f.reports) == 2 })
	own := 0
	for _, r := range f.reported() {
		if r.State != api.Failed || len(r.Broken) != 1 {
			t.Errorf("report %+v, want one of a fault that may pass", r)
		}
		if strings.Contains(r.Error, "--orphan-timeout") {
			own++
		}
	}
	if own == 0 {
		t.Error("no report says why")
	}
}

func TestOrphanTimeoutIsChecked(t *testing.T) {
	c := DefaultConfig()
	c.Name, c.Dir, c.Coordinators, c.Devices = "a", t.TempDir(), []string{"http://127.0.0.1:1"}, []api.Device{{Name: "cpu"}}
	c.Work, c.Inspect = nothing, func(context.Context, string) api.Inspection { return api.Inspection{} }
	c.OrphanTimeout = 0
	if err := Run(t.Context(), c); api.ExitCode(err) != api.ExitInvalid || !strings.Contains(err.Error(), "--orphan-timeout") {
		t.Errorf("exit %d with %v", api.ExitCode(err), err)
	}
}
