package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/attestor-gate/attestor/server/telemetry"
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
