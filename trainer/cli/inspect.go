package cli

import (
	"context"
	"errors"
	"strings"

	otrace "go.opentelemetry.io/otel/trace"

	"ressa/coordinator/api"
	"ressa/coordinator/api/telemetry"
	"ressa/trainer/job"
)

// inspect looks at a job. Where a request comes with a trace, as that of a job does, the
// look is a span of it.
func (n *node) inspect(ctx context.Context, spec string) api.Inspection {
	j, err := api.ParseJob("job", strings.NewReader(spec))
	if err != nil {
		return refusal(err)
	}
	if !otrace.SpanContextFromContext(ctx).IsSampled() {
		return inspect(ctx, j)
	}
	sink, release := n.sinks.of(ctx, j, n.log, n.log)
	defer release()
	tracer := telemetry.Service{Name: "ressa-trainer", Instance: n.name, Version: n.version}.Tracer(sink.Take)
	ctx, span := tracer.Start(ctx, "inspect", otrace.WithAttributes(telemetry.Node.String(n.name)))
	defer span.End()
	found := inspect(ctx, j)
	if found.Error != "" {
		span.RecordError(errors.New(found.Error))
	}
	return found
}

func refusal(err error) api.Inspection {
	return api.Inspection{Error: err.Error(), ExitCode: api.ExitCode(err)}
}

// inspect says what a job costs, or what is wrong with it.
func inspect(ctx context.Context, j api.Job) api.Inspection {
	p, err := job.Profile(ctx, j)
	if err != nil {
		return refusal(api.Invalid(err))
	}
	compute := j.Train.Compute
	if compute == api.ComputeFP32 {
		compute = ""
	}
	return api.Inspection{Profile: p, Name: j.Name, Steps: j.Train.Steps, Strict: j.Train.Numerics != "relaxed", Microbatches: j.Train.Microbatches, Wire: j.Train.Wire, Compute: compute}
}
