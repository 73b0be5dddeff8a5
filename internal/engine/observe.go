package engine

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/telemetry"
	"github.com/attestor-gate/attestor/verify"
)

// observe makes what counts, traces and limits calls.
func (e *Engine) observe(ctx context.Context) error {
	// Traces first, so that calls are traced from the first on.
	if o := e.Config.Telemetry.OTLP; o != nil {
		provider, stop, err := telemetry.Trace(ctx, telemetry.Export{
			Endpoint: o.Endpoint, Plaintext: o.Plaintext, CA: o.CA, Sample: o.Sample,
			Version: e.o.Version, Registry: e.metrics, Logger: e.log,
		})
		if err != nil {
			return err
		}
		e.tracer = provider
		e.closers = append(e.closers, stop)
	}

	d := e.Config.Dependencies
	var err error
	e.calls, err = dependency.New(dependency.Config{
		Outages: d.Outages, Pause: time.Duration(d.Pause), InFlight: d.InFlight,
		Registry: e.metrics, Tracer: e.tracer, Logger: e.log, Refused: e.o.Limited,
		Rates: map[string]float64{
			google.ServiceAnalysis: d.Rates.ContainerAnalysis,
			google.ServiceKMS:      d.Rates.KMS,
			google.ServiceBinauthz: d.Rates.BinaryAuthorization,
			google.ServiceRegistry: d.Rates.ArtifactRegistry,
		},
	})
	return err
}

// cacheLookups says how much of what is wanted of registries is in memory.
func cacheLookups(i *verify.Inspector) []prometheus.Collector {
	count := func(outcome string, of func(hits, misses uint64) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "attestor_cache_lookups_total",
			Help:        "Manifests and configs that were wanted, by whether they were in memory: hit, miss.",
			ConstLabels: prometheus.Labels{"outcome": outcome},
		}, func() float64 { return float64(of(i.CacheLookups())) })
	}
	return []prometheus.Collector{
		count("hit", func(hits, _ uint64) uint64 { return hits }),
		count("miss", func(_, misses uint64) uint64 { return misses }),
	}
}

// stalePolicies is the alarm of a policy that somebody changed and that does not
// load: what is in force is not what is on the disk.
func stalePolicies(w *policy.Watcher) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "attestor_policies_stale", Help: "1 where the policies on disk do not load and the ones from before " +
			"are in force.",
	}, func() float64 {
		if w.Err() != nil {
			return 1
		}
		return 0
	})
}

// NewLogger writes what Cloud Logging reads, and nothing under a key that is not
// on the list. Lines are linked to the traces of project or, where it is "", of
// the one that this runs in.
func NewLogger(w io.Writer, level slog.Level, project string) *slog.Logger {
	return slog.New(telemetry.NewLogHandler(w, level, cmp.Or(project, os.Getenv("GOOGLE_CLOUD_PROJECT"))))
}

// NewTextLogger writes lines of text for a person at a terminal, of the given level and above.
func NewTextLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(telemetry.NewTextHandler(w, level))
}

// ServiceLogger is the log of a service by its configuration.
func ServiceLogger(c config.Config, w io.Writer) *slog.Logger {
	return NewLogger(w, slog.LevelInfo, c.Telemetry.Project)
}
