package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/attestor-gate/attestor"
)

// metrics have labels from small fixed sets only, never an image, a caller or a
// text of theirs: each new value would be another series in memory.
type metrics struct {
	requests    *prometheus.CounterVec
	latency     *prometheus.HistogramVec
	decisions   *prometheus.CounterVec
	reasons     *prometheus.CounterVec
	duration    prometheus.Histogram
	breakGlass  prometheus.Counter
	attestation prometheus.Counter
	shed        prometheus.Counter
	teams       *prometheus.CounterVec // requests of each team, by what became of them

	mu    sync.Mutex
	known map[string]bool // teams that have a series; guarded by mu
}

func newMetrics(r *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		known: map[string]bool{},
		teams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_team_requests_total",
			Help: "Requests of teams' callers: served, or refused because the team or the caller used up its rate or " +
				"its slots. " +
				"team is other beyond the first thousand.",
		}, []string{"team", "outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_http_requests_total", Help: "HTTP requests answered.",
		}, []string{"method", "route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestor_http_request_seconds", Help: "Time from a request's header to its answer.",
			Buckets: buckets(),
		}, []string{"route"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_decisions_total",
			Help: "Decisions by verdict and policy; policy is empty where no policy governs the image.",
		}, []string{"verdict", "policy", "dry_run"}),
		reasons: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_reasons_total", Help: "Decisions that were refused, by each code among their reasons.",
		}, []string{"code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "attestor_decision_seconds", Help: "Time that a decision took.", Buckets: buckets(),
		}),
		breakGlass: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestor_break_glass_total", Help: "Refusals that were overridden.",
		}),
		attestation: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestor_attestations_created_total", Help: "Attestations that were signed and stored.",
		}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestor_http_shed_total", Help: "Requests refused because memory was short.",
		}),
	}

	var errs []error
	for _, c := range []prometheus.Collector{
		m.requests, m.latency, m.decisions, m.reasons, m.duration, m.breakGlass, m.attestation, m.shed, m.teams,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("making a server: registering metrics: %w", err)
	}
	return m, nil
}

func buckets() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

// request counts an answer. route is the pattern of the route and not the path.
func (m *metrics) request(method, route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}

	// RFC 9110, 9.1: a method is any token, which the client chooses.
	if !slices.Contains([]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
		http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}, method) {
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.latency.WithLabelValues(route).Observe(took.Seconds())
}

// decision counts a decision. Each code counts once, however many reasons have it.
func (m *metrics) decision(d attestor.Decision) {
	policy := ""
	if d.Policy != nil {
		policy = d.Policy.Name
	}
	verdict, _ := d.Verdict.MarshalText()
	m.decisions.WithLabelValues(string(verdict), policy, strconv.FormatBool(d.DryRun)).Inc()
	m.duration.Observe(float64(d.DurationMS) / 1000)

	counted := map[attestor.Code]bool{}
	for _, r := range d.Refusals() {
		if !counted[r.Code] {
			counted[r.Code] = true
			m.reasons.WithLabelValues(string(r.Code)).Inc()
		}
	}

	if d.BreakGlass != nil {
		m.breakGlass.Inc()
	}
	for _, a := range d.Attestations {
		if a.Created {
			m.attestation.Inc()
		}
	}
}

// maxTeamSeries bounds how many teams have series of their own.
const maxTeamSeries = 1000

// teamRequest counts a request of a team's caller that got a slot.
func (m *metrics) teamRequest(team string) { m.team(team, "served") }

// limited counts one that was refused, for rate or slots.
func (m *metrics) limited(team, why string) { m.team(team, why) }

// team counts by the name of a team's file, which no caller chooses; those of the configuration have none.
func (m *metrics) team(team, outcome string) {
	if team == "" {
		return
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known[team] {
		if len(m.known) >= maxTeamSeries {
			team = "other"
		} else {
			m.known[team] = true
		}
	}

	m.teams.WithLabelValues(team, outcome).Inc()
}

// exposeMetrics answers GET /metrics.
func (s *Server) exposeMetrics(k *call) error {
	promhttp.HandlerFor(s.c.Registry, promhttp.HandlerOpts{}).ServeHTTP(k.Response(), k.Request())
	return nil
}
