package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// Attributes of spans.
const (
	Job        = attribute.Key("ressa.job")
	Generation = attribute.Key("ressa.generation")
	Step       = attribute.Key("ressa.step")
	Microbatch = attribute.Key("ressa.microbatch")
	Tower      = attribute.Key("ressa.tower")
	Stage      = attribute.Key("ressa.stage")
	Replica    = attribute.Key("ressa.replica")
	Node       = attribute.Key("ressa.node")
	Bytes      = attribute.Key("ressa.bytes")
	Peer       = attribute.Key("ressa.peer") // a node that something is sent to or comes from
)

// Service is who makes spans.
type Service struct {
	Name     string // service.name: ressa-vision, ressa-coordinator, …
	Instance string // service.instance.id: the node or the coordinator
	Version  string
}

// Tracer returns a tracer of a service whose spans, when they have ended, are given
// to take. Spans of every trace are recorded.
func (s Service) Tracer(take func(sdk.ReadOnlySpan)) trace.Tracer {
	attributes := []attribute.KeyValue{semconv.ServiceName(s.Name), semconv.ServiceInstanceID(s.Instance), semconv.ServiceVersion(s.Version)}
	r, err := resource.New(context.Background(), resource.WithFromEnv(), resource.WithAttributes(attributes...))
	if err != nil { // OTEL_RESOURCE_ATTRIBUTES that is none: the rest is there
		r = resource.NewSchemaless(attributes...)
	}
	p := sdk.NewTracerProvider(sdk.WithResource(r), sdk.WithIDGenerator(ids{}), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithSpanProcessor(taker(take)))
	return p.Tracer("ressa")
}

// taker is a processor that hands ended spans on.
type taker func(sdk.ReadOnlySpan)

// OnStart implements [sdk.SpanProcessor].
func (taker) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements [sdk.SpanProcessor].
func (t taker) OnEnd(s sdk.ReadOnlySpan) { t(s) }

// Shutdown implements [sdk.SpanProcessor].
func (taker) Shutdown(context.Context) error { return nil }

// ForceFlush implements [sdk.SpanProcessor].
func (taker) ForceFlush(context.Context) error { return nil }
