package spans

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/state"
)

const (
	// most is how many addresses are open at once: jobs name them.
	most = 16
	// lastWait is how long one that is closed may take to deliver what it has.
	lastWait = 3 * time.Second
)

// out is where the spans of some jobs go.
type out struct {
	out    Out
	tracer trace.Tracer
	used   uint64
}

// outs are those that are open, by address.
type outs struct {
	config  Config
	open    map[string]*out // nil: nowhere
	clock   uint64
	closing sync.WaitGroup
}

// of returns where the spans of a job go; nil for nowhere.
func (o *outs) of(ctx context.Context, j *state.Job) *out {
	address := ""
	if spec, err := api.ParseJob("job", strings.NewReader(j.Request.Spec)); err == nil {
		address = spec.Trace.Endpoint
	}
	o.clock++
	if x, ok := o.open[address]; ok {
		if x != nil {
			x.used = o.clock
		}
		return x
	}
	taken, err := o.config.Open(ctx, address)
	if err != nil { // of this process's own variables, or an address that the job's check took
		o.config.Logger.Warn("decisions are not traced", "address", address, "error", err)
	}
	if o.open == nil {
		o.open = map[string]*out{}
	}
	if len(o.open) >= most {
		o.forget()
	}
	var x *out
	if taken != nil && err == nil {
		x = &out{taken, telemetry.Service{Name: "ressa-coordinator", Instance: o.config.ID, Version: o.config.Version}.Tracer(taken.Take), o.clock}
	}
	o.open[address] = x
	return x
}

// forget closes the one that was used longest ago.
func (o *outs) forget() {
	oldest, found := "", false
	for address, x := range o.open {
		if y := o.open[oldest]; !found || used(x) < used(y) {
			oldest, found = address, true
		}
	}
	o.end(o.open[oldest])
	delete(o.open, oldest)
}

func used(x *out) uint64 {
	if x == nil {
		return 0
	}
	return x.used
}

func (o *outs) end(x *out) {
	if x == nil {
		return
	}
	o.closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lastWait)
		defer cancel()
		if err := x.out.Close(ctx); err != nil {
			o.config.Logger.Debug("last spans of decisions not delivered", "error", err)
		}
	})
}

func (o *outs) close() {
	for _, x := range o.open {
		o.end(x)
	}
	o.closing.Wait()
}
