package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/admission"
)

const (
	digestGood = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestBad  = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// annotated is the answer with what the cluster's audit log keeps.
func annotated(t *testing.T, h http.Handler, body string) (allowed bool, warnings []string, annotations map[string]string) {
	t.Helper()
	r := httptest.NewRequest("POST", "/v1/admission", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var a struct {
		Response struct {
			Allowed          bool
			Warnings         []string
			AuditAnnotations map[string]string
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return a.Response.Allowed, a.Response.Warnings, a.Response.AuditAnnotations
}

func created(spec string) string { return reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+spec+`}`) }

// In a mode that warns, whatever the other mode refuses is admitted with a warning, and nothing else is.
func TestWarnRefusesNothing(t *testing.T) {
	enforcing := handler(t, cluster{}, nil)
	warning := handler(t, cluster{}, func(c *admission.Config) { c.Mode = admission.Warn })
	for what, body := range map[string]string{
		"attested": created(pod(good)), "unattested": created(pod(bad)), "both": created(pod(good, bad)),
		"by tag":     created(pod("registry.example/team/app:v1")),
		"ungoverned": created(pod(foreign)), "no registry": created(pod("nginx")),
		"no containers": created(`{"containers":[]}`), "too many": created(pod(many(101)...)),
		"another kind": reviewOf("autoscaling", "v1", "Scale", "UPDATE", `{"spec":{}}`), "no object": reviewOf("", "v1", "Pod", "CREATE", `null`),
		"an operation": reviewOf("", "v1", "Pod", "CONNECT", `{}`), "a deletion": reviewOf("", "v1", "Pod", "DELETE", `null`),
	} {
		refusedNow, _, _ := annotated(t, enforcing, body)
		allowed, warnings, annotations := annotated(t, warning, body)
		would := slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, "attestor: would be refused: ") })
		if !allowed || would == refusedNow || (annotations["verdict"] == "would be refused") == refusedNow {
			t.Errorf("%s: allowed %v, warnings %q, annotations %v; mode attested allows it: %v", what, allowed, warnings, annotations, refusedNow)
		}
	}

	// What is no review is refused in every mode.
	for _, h := range []http.Handler{enforcing, warning} {
		if code, _ := ask(t, h, "{}"); code != 400 {
			t.Errorf("no review: %d", code)
		}
	}
	down := cluster{standing: func(context.Context, attestor.Image) (attestor.Standing, error) {
		return attestor.Standing{}, errors.New("down")
	}}
	allowed, warnings, annotations := annotated(t, handler(t, down, func(c *admission.Config) { c.Mode = admission.Warn }), created(pod(good)))
	if !allowed || len(warnings) != 1 || annotations["reasons"] != "ATTESTOR_UNAVAILABLE" {
		t.Errorf("a look-up that fails: %v %q %v", allowed, warnings, annotations)
	}
}

// The audit log of the cluster, and the gate's own, name digests and codes.
func TestAnnotationsAndLogLines(t *testing.T) {
	var log bytes.Buffer
	h := handler(t, cluster{}, func(c *admission.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	allowed, _, annotations := annotated(t, h, created(pod(good, bad, foreign)))
	want := map[string]string{"verdict": "refused", "images": digestGood + "," + digestBad, "reasons": "NOT_ATTESTED,NO_POLICY"}
	if diff := cmp.Diff(want, annotations); diff != "" || allowed {
		t.Errorf("allowed %v (-want +got):\n%s", allowed, diff)
	}

	type line struct {
		Msg, Verdict string
		Digest       string   `json:"image_digest"`
		Codes        []string `json:"reason_codes"`
		Allowed      *bool
		Problems     int
	}
	got := map[string]line{}
	dec := json.NewDecoder(&log)
	for dec.More() {
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		got[l.Verdict+" "+l.Digest+" "+strings.Join(l.Codes, " ")] = l
	}
	for _, want := range []string{"pass " + digestGood + " ", "deny " + digestBad + " NOT_ATTESTED", "deny " + digestGood + " NO_POLICY", "  "} {
		if _, ok := got[want]; !ok {
			t.Errorf("no line %q in %v", want, got)
		}
	}
	if l := got["  "]; l.Allowed == nil || *l.Allowed || l.Problems != 2 {
		t.Errorf("the review's own line: %+v", l)
	}

	_, _, annotations = annotated(t, h, created(pod(good)))
	if diff := cmp.Diff(map[string]string{"verdict": "admitted", "images": digestGood}, annotations); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, _, annotations := annotated(t, h, reviewOf("", "v1", "Pod", "DELETE", `null`)); annotations != nil {
		t.Errorf("a deletion: %v", annotations)
	}
}

// An override admits with a warning: by whom, until when, and that it should have ended.
func TestOverridesWarn(t *testing.T) {
	const glass = "projects/p/attestors/glass"
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	override := func(expires *time.Time) []attestor.Override {
		return []attestor.Override{{Decision: "d1", By: "oncall@acme.example", Reason: "INC-1", Expires: expires}}
	}
	by := func(name string) func(context.Context, attestor.Image) (attestor.Standing, error) {
		return func(_ context.Context, img attestor.Image) (attestor.Standing, error) {
			return attestor.Standing{Known: true, Valid: []attestor.Attestation{{Attestor: name, Digest: img.Digest()}}}, nil
		}
	}
	for _, tt := range []struct {
		name     string
		by       string
		open     []attestor.Override
		err      error
		says     string // "": no warning
		override string
	}{
		{"a pass", name, nil, nil, "", ""},
		{"until a day", name, override(new(now.Add(time.Hour))), nil,
			"overridden by oncall@acme.example, until 2026-11-29T13:00:00Z (decision d1): " + good, "d1"},
		{"overdue", name, override(new(now)), nil, "by oncall@acme.example, overdue since 2026-11-29T12:00:00Z", "d1"},
		{"without an end", name, override(nil), nil, "until it is revoked", "d1"},
		{"by attestors of its own", glass, override(nil), nil, "overridden by oncall@acme.example", "d1"},
		{"by attestors of its own, and not in the record", glass, nil, nil, "by the attestors of overrides only", "unknown"},
		{"a record that does not answer", name, nil, errors.New("down"), "could not be looked up", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := handler(t, cluster{override: []string{glass}, standing: by(tt.by)}, func(c *admission.Config) {
				c.Overrides = func(context.Context, attestor.Image) ([]attestor.Override, error) { return tt.open, tt.err }
				c.Now = func() time.Time { return now }
			})
			allowed, warnings, annotations := annotated(t, h, created(pod(good)))
			if !allowed || len(warnings) > 1 || (tt.says == "") != (len(warnings) == 0) || tt.says != "" && !strings.Contains(warnings[0], tt.says) {
				t.Errorf("allowed %v, %q, want %q", allowed, warnings, tt.says)
			}
			if annotations["overrides"] != tt.override {
				t.Errorf("annotations %v", annotations)
			}
		})
	}

	// An override without attestations admits nothing.
	none := func(context.Context, attestor.Image) (attestor.Standing, error) {
		return attestor.Standing{Known: true}, nil
	}
	h := handler(t, cluster{standing: none}, func(c *admission.Config) {
		c.Overrides = func(context.Context, attestor.Image) ([]attestor.Override, error) { return override(nil), nil }
	})
	if allowed, _, _ := annotated(t, h, created(pod(good))); allowed {
		t.Error("an override that nobody attested to admits")
	}
}

// What is decided about each image is recorded when asked; a question in dry run leaves nothing behind, and what cannot be
// recorded is not admitted.
func TestDecisionsAreRecorded(t *testing.T) {
	var mu sync.Mutex
	var kept []attestor.Record
	fail := false
	config := func(c *admission.Config) {
		c.Record = func(_ context.Context, r attestor.Record) error {
			mu.Lock()
			defer mu.Unlock()
			if fail {
				return errors.New("disk full")
			}
			kept = append(kept, r)
			return nil
		}
	}
	h := handler(t, cluster{}, config)
	body := strings.Replace(created(pod(good, bad, foreign, "registry.example/team/app:v1")), `"operation"`, `"namespace":"shop","operation"`, 1)
	if allowed, _, _ := annotated(t, h, body); allowed {
		t.Error("admitted")
	}

	got := map[string]string{}
	for _, r := range kept {
		d := r.Decision
		if d.Caller.Issuer != "kubernetes" || !d.DryRun || d.Labels["kubernetes.namespace"] != "shop" ||
			(d.Policy != nil) != (len(r.PolicyText) > 0) || len(d.Attestations) != 0 {
			t.Errorf("%+v", d)
		}
		line := string(d.Verdict)
		for _, reason := range d.Refusals() {
			line += " " + string(reason.Code)
		}
		got[d.Image.Reference] = line
	}
	want := map[string]string{good: "pass", bad: "deny NOT_ATTESTED", foreign: "deny NO_POLICY", "registry.example/team/app:v1": "deny NOT_ATTESTED"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	kept = nil
	annotated(t, h, strings.Replace(created(pod(good)), `"operation"`, `"dryRun":true,"operation"`, 1))
	annotated(t, handler(t, cluster{}, nil), created(pod(good)))
	if len(kept) != 0 {
		t.Errorf("a dry run, or a handler that was not asked to, records %+v", kept)
	}

	fail = true
	if allowed, _, _ := annotated(t, h, created(pod(good))); allowed {
		t.Error("what could not be recorded is admitted")
	}
	warning := handler(t, cluster{}, func(c *admission.Config) { config(c); c.Mode = admission.Warn })
	if allowed, warnings, _ := annotated(t, warning, created(pod(good))); !allowed || len(warnings) != 1 {
		t.Errorf("warn: %v %q", allowed, warnings)
	}
}

// A pass with a day ahead warns of it, and what the gate recorded by itself is not recorded twice.
func TestJudgedReviewsWarnOfDaysAhead(t *testing.T) {
	records := 0
	h := handler(t, cluster{}, func(c *admission.Config) {
		c.Mode = admission.Judged
		c.Record = func(context.Context, attestor.Record) error { records++; return nil }
		c.Judge = func(context.Context, attestor.Request) (attestor.Decision, error) {
			return attestor.Decision{ID: "d7", Verdict: attestor.Pass, Checks: []attestor.Check{
				{Name: attestor.CheckUser, Status: attestor.StatusWarn, Reasons: []attestor.Reason{
					{Code: attestor.CodeUserRoot, Severity: attestor.Warns, EffectiveFrom: "2027-03-01", Owner: "platform"},
				}}}}, nil
		}
	})
	allowed, warnings, _ := annotated(t, h, created(pod(bad)))
	if !allowed || len(warnings) != 1 || !strings.Contains(warnings[0], "is refused from 2027-03-01 on: USER_ROOT") || records != 0 {
		t.Errorf("%v %q, %d records", allowed, warnings, records)
	}
}

// The API server cuts long and many warnings: the answer stays within what it shows.
func TestWarningsAreBounded(t *testing.T) {
	h := handler(t, cluster{}, func(c *admission.Config) { c.Mode = admission.Warn })
	long := "registry.example/team/" + strings.Repeat("a", 150) + "@" + digestBad
	_, warnings, _ := annotated(t, h, created(pod(append(many(60), long)...)))
	if len(warnings) != 16 || !strings.Contains(warnings[15], "more warnings") {
		t.Errorf("%d warnings: %q", len(warnings), warnings)
	}
	for _, w := range warnings {
		if len(w) > 260 {
			t.Errorf("%d bytes: %s", len(w), w)
		}
	}
}

func TestModes(t *testing.T) {
	c := cluster{}
	for mode, ok := range map[admission.Mode]bool{"": false, "attested": true, "warn": true, "judged": false,
		"warnJudged": false, "Warn": false, "off": false} {
		_, err := admission.New(admission.Config{Mode: mode, Policies: c.policies(t), Attestations: c})
		if (err == nil) != ok {
			t.Errorf("mode %q without a gate: %v", mode, err)
		}
	}
}
