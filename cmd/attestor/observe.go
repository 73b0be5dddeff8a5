package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor/server/telemetry"
	"github.com/attestor-gate/attestor/verify"
)

type telemetryConfig struct {
	// HashKey is a file whose bytes key the hash by which callers appear in
	// logs; without it hashes differ after a restart.
	HashKey string `yaml:"hashKey"`
	// Project links log lines to traces in Cloud Trace.
	Project string `yaml:"project"`
	// OTLP sends traces to a collector; none where it is left out.
	OTLP *otlpConfig `yaml:"otlp"`
}

type otlpConfig struct {
	// Endpoint is the collector's HOST:PORT, OTLP over gRPC.
	Endpoint string `yaml:"endpoint"`
	// Plaintext speaks to it without TLS, as to one on the same machine.
	Plaintext bool `yaml:"plaintext"`
	// CA is a PEM file of who signed its certificate; the system's by default.
	CA string `yaml:"ca"`
	// Sample is the part of traces that is kept, above 0 to 1; 1 by default.
	// Traces that their caller keeps are kept too.
	Sample float64 `yaml:"sample"`
}

func (o otlpConfig) problems() []error {
	var out []error
	if _, _, err := net.SplitHostPort(o.Endpoint); err != nil {
		out = append(out, fmt.Errorf("telemetry.otlp.endpoint: %q is not HOST:PORT", o.Endpoint))
	}
	if o.Sample < 0 || o.Sample > 1 {
		out = append(out, fmt.Errorf("telemetry.otlp.sample: %v is not between 0 and 1", o.Sample))
	}
	if o.Plaintext && o.CA != "" {
		out = append(out, errors.New("telemetry.otlp: plaintext and ca exclude each other"))
	}
	return out
}

// observe makes what counts and traces calls.
func (e *engine) observe(ctx context.Context) error {
	if o := e.config.Telemetry.OTLP; o != nil {
		provider, stop, err := telemetry.Trace(ctx, telemetry.Export{
			Endpoint: o.Endpoint, Plaintext: o.Plaintext, CA: o.CA, Sample: o.Sample, Version: version, Registry: e.metrics, Logger: e.log,
		})
		if err != nil {
			return err
		}
		e.tracer = provider
		e.closers = append(e.closers, stop)
	}
	var err error
	e.calls, err = e.config.Dependencies.calls(e.metrics, e.tracer, e.log)
	return err
}

// cacheLookups say how much of what is wanted of registries is in memory.
func cacheLookups(i *verify.Inspector) []prometheus.Collector {
	count := func(outcome string, of func(hits, misses uint64) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "attestor_cache_lookups_total", Help: "Manifests and configs that were wanted, by whether they were in memory: hit, miss.",
			ConstLabels: prometheus.Labels{"outcome": outcome},
		}, func() float64 { return float64(of(i.CacheLookups())) })
	}
	return []prometheus.Collector{
		count("hit", func(hits, _ uint64) uint64 { return hits }),
		count("miss", func(_, misses uint64) uint64 { return misses }),
	}
}

// serviceLogger links lines to the traces of the configured project, else to
// those of the one that this runs in.
func serviceLogger(c config, w io.Writer) *slog.Logger {
	return slog.New(telemetry.NewLogHandler(w, slog.LevelInfo, or(c.Telemetry.Project, os.Getenv("GOOGLE_CLOUD_PROJECT"))))
}
