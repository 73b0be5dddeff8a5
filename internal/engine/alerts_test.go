package engine_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
)

// A metric is what a service registers.
type metric struct {
	labels []string
	help   string
}

var descriptions = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*)", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// metricsOf are the metrics of a service, by name.
func metricsOf(t *testing.T, e *engine.Engine) map[string]metric {
	t.Helper()
	out := map[string]metric{}
	for _, d := range engine.Described(e) {
		m := descriptions.FindStringSubmatch(d)
		if m == nil {
			t.Fatalf("a description of another form: %s", d)
		}
		labels := strings.FieldsFunc(m[4], func(r rune) bool { return r == ',' })
		for _, constant := range strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' }) {
			name, _, _ := strings.Cut(constant, "=")
			labels = append(labels, name)
		}
		if strings.HasPrefix(m[1], "attestor_") {
			out[m[1]] = metric{labels, m[2]}
		}
	}
	return out
}

var (
	selectors = regexp.MustCompile(`(attestor_[a-z_]+)(\{[^}]*\})?(\[[0-9]+[smhd]\])?`)
	matchers  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"`)
	kept      = regexp.MustCompile(`\bby \(([^)]*)\) \(`)
	called    = regexp.MustCompile(`([a-z_]+)\($`)
	histogram = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// wrongExpression is what a query asks that no service answers: a metric or a label that is not there, a value that a label
// never has, a rate of what does not count, a number of what only grows. It notes the metrics that it uses.
func wrongExpression(expr string, known map[string]metric, routes []string, used map[string]bool) []string {
	var out []string
	found := selectors.FindAllStringSubmatchIndex(expr, -1)
	if len(found) == 0 {
		out = append(out, "no metric")
	}
	if strings.Count(expr, "(") != strings.Count(expr, ")") {
		out = append(out, "brackets do not match")
	}
	for _, at := range found {
		name := expr[at[2]:at[3]]
		base := histogram.ReplaceAllString(name, "")
		m, ok := known[base]
		if !ok {
			out = append(out, "there is no metric "+base)
			continue
		}
		used[base] = true
		labels := m.labels
		if strings.HasSuffix(name, "_bucket") {
			labels = append(slices.Clone(labels), "le")
		}

		// What counts is read by its growth, and nothing else is.
		counts := strings.HasSuffix(name, "_total") || base != name
		within := called.FindStringSubmatch(expr[:at[0]])
		grows := within != nil && (within[1] == "rate" || within[1] == "increase")
		if ranged := at[6] >= 0; counts != ranged || ranged != grows {
			out = append(out, name+" is read as another kind of metric")
		}

		if at[4] >= 0 {
			for _, f := range matchers.FindAllStringSubmatch(expr[at[4]:at[5]], -1) {
				if !slices.Contains(labels, f[1]) {
					out = append(out, name+" has no label "+f[1])
				} else if !possible(f[1], strings.ReplaceAll(f[3], `\\`, `\`), strings.HasSuffix(f[2], "~"), m, routes) {
					out = append(out, name+": "+f[1]+" is never "+f[3])
				}
			}
		}
		for _, by := range kept.FindAllStringSubmatchIndex(expr, -1) {
			if at[0] < by[1] || at[0] > closing(expr, by[1]) {
				continue
			}
			for label := range strings.SplitSeq(expr[by[2]:by[3]], ",") {
				if label = strings.TrimSpace(label); !slices.Contains(labels, label) {
					out = append(out, name+" has no label "+label)
				}
			}
		}
	}
	return out
}

// closing is where the bracket ends that is open at from.
func closing(expr string, from int) int {
	open := 1
	for i := from; i < len(expr); i++ {
		switch expr[i] {
		case '(':
			open++
		case ')':
			if open--; open == 0 {
				return i
			}
		}
	}
	return len(expr)
}

// possible is whether a label can have a value: of the gate's own sets, or one that the metric's text names.
func possible(label, value string, pattern bool, m metric, routes []string) bool {
	var all []string
	switch label {
	case "verdict":
		all = []string{string(attestor.Pass), string(attestor.Deny), string(attestor.Undecided)}
	case "dry_run":
		all = []string{"true", "false"}
	case "route":
		all = routes
	case "status":
		all = []string{"200", "401", "403", "429", "500", "502", "503"}
	case "code":
		for _, c := range attestor.Codes() {
			all = append(all, string(c.Code))
		}
	default:
		all = regexp.MustCompile(`[a-z]+(-[a-z]+)*`).FindAllString(m.help, -1)
	}
	is := func(s string) bool { return s == value }
	if pattern { // of the whole value, as Prometheus has it
		re, err := regexp.Compile("^(?:" + value + ")$")
		if err != nil {
			return false
		}
		is = re.MatchString
	}
	return slices.ContainsFunc(all, is)
}

// measured is a service with all that has metrics.
func measured(t *testing.T) *world {
	t.Helper()
	h := newHook(t, nil)
	w := newWorld(t, worldOptions{quiet: true, config: func(c *config.Config) {
		c.Events = &config.Events{Source: "https://gate.example", Receivers: []config.Receiver{h.receiver(t, t.TempDir(), "chat")}}
		c.Log = &config.Log{Key: "gcpkms://" + logKeyVersion, Origin: "gate.example/decisions"}
		c.Telemetry.OTLP = &config.OTLP{Endpoint: "127.0.0.1:1", Plaintext: true}
	}})
	return w
}

// TestAlertsAndDashboard holds what the alerts and the dashboard ask against a service: each metric is one that it registers,
// with each label and value that is asked for; and all of its metrics are on the dashboard.
func TestAlertsAndDashboard(t *testing.T) {
	t.Parallel()
	w := measured(t)
	for _, path := range []string{"GET /ready", "GET /readyz", "POST /v1/rejudge"} {
		method, path, _ := strings.Cut(path, " ")
		body := ""
		if method == http.MethodPost {
			body = "{}"
		}
		if a := w.do(method, path, body); a.status == 0 || a.status == http.StatusNotFound {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
	}
	var routes []string
	for _, m := range regexp.MustCompile(`attestor_http_requests_total\{[^}]*route="([^"]*)"`).FindAllSubmatch(w.do("GET", "/metrics", "").body, -1) {
		routes = append(routes, string(m[1]))
	}
	known := metricsOf(t, w.engine)
	if len(known) < 40 || len(routes) < 3 {
		t.Fatalf("%d metrics, and the routes %q", len(known), routes)
	}

	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string } `yaml:"rules"`
		} `yaml:"groups"`
	}
	text, err := os.ReadFile("../../deploy/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(text, &alerts); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			n++
			for _, wrong := range wrongExpression(r.Expr, known, routes, map[string]bool{}) {
				t.Errorf("%s: %s", r.Alert, wrong)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d alerts", n)
	}

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if text, err = os.ReadFile("../../deploy/monitoring/dashboard.json"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, wrong := range wrongExpression(target.Expr, known, routes, used) {
				t.Errorf("%s: %s", p.Title, wrong)
			}
		}
	}
	for name := range known {
		if !used[name] {
			t.Errorf("%s is on no panel", name)
		}
	}
}

// TestWrongExpressions is the check's own: what no service answers is found.
func TestWrongExpressions(t *testing.T) {
	known := map[string]metric{
		"attestor_decisions_total":  {[]string{"verdict", "policy", "dry_run"}, "Decisions."},
		"attestor_decision_seconds": {nil, "Time."},
		"attestor_log_disputed":     {[]string{"witness"}, "1 if disputed."},
		"attestor_events_total":     {[]string{"kind", "outcome"}, "Messages by outcome: done, retry."},
		"attestor_http_total":       {[]string{"route", "status"}, "Requests."},
	}
	routes := []string{"/ready", "/v1/rejudge"}
	for expr, want := range map[string]string{
		`sum(rate(attestor_decisions_total{verdict="error", dry_run="false"}[10m])) / sum(rate(attestor_decisions_total[10m])) > 0.05`: "",
		`histogram_quantile(0.95, sum by (le) (rate(attestor_decision_seconds_bucket[10m]))) > 10`:                                     "",
		`max by (witness) (attestor_log_disputed) > 0 and sum by (kind, outcome) (rate(attestor_events_total{outcome="retry"}[1h]))`:   "",
		`increase(attestor_http_total{route=~"/readyz?", status=~"5..", status!="503"}[5m]) > 0`:                                       "",

		`sum(rate(attestor_decision_total[10m]))`:                              "no metric attestor_decision_total",
		`sum(rate(attestor_decisions_total{outcome="error"}[10m]))`:            "no label outcome",
		`sum(rate(attestor_decisions_total{verdict="undecided"}[10m]))`:        "verdict is never undecided",
		`sum(attestor_decisions_total)`:                                        "another kind",
		`rate(attestor_log_disputed[5m])`:                                      "another kind",
		`max_over_time(attestor_decisions_total[5m])`:                          "another kind",
		`max by (receiver) (attestor_log_disputed)`:                            "no label receiver",
		`sum by (le) (rate(attestor_decisions_total[5m]))`:                     "no label le",
		`rate(attestor_events_total{outcome="poison"}[1h])`:                    "never poison",
		`rate(attestor_http_total{route="/v1/re-judge"}[1h])`:                  "never /v1/re-judge",
		`rate(attestor_http_total{status=~"6.."}[1h])`:                         "never 6..",
		`(max by (witness) (attestor_log_disputed)) + sum by (kind) (up)) > 0`: "brackets",
		`up == 0`: "no metric",
	} {
		wrong := strings.Join(wrongExpression(expr, known, routes, map[string]bool{}), "\n")
		if (want == "") != (wrong == "") || !strings.Contains(wrong, want) {
			t.Errorf("%s: %q, want %q", expr, wrong, want)
		}
	}
}
