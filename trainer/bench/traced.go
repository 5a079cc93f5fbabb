package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"time"

	"ressa/coordinator/api/telemetry"
	kernels "ressa/kernels/cpu/bench"
	"ressa/trainer/trace"
)

// TraceCost is what it costs to record every step and to deliver it.
type TraceCost struct {
	Pairs     int     `json:"pairs"`
	Spans     float64 `json:"spans"`     // of a step
	Delivered int64   `json:"delivered"` // of all steps
	Dropped   int64   `json:"dropped"`
	// Steps are those of one side of a pair. Plain and Recorded are wall seconds of a step;
	// spans are delivered beside them, as in a job.
	Steps    int            `json:"steps"`
	Plain    kernels.Spread `json:"plain_seconds"`
	Recorded kernels.Spread `json:"recorded_seconds"`
	Wall     Ratio          `json:"wall_ratio"`
	// Processor compares the time of all threads of the process, until the spans are
	// delivered: all that it costs, as if nothing were beside the work.
	Processor Ratio `json:"processor_ratio"`
}

// Ratio is recorded divided by plain, of the same pair.
type Ratio struct {
	kernels.Spread
	// Low and High hold the median of many such measurements with 95 %, whatever their
	// distribution.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

const (
	// delivery is how long the spans of a step may take to be delivered.
	delivery = 20 * time.Second
	// tracedSteps are those of one side of a pair.
	tracedSteps = 2
	// rest is how long each side waits before the other's turn, for its spans to leave.
	rest = 60 * time.Millisecond
)

// Traced makes steps of a task in this process, in pairs: some plain, as many recorded and
// exported to a collector at an address, in turns which of them come first. Without an
// address the collector is one of this process, which reads and drops; what that costs
// counts too.
func Traced(ctx context.Context, s Solver, pairs int, address string) (out TraceCost, err error) {
	if address == "" {
		stop, at, err := drain()
		if err != nil {
			return out, err
		}
		defer stop()
		address = at
	}
	c := telemetry.DefaultConfig()
	c.Address, c.Delay = address, rest/2 // shorter than usual: it is waited for
	sink, err := telemetry.Open(ctx, c)
	if err != nil {
		return out, err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.Background(), delivery)
		defer cancel()
		_ = sink.Close(last) // everything was delivered, or is counted as dropped
	}()
	r := trace.New(trace.Config{Job: "bench", Generation: 1, Node: "local", Every: 1, Keep: 64, Sink: sink})
	err = s.open(ctx, func(o opened) error {
		var wall, processor [2][]float64 // plain, recorded
		n := 0
		once := func(recorded bool) (seconds, used float64, err error) {
			start, before := time.Now(), processorTime()
			for range tracedSteps {
				sctx, x := ctx, (*trace.Step)(nil)
				if recorded {
					sctx, x = r.Begin(ctx, n+1)
				}
				_, err = o.engine.Step(sctx, n, o.batches)
				if recorded {
					x.End(false, err)
					r.Settle()
				}
				if err != nil {
					return 0, 0, err
				}
				n++
			}
			seconds = time.Since(start).Seconds() / tracedSteps
			time.Sleep(rest) // both sides: a process that waits costs something too
			if recorded {
				err = delivered(ctx, sink)
			}
			return seconds, (processorTime() - before).Seconds() / tracedSteps, err
		}
		for pair := range pairs + 1 {
			for turn := range 2 {
				kind := (pair + turn) % 2
				seconds, used, err := once(kind == 1)
				if err != nil {
					return err
				}
				if pair > 0 { // the first warms up
					wall[kind], processor[kind] = append(wall[kind], seconds), append(processor[kind], used)
				}
			}
		}
		out.Pairs, out.Steps, out.Plain, out.Recorded = pairs, tracedSteps, kernels.SpreadOf(wall[0]), kernels.SpreadOf(wall[1])
		out.Wall, out.Processor = ratioOf(wall[1], wall[0]), ratioOf(processor[1], processor[0])
		return nil
	})
	counts := sink.Counts()
	out.Delivered, out.Dropped = counts.Delivered, counts.Dropped
	out.Spans = float64(counts.Given) / float64((pairs+1)*tracedSteps)
	return out, err
}

// delivered waits until everything that was recorded has left the process.
func delivered(ctx context.Context, sink *telemetry.Sink) error {
	for late := time.Now().Add(delivery); ; {
		if c := sink.Counts(); c.Given == c.Delivered+c.Dropped {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("the collector has not taken the spans of a step within %v", delivery)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ratioOf divides pair by pair.
func ratioOf(a, b []float64) Ratio {
	out := quotients(a, b)
	slices.Sort(out)
	low, high := ranks(len(out))
	return Ratio{kernels.SpreadOf(out), out[low], out[high]}
}

// ranks returns which of n sorted values hold the median between them with 95 %: the
// narrowest symmetric interval of order statistics, by the binomial distribution. Of
// fewer than six values it is all of them.
func ranks(n int) (low, high int) {
	weight, sum, all := 1.0, 0.0, math.Pow(2, float64(n)) // of k values below the median, of at most k, of any number
	for k := 0; k < n/2; k++ {
		if sum += weight; sum > 0.025*all {
			break
		}
		low = k
		weight *= float64(n-k) / float64(k+1)
	}
	return low, n - 1 - low
}

// drain is a collector that reads what it is sent and drops it.
func drain() (stop func(), address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	server := &http.Server{ReadHeaderTimeout: delivery, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a client that is gone needs no answer
	})}
	go func() { _ = server.Serve(l) }() // ends with Close
	return func() { _ = server.Close() }, "http://" + l.Addr().String(), nil
}
