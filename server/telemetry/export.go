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

// Bounds of what traces may cost. A decision never waits for a collector:
// what does not fit into the queue is dropped.
const (
	maxQueuedSpans = 4096
	exportTimeout  = 5 * time.Second
	exportEvery    = 2 * time.Second
	// shutdownTimeout is what a process that ends gives its last spans.
	shutdownTimeout = 3 * time.Second
)

// Trace returns a provider that sends spans away in the background, and what
// ends it: within three seconds, whether or not anybody takes the last spans.
// It contacts nobody itself.
func Trace(ctx context.Context, e Export) (*sdktrace.TracerProvider, func() error, error) {
	if e.Endpoint == "" || e.Registry == nil || e.Logger == nil || e.Sample < 0 || e.Sample > 1 {
		return nil, nil, errors.New("exporting traces: endpoint, registry or logger is missing, or the sample is not between 0 and 1")
	}
	options := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(e.Endpoint), otlptracegrpc.WithTimeout(exportTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsedTime: exportTimeout}),
	}
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
		Name: "attestor_spans_lost_total", Help: "Spans that the collector did not take.",
	})}
	if err := e.Registry.Register(out.lost); err != nil {
		return nil, nil, fmt.Errorf("exporting traces: %w", err)
	}
	ratio := sdktrace.TraceIDRatioBased(e.Sample)
	provider := sdktrace.NewTracerProvider(
		// Cloud Run's front end marks nearly every request as not sampled: that
		// is about its own traces, and decides nothing here.
		sdktrace.WithSampler(sdktrace.ParentBased(ratio, sdktrace.WithRemoteParentNotSampled(ratio))),
		sdktrace.WithBatcher(out, sdktrace.WithMaxQueueSize(maxQueuedSpans), sdktrace.WithExportTimeout(exportTimeout), sdktrace.WithBatchTimeout(exportEvery)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "attestor"), attribute.String("service.version", e.Version))),
	)
	return provider, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			e.Logger.WarnContext(ctx, "the last spans were not taken", slog.Any("error", err))
		}
		return nil // no reason to call the whole run a failure
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
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("exporting traces: %s holds no certificate", e.CA)
	}
	return conf, nil
}

// exporter says once that spans are not taken, and once that they are again:
// the SDK would write each failure to standard error, in a form of its own.
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
			x.log.WarnContext(ctx, "traces are not taken by their collector; decisions do not wait for it", slog.Any("error", err))
		}
	case x.down.Swap(false):
		x.log.InfoContext(ctx, "traces are taken again")
	}
	return nil
}
