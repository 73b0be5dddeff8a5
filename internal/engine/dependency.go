package engine

import (
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/verify"
)

// guardGoogle gives every call of a Google service its circuit and its time.
func guardGoogle(t config.Timeouts, calls *dependency.Calls) google.Guard {
	timeouts := map[string]when.Duration{
		google.ServiceAnalysis: t.ContainerAnalysis,
		google.ServiceKMS:      t.KMS,
		google.ServiceBinauthz: t.BinaryAuthorization,
		google.ServiceRegistry: t.ArtifactRegistry,
		google.ServicePubSub:   t.PubSub,
	}
	return func(service string) grpc.UnaryClientInterceptor {
		return calls.Unary(service, time.Duration(timeouts[service]))
	}
}

// guardRegistries gives every registry host a circuit of its own: one caller's
// registry that is down keeps nobody from another. wrap, unless it is nil, is
// closest to the network.
func guardRegistries(
	c config.Config, calls *dependency.Calls, wrap func(http.RoundTripper) http.RoundTripper,
) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		// Closest to the network: what it does is counted and timed as the registry's own.
		if wrap != nil {
			next = wrap(next)
		}
		return calls.Transport(next, dependency.Hosts{
			Timeout: time.Duration(c.Dependencies.Timeouts.Registries),
			Ours:    verify.Refused,
			Label:   c.Registries.Label,
		})
	}
}
