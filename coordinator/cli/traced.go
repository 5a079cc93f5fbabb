package cli

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/coordinator/cluster"
	"ressa/coordinator/spans"
)

// lastSpans is how long a verb waits at its end for a collector to take its span.
const lastSpans = 2 * time.Second

// openSink opens where spans go for a job that names an address, or none; nil for
// nowhere.
func openSink(ctx context.Context, address string, log *slog.Logger) (*telemetry.Sink, error) {
	c := telemetry.DefaultConfig()
	c.Address, c.Logger = address, log
	return telemetry.Open(ctx, c)
}

// follows begins the span of this command in the trace of a job: since it was begun, until
// end. Requests in the context carry it. Without a collector it goes nowhere.
func (a *App) follows(ctx context.Context, job, spec string, began time.Time, log *slog.Logger) (context.Context, func(error)) {
	address := ""
	if j, err := api.ParseJob("job", strings.NewReader(spec)); err == nil {
		address = j.Trace.Endpoint
	}
	sink, err := openSink(ctx, address, log)
	if err != nil {
		log.Warn("this command is not traced", "error", err)
	}
	tracer := telemetry.Service{Name: "ressa-cli", Instance: "cli", Version: a.Version}.Tracer(sink.Take)
	ctx, s := tracer.Start(telemetry.JobRoot(job).Under(ctx), "repair", trace.WithTimestamp(began), trace.WithAttributes(telemetry.Job.String(job)))
	return ctx, func(err error) {
		if err != nil {
			s.SetStatus(codes.Error, err.Error())
		}
		s.End()
		last, cancel := context.WithTimeout(context.Background(), lastSpans)
		defer cancel()
		if err := sink.Close(last); err != nil {
			log.Debug("last span not delivered", "error", err)
		}
	}
}

// tellingOf is how a coordinator tells its decisions as spans.
func tellingOf(m *cluster.Cluster, c cluster.Config) spans.Config {
	return spans.Config{ID: c.ID, Version: c.Version, Source: m, Logger: c.Logger, Now: c.Now, Open: func(ctx context.Context, address string) (spans.Out, error) {
		s, err := openSink(ctx, address, c.Logger)
		if s == nil || err != nil {
			return nil, err
		}
		return s, nil
	}}
}
