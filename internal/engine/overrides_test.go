package engine_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/policy"
)

// overriding is a policy whose overrides have the given breakGlass.
func overriding(breakGlass string) string {
	return `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: window}
spec:
  mode: enforce
  images: ["*/app/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH, scan: {required: false}}
  breakGlass: ` + breakGlass + `
  attestors: [` + samples.Attestor + `]
`
}

// TestOverridesThatNothingEndsAreRefused: a policy promises an end, and the
// configuration must be able to keep that.
func TestOverridesThatNothingEndsAreRefused(t *testing.T) {
	t.Parallel()
	caller := func(images string, actions ...string) *config.Identity {
		return &config.Identity{Callers: []config.Caller{{Email: "scheduler@example", Actions: actions, Images: []string{images}}}}
	}
	postgres, sqlite := config.Store{Postgres: "dsn"}, config.Store{SQLite: "record.db"}
	only := func(hosts ...string) config.Registries { return config.Registries{Allowed: hosts} }
	refused := []string{"policy window", "breakGlass.expires is 6s", "rejudge", "POST /v1/expire"}
	const ends = "{allowed: true, expires: 6s}"
	for _, tt := range []struct {
		name, breakGlass string
		config           config.Config
		want             []string // in the error; none: it is taken
	}{
		{"no store", ends, config.Config{Store: config.Store{None: true}}, []string{"policy window", "breakGlass.expires is 6s", "store.none"}},
		{"no store, and no end", "{allowed: true}", config.Config{Store: config.Store{None: true}}, nil},
		{"the single instance", ends, config.Config{Store: sqlite, Identity: caller("**", "attest")}, nil},
		{"several instances, open on loopback", ends, config.Config{Store: postgres}, nil},
		{"several instances, and a scheduler", ends, config.Config{Store: postgres, Identity: caller("**", "rejudge")}, nil},
		{"a scheduler for every application", ends, config.Config{Store: postgres, Identity: caller("*/app/**", "rejudge")}, nil},
		{
			"a scheduler for the one registry", ends,
			config.Config{Store: postgres, Registries: only("r.example"), Identity: caller("r.example/**", "rejudge")},
			nil,
		},
		{
			"a scheduler for one registry of two", ends,
			config.Config{Store: postgres, Registries: only("r.example", "s.example"), Identity: caller("r.example/**", "rejudge")},
			refused,
		},
		{
			"a scheduler for one registry of any", ends,
			config.Config{Store: postgres, Registries: only("*"), Identity: caller("r.example/**", "rejudge")}, refused,
		},
		{"a scheduler for other images", ends, config.Config{Store: postgres, Identity: caller("other.example/**", "rejudge")}, refused},
		{"a scheduler for some of the images", ends, config.Config{Store: postgres, Identity: caller("*/app/payments/**", "rejudge")}, refused},
		{"a scheduler for one level of the images", ends, config.Config{Store: postgres, Identity: caller("*/app/*", "rejudge")}, refused},
		{"a reader of all, and a scheduler of some", ends, config.Config{Store: postgres, Identity: &config.Identity{Callers: []config.Caller{
			{Email: "reader@example", Actions: []string{"read", "attest"}, Images: []string{"**"}},
			{Email: "scheduler@example", Actions: []string{"rejudge"}, Images: []string{"*/app/payments/**"}},
		}}}, refused},
		{"several instances, and no scheduler", ends, config.Config{Store: postgres, Identity: caller("**", "attest", "read")}, refused},
	} {
		set, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: []byte(overriding(tt.breakGlass))})
		if err != nil {
			t.Fatal(err)
		}
		err = engine.CheckOverrides(tt.config, set)
		if (err != nil) != (len(tt.want) > 0) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", tt.name, err, want)
			}
		}
	}
}

// TestAnOverrideEndsOnItsOwn is the whole way, on both databases: an override, its
// end, the call of a scheduler, and what the record, the metrics and a second call
// say then.
func TestAnOverrideEndsOnItsOwn(t *testing.T) {
	t.Parallel()
	onBothRecords(t, func(t *testing.T, w *world) {
		w.writePolicy(overriding("{allowed: true, expires: 1s}"))
		for range 2 { // a text counts once it was read twice alike
			w.engine.Policies.Reload(t.Context())
		}
		image := w.push("app/root", "v1", imageOn(t, baseImage(t), "0", entry{"app", "1"}))
		body := `{"image":"` + image + `","breakGlass":{"reason":"INC-1: checkout is down"}}`
		a := w.do(http.MethodPost, "/v1/attest", body)
		var d attestor.Decision
		if err := json.Unmarshal(a.body, &d); a.status != http.StatusOK || err != nil || d.BreakGlass == nil || d.BreakGlass.Expires == nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
		<-time.After(time.Until(*d.BreakGlass.Expires))

		shown := func() attestor.Decision {
			var out attestor.Decision
			a := w.do(http.MethodGet, "/v1/decisions/"+d.ID, "")
			w.ok(json.Unmarshal(a.body, &out))
			return out
		}
		if s := shown().OverrideState; s == nil || !s.Open || !s.Overdue {
			t.Errorf("past its end it is %+v", s)
		}
		if o := standing(t, w, d.Image.Reference); len(o) != 1 || o[0].Decision != d.ID || o[0].By == "" || !o[0].Overdue {
			t.Errorf("its attestations are said to be of %+v", o)
		}
		for path, want := range map[string]string{
			"/decisions/" + d.ID:           "The override is overdue: it should have ended on ",
			"/images/" + d.Image.Reference: ", which has passed.",
		} {
			a := w.do(http.MethodGet, path, "")
			if a.status != http.StatusOK || !strings.Contains(string(a.body), want) || !strings.Contains(string(a.body), "INC-1: checkout is down") {
				t.Errorf("%s: %d, without %q", path, a.status, want)
			}
		}
		if a := w.do(http.MethodPost, "/v1/expire", "{}"); a.status != http.StatusOK || !strings.Contains(string(a.body), `"ended":1`) {
			t.Errorf("expire: %d %s", a.status, a.body)
		}
		after := shown()
		if s, r := after.OverrideState, after.Revoked; s == nil || s.Open || s.Closed != attestor.ClosedExpired || r == nil ||
			r.Kind != attestor.RevokedAtEnd || r.Override != d.ID || len(r.Attestations) != len(d.Attestations) || after.Verdict != attestor.Deny {
			t.Errorf("ended as %+v, %+v", s, r)
		}
		if a := w.do(http.MethodPost, "/v1/expire", "{}"); !strings.Contains(string(a.body), `"ended":0`) {
			t.Errorf("once more: %s", a.body)
		}
		if m := w.do(http.MethodGet, "/metrics", ""); !strings.Contains(string(m.body), "attestor_expire_age_seconds ") {
			t.Error("no metric of the time since the last run")
		}
	})
}

// standing returns the overrides that GET /v1/attestations tells of, which must say whether there are any.
func standing(t *testing.T, w *world, image string) []attestor.StandingOverride {
	t.Helper()
	var out struct {
		Valid     []attestor.Attestation
		Overrides []attestor.StandingOverride
	}
	a := w.do(http.MethodGet, "/v1/attestations?image="+url.QueryEscape(image), "")
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK || len(out.Valid) == 0 || out.Overrides == nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return out.Overrides
}

// TestAPassEndsWhatIsSaidOfAnOverride: valid attestations are told to be an
// override's for as long as it is their only ground, by whatever way they are asked
// for.
func TestAPassEndsWhatIsSaidOfAnOverride(t *testing.T) {
	t.Parallel()
	onBothRecords(t, func(t *testing.T, w *world) {
		govern := func(text string) {
			w.writePolicy(text)
			for range 2 { // a text counts once it was read twice alike
				w.engine.Policies.Reload(t.Context())
			}
			w.ok(w.engine.Policies.Err())
		}
		strict := overriding("{allowed: true, expires: 6h}")
		govern(strict)
		image := w.push("app/root", "v1", imageOn(t, baseImage(t), "0", entry{"app", "1"}))
		a := w.do(http.MethodPost, "/v1/attest", `{"image":"`+image+`","breakGlass":{"reason":"INC-1: checkout is down"}}`)
		var d attestor.Decision
		if err := json.Unmarshal(a.body, &d); a.status != http.StatusOK || err != nil || d.BreakGlass == nil {
			t.Fatalf("%d %s", a.status, a.body)
		}

		// Its attestor is the ordinary one, which the page says for as long as it matters.
		const cannotTell = "Deploy policies cannot tell this override from a pass: it was attested by " + samples.Attestor + ","
		if a := w.do(http.MethodGet, "/decisions/"+d.ID, ""); a.status != http.StatusOK || !strings.Contains(string(a.body), cannotTell) {
			t.Errorf("the page does not warn: %d", a.status)
		}

		o := standing(t, w, d.Image.Reference)
		if len(o) != 1 || o[0].Decision != d.ID || o[0].Overdue || o[0].By != d.BreakGlass.By ||
			!o[0].Expires.Equal(d.BreakGlass.Expires.Truncate(time.Microsecond)) ||
			len(o[0].Attestors) != 1 ||
			o[0].Attestors[0] != samples.Attestor {
			t.Errorf("an open override is told as %+v", o)
		}

		// A refusal changes nothing. A pass does, with the same attestation.
		if a := w.do(http.MethodPost, "/v1/attest", `{"image":"`+image+`"}`); a.status != http.StatusUnprocessableEntity {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if o := standing(t, w, d.Image.Reference); len(o) != 1 {
			t.Errorf("after a refusal: %+v", o)
		}
		govern(strings.Replace(strict, "nonRoot: true}",
			"nonRoot: false}\n  rules: [{name: r, expression: 'image.user != \"x\"', message: m}]", 1))
		if a := w.do(http.MethodPost, "/v1/attest", `{"image":"`+image+`"}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if o := standing(t, w, d.Image.Reference); len(o) != 0 {
			t.Errorf("after a pass: %+v", o)
		}
		if a := w.do(http.MethodGet, "/decisions/"+d.ID, ""); a.status != http.StatusOK || strings.Contains(string(a.body), "Deploy policies cannot") {
			t.Errorf("the page warns of an override that a pass has closed: %d", a.status)
		}
	})
}

// TestTheSingleInstanceEndsOverridesItself: with SQLite no scheduler is needed. What reached its end while nothing ran is
// ended once the instance is back.
func TestTheSingleInstanceEndsOverridesItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{policy: overriding("{allowed: true, expires: 1s}")})
	image := w.push("app/root", "v1", imageOn(t, baseImage(t), "0", entry{"app", "1"}))
	a := w.do(http.MethodPost, "/v1/attest", `{"image":"`+image+`","breakGlass":{"reason":"INC-1: checkout is down"}}`)
	var d attestor.Decision
	if err := json.Unmarshal(a.body, &d); a.status != http.StatusOK || err != nil || d.BreakGlass == nil || len(d.Attestations) != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}

	w.stop()
	<-time.After(time.Until(*d.BreakGlass.Expires))
	w.start()
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var got attestor.Decision
		a := w.do(http.MethodGet, "/v1/decisions/"+d.ID, "")
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got.Revoked != nil {
			if got.Revoked.Kind != attestor.RevokedAtEnd || got.Revoked.Caller.Subject != "the gate itself" ||
				got.OverrideState.Closed != attestor.ClosedExpired {
				t.Errorf("revoked by %+v, %+v", got.Revoked, got.OverrideState)
			}
			break
		}
		if time.Now().After(until) {
			t.Fatalf("it is not ended: %+v", got.OverrideState)
		}
	}
	if left := w.standing(image); len(left) != 0 {
		t.Errorf("still attested: %+v", left)
	}
}
