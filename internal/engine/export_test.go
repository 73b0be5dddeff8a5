package engine

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/server"
)

// What the tests hold to the contracts of the packages that ask for it.

func Decisions(s *audit.Store) decisions { return decisions{s} }

func Simulator(s *audit.Store) simulator { return simulator{s} }

func Attestations(e *Engine) attestations { return attestations{e} }

// PagesJudging are the pages, with so many decisions of a simulation.
func PagesJudging(e *Engine, n int) (http.Handler, error) {
	site, _, err := newPagesOf(e, n)
	return site, err
}

func Policies(e *Engine) policies { return policies{e.Policies} }

func Occurrences(e *Engine) occurrences {
	return occurrences{e.Google.Grafeas, limit.Call(time.Minute)}
}

func Postures(e *Engine) (postures, error) { return e.newPostures() }

func PosturesOf(j *posture.Judge) postures { return postures{j} }

func Named(s attestor.Scanner, scans ...attestor.Scanner) named {
	return named{Scanner: s, scans: scans}
}

// ServeWith serves, and has admission listen by another function than net.Listen.
func ServeWith(
	ctx context.Context, e *Engine, ln net.Listener, open func(network, address string) (net.Listener, error),
) error {
	return e.serve(ctx, ln, open)
}

// Prune deletes within a time.
func Prune(ctx context.Context, s *audit.Store, before time.Time, atMost time.Duration) (server.Pruned, error) {
	return prune(ctx, s, before, atMost)
}

func Witnessed(r attestor.Recorder, recorded func(attestor.Record)) witnessed {
	return witnessed{r, recorded}
}

var (
	DialTopic   = dialTopic
	NewAttester = newAttester
)

func GoogleHosts(k authn.Keychain) authn.Keychain { return googleHosts{k} }

func Nobody() attestor.Attester { return nobody{} }

func CheckOverrides(c config.Config, s *policy.Set) error {
	return (&Engine{Config: c}).checkOverrides(s)
}

// Alike is what the page of a decision says of an override's attestors.
var Alike = alike

// Pages are those of the service, before any identity.
func Pages(e *Engine) (http.Handler, error) {
	site, _, err := newPages(e)
	return site, err
}

// Unrestricted is the filter of a caller's counts and sums.
var Unrestricted = unrestricted

// Readable is what tells apart who may see a summary.
func Readable(c attestor.Caller) string { return readable(c) }

// ProbeRepositories asks a stand-in of Artifact Registry.
var ProbeRepositories = probeRepositories

// PolicyError is policyError, for its test.
func PolicyError(name string, err error) error { return policyError(name, err) }

// Described are the descriptions of every metric that a service can have: of this one's, and of those that need what it
// has not, a bucket, a witness, a replica and teams.
func Described(e *Engine) []string {
	gauge := func(o prometheus.GaugeOpts, _ func(audit.LogState) float64) prometheus.Collector {
		return prometheus.NewGauge(o)
	}
	all := slices.Concat(copyMetrics(gauge), witnessMetrics("somebody", gauge),
		replicaGauges(func() audit.ReplicaState { return audit.ReplicaState{} }), teamGauges(nil), []prometheus.Collector{e.metrics})

	var out []string
	for _, c := range all {
		described := make(chan *prometheus.Desc)
		go func() { defer close(described); c.Describe(described) }()
		for d := range described {
			out = append(out, d.String())
		}
	}
	return out
}
