package main

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/verify"
)

// dependenciesConfig bounds the calls of what the gate asks, and says when one
// of them that does not answer is left alone.
type dependenciesConfig struct {
	// Timeouts are what one call has, its retries included.
	Timeouts timeoutsConfig `yaml:"timeouts"`
	// InFlight is how many calls of one dependency, or one registry host, are
	// made at once; further ones wait for their turn. 64.
	InFlight int `yaml:"inFlight"`
	// Outages, one after another, open the circuit of a dependency or registry
	// host (5): it is then asked nothing for Pause (10s), and by one call after that.
	Outages int      `yaml:"outages"`
	Pause   duration `yaml:"pause"`
}

// timeoutsConfig holds one for each dependency; 10s each.
type timeoutsConfig struct {
	Registries          duration `yaml:"registries"` // one manifest or config; layers have six times as long
	ContainerAnalysis   duration `yaml:"containerAnalysis"`
	KMS                 duration `yaml:"kms"`
	BinaryAuthorization duration `yaml:"binaryAuthorization"`
	ArtifactRegistry    duration `yaml:"artifactRegistry"`
	PubSub              duration `yaml:"pubsub"`
}

func (c *dependenciesConfig) complete() {
	for _, d := range []*duration{&c.Timeouts.Registries, &c.Timeouts.ContainerAnalysis, &c.Timeouts.KMS, &c.Timeouts.BinaryAuthorization, &c.Timeouts.ArtifactRegistry, &c.Timeouts.PubSub} {
		*d = or(*d, duration(callTimeout))
	}
	c.InFlight = or(c.InFlight, 64)
	c.Outages = or(c.Outages, 5)
	c.Pause = or(c.Pause, duration(10*time.Second))
}

// calls guards everything that the gate asks.
func (c dependenciesConfig) calls(r *prometheus.Registry, t trace.TracerProvider, log *slog.Logger) (*dependency.Calls, error) {
	return dependency.New(dependency.Config{Outages: c.Outages, Pause: time.Duration(c.Pause), InFlight: c.InFlight, Registry: r, Tracer: t, Logger: log})
}

// guardGoogle is around the calls of Google's services.
func (c dependenciesConfig) guardGoogle(calls *dependency.Calls) googleGuard {
	timeouts := map[string]duration{
		serviceAnalysis: c.Timeouts.ContainerAnalysis, serviceKMS: c.Timeouts.KMS, serviceBinauthz: c.Timeouts.BinaryAuthorization,
		serviceRegistry: c.Timeouts.ArtifactRegistry, servicePubSub: c.Timeouts.PubSub,
	}
	return func(service string) grpc.UnaryClientInterceptor {
		return calls.Unary(service, time.Duration(timeouts[service]))
	}
}

// guardRegistries gives every host a circuit of its own: one caller's registry
// that is down keeps nobody from another.
func (c config) guardRegistries(calls *dependency.Calls) func(http.RoundTripper) http.RoundTripper {
	known := c.Registries.hosts()
	return func(next http.RoundTripper) http.RoundTripper {
		if c.wrap != nil {
			next = c.wrap(next)
		}
		return calls.Transport(next, dependency.Hosts{
			Timeout: time.Duration(c.Dependencies.Timeouts.Registries), Ours: verify.Refused,
			Label: func(host string) string {
				if slices.Contains(known, host) {
					return host
				}
				if i := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, "*.") && strings.HasSuffix(host, k[1:]) }); i >= 0 {
					return known[i]
				}
				return "another host" // token servers, storage that registries redirect to
			},
		})
	}
}
