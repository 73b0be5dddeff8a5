package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
)

// Export says where traces go. Endpoint, Registry and Logger are required.
type Export struct {
	Endpoint  string  // HOST:PORT of a collector that speaks OTLP over gRPC
	Plaintext bool    // without TLS
	CA        string  // PEM file of who signed the collector's certificate; "": the system's
	Sample    float64 // part of the traces that is kept, 0 to 1; of those that their caller keeps, all are
	Version   string  // of the program

	Registry *prometheus.Registry
	Logger   *slog.Logger
}

// Bounds of what traces may cost. A decision never waits for a collector: spans that
// do not fit into the queue are dropped.
const (
	maxQueuedSpans = 4096
	exportTimeout  = 5 * time.Second
	exportEvery    = 2 * time.Second
	// shutdownTimeout bounds the export of the last spans when the process ends.
	shutdownTimeout = 3 * time.Second
)

// Trace returns a provider that exports spans in the background, and a function that
// ends it within three seconds, whether or not the collector takes the last spans.
// Trace itself contacts nobody.
func Trace(ctx context.Context, e Export) (*sdktrace.TracerProvider, func() error, error) {
	if e.Endpoint == "" || e.Registry == nil || e.Logger == nil || e.Sample < 0 || e.Sample > 1 {
		return nil, nil, errors.New(
			"exporting traces: endpoint, registry or logger is missing, or the sample is not between 0 and 1",
		)
	}

	options := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(e.Endpoint), otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(
			otlptracegrpc.RetryConfig{
				Enabled:         true,
				InitialInterval: 500 * time.Millisecond,
				MaxInterval:     2 * time.Second,
				MaxElapsedTime:  exportTimeout,
			},
		),
	}

	// TLS unless the configuration says otherwise.
	if e.Plaintext {
		options = append(options, otlptracegrpc.WithInsecure())
	} else {
		conf, err := e.tls()
		if err != nil {
			return nil, nil, err
		}
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(conf)))
	}

	client, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("exporting traces: %w", err)
	}

	out := &exporter{SpanExporter: client, log: e.Logger, lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "attestor_spans_lost_total", Help: "Spans that the collector did not accept.",
	})}

	if err := e.Registry.Register(out.lost); err != nil {
		return nil, nil, fmt.Errorf("exporting traces: %w", err)
	}

	ratio := sdktrace.TraceIDRatioBased(e.Sample)
	provider := sdktrace.NewTracerProvider(
		// Cloud Run's front end marks nearly every request as not sampled. That is
		// about its own traces, and decides nothing here.
		sdktrace.WithSampler(sdktrace.ParentBased(ratio, sdktrace.WithRemoteParentNotSampled(ratio))),
		sdktrace.WithBatcher(
			out,
			sdktrace.WithMaxQueueSize(maxQueuedSpans),
			sdktrace.WithExportTimeout(exportTimeout),
			sdktrace.WithBatchTimeout(exportEvery),
		),
		sdktrace.WithResource(
			resource.NewSchemaless(
				attribute.String("service.name", "attestor"),
				attribute.String("service.version", e.Version),
			),
		),
	)

	return provider, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			e.Logger.WarnContext(ctx, "could not export the last spans", slog.Any("error", err))
		}
		return nil // the run has not failed for want of its last spans
	}, nil
}

func (e Export) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CA == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(e.CA)
	if err != nil {
		return nil, fmt.Errorf("exporting traces: reading the collector's authority: %w", err)
	}

	// Only the given authority counts then, not the system's beside it.
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("exporting traces: %s holds no certificate", e.CA)
	}
	return conf, nil
}

// exporter logs once that export fails, and once that it works again. The SDK would
// write each failure to standard error, in a form of its own.
type exporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	lost prometheus.Counter
	down atomic.Bool
}

func (x *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := x.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil:
		x.lost.Add(float64(len(spans)))
		if !x.down.Swap(true) {
			x.log.WarnContext(
				ctx,
				"the trace collector does not accept spans; decisions are not affected",
				slog.Any("error", err),
			)
		}
	case x.down.Swap(false):
		x.log.InfoContext(ctx, "the trace collector accepts spans again")
	}

	return nil
}
