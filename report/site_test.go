package report_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/report"
)

// A site serves every page, as the service would, and the report as a file.
type site map[string]func(io.Writer) error

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := s[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	switch {
	case r.URL.Query().Has("noscript"):
		w.Header().Set("Content-Security-Policy", strings.Replace(pages.CSP(), "script-src", "x-script-src", 1))
	case !strings.HasPrefix(r.URL.Path, "/file/"): // a file states its own policy
		w.Header().Set("Content-Security-Policy", pages.CSP())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := f(w); err != nil {
		panic(err)
	}
}

func summary(t testing.TB, n int) report.Summary {
	t.Helper()
	now := day.AddDate(0, 0, 30)
	before, err := report.Summarise(estate(n+n/3), report.SummaryOptions{Now: now.AddDate(0, -1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := report.Summarise(estate(n), report.SummaryOptions{Now: now, Title: "Production, under the policy “production”", Previous: &before})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSite(t *testing.T) site {
	t.Helper()
	r, err := pages.New()
	if err != nil {
		t.Fatal(err)
	}
	file := func(s report.Summary) func(io.Writer) error {
		return func(w io.Writer) error {
			return report.Write(w, report.HTML, report.Record(s), report.Options{Links: "https://gate.example.com"})
		}
	}
	var recent []attestor.Decision
	for rec := range estate(12) {
		recent = append(recent, rec.Decision)
	}
	rec := attestor.Record{Decision: refused(1), PolicyText: []byte(policyText)}
	rec.Evidence.Platforms = estateRecord(3, 100).Evidence.Platforms
	broken := attestor.Record{Decision: overridden(1)}
	bad := attestor.Record{Decision: hostile(1), PolicyText: []byte("</pre><script>alert(1)</script>")}
	until := day.AddDate(0, 0, 3)
	bases := []pages.Base{{
		ApprovedBase: attestor.ApprovedBase{Name: "distroless-static",
			Repository: "gcr.io/distroless/static-debian12", SignedBy: &attestor.SignedBy{
				Issuer: "https://accounts.google.com", Subject: "keyless@distroless.iam.gserviceaccount.com"}},
		Policies: []string{"production"},
		Tags: []pages.Tag{{Name: "nonroot", History: []attestor.TagPoint{
			{Digest: digest(2), From: until}, {Digest: digest(1), From: day, Until: &until},
		}}, {Name: "latest"}},
	}, {ApprovedBase: attestor.ApprovedBase{Name: "acme-java", Repository: "us-docker.pkg.dev/acme/base/java",
		Digests: []attestor.Digest{digest(9)}}, Policies: []string{"production", "staging"}}}
	policies := []pages.Policy{
		{Ref: attestor.PolicyRef{Name: "production", Digest: digest(4), Mode: attestor.Enforce},
			Images: []string{"us-docker.pkg.dev/acme/prod/**"}, Text: "apiVersion: attestor/v1\n"},
		{Ref: attestor.PolicyRef{Name: "staging", Digest: digest(5), Mode: attestor.DryRun},
			Images: []string{"us-docker.pkg.dev/acme/staging/**"}, Text: "apiVersion: attestor/v1\n",
			Problem: "line 7: unknown field \"bases\""},
	}
	small, large := summary(t, 120), summary(t, 300)
	const long = "us-docker.pkg.dev/acme/a-very-long-path-of-a-repository/with-many-segments/each-of-which-is-longer-than-a-telephone-is-wide/api"
	large.Rows[0].Repository, large.Rows[0].Image = long, long+"@"+string(digest(1))
	large.Owners[0].Name, large.Policies[0].Policy = strings.Repeat("payments-and-", 15)+"ledger", strings.Repeat("production-", 20)+"eu"
	few := slices.Clone(large.Rows[:50])
	all := site{
		"/": func(w io.Writer) error {
			return r.Overview(w, pages.Overview{Figures: small.Figures(), Since: "2026-11-14T00:00:00Z",
				Recent: recent, Alarms: []string{
					"The policy “staging” on disk does not load; the older text is in force."}, Now: day})
		},
		"/busy": func(w io.Writer) error {
			return r.Overview(w, pages.Overview{Figures: summary(t, 10_000).Figures(), Recent: recent, Since: "2026-11-14T00:00:00Z", Now: day})
		},
		"/report-none": func(w io.Writer) error {
			return report.Write(w, report.HTML, report.Record(report.Summary{Made: day}), report.Options{Page: true})
		},
		"/empty": func(w io.Writer) error {
			return r.Overview(w, pages.Overview{Figures: report.Summary{}.Figures(), Now: day})
		},
		"/report": func(w io.Writer) error {
			return report.Write(w, report.HTML, report.Record(large), report.Options{
				Page: true, Search: map[string]string{"policy": "production",
					"repository": "us-docker.pkg.dev/acme/**"}, Policies: []string{"production", "staging"},
			})
		},
		"/search": func(w io.Writer) error {
			return r.Decisions(w, pages.Decisions{Search: map[string]string{"verdict": "deny", "since": "2026-11-01",
				"repository": "us-docker.pkg.dev/acme/**"}, Page: recent, Next: "abc", Total: 1000,
				Policies: []string{"production"}})
		},
		"/wrong": func(w io.Writer) error { return r.Decisions(w, pages.Decisions{Problem: "\"x\" is not a digest"}) },
		"/refused": func(w io.Writer) error {
			return r.Decision(w, pages.Decision{Record: rec, Server: "https://gate.example.com", Proof: true})
		},
		"/broken": func(w io.Writer) error {
			return r.Decision(w, pages.Decision{Record: broken, Alike: []string{"projects/acme/attestors/gate"}})
		},
		"/hostile": func(w io.Writer) error { return r.Decision(w, pages.Decision{Record: bad}) },
		"/zero":    func(w io.Writer) error { return r.Decision(w, pages.Decision{}) },
		"/images": func(w io.Writer) error {
			return r.Images(w,
				pages.Images{Search: map[string]string{"newest": "deny", "fix": "update openssl to 3.0.15"},
					Rows: few, Total: 300, First: 1, Next: 2, Policies: []string{"production"}})
		},
		"/images-none": func(w io.Writer) error {
			return r.Images(w, pages.Images{First: 1, Remark: "this version gives no reason " + unbroken("NOPE_")})
		},
		"/images-wrong": func(w io.Writer) error {
			return r.Images(w, pages.Images{Problem: "newest: it has another value than those allowed", Fix: "use pass, deny or error"})
		},
		"/image":      func(w io.Writer) error { return r.Image(w, oneImage(t)) },
		"/revocation": func(w io.Writer) error { return r.Revocation(w, revoked(t)) },
		"/reasons":    func(w io.Writer) error { return r.Reasons(w) },
		"/simulate": func(w io.Writer) error {
			return r.Simulate(w, pages.Simulate{Policies: []string{"production", "staging"}})
		},
		"/simulate-wrong": func(w io.Writer) error {
			return r.Simulate(w, pages.Simulate{Text: "apiVersion: attestor/v1\nspec: {bases: 1}\n",
				Problem: "policy:2: unknown field \"bases\"\npolicy:2: spec.base is missing"})
		},
		"/simulate-done": func(w io.Writer) error { return r.Simulate(w, simulated()) },
		"/policies":      func(w io.Writer) error { return r.Policies(w, policies, nil) },
		"/bases":         func(w io.Writer) error { return r.Bases(w, bases) },
		"/problem": func(w io.Writer) error {
			return r.Problem(w, pages.Trouble{Status: 404, Detail: "no decision has this id", Fix: "search for it by image"})
		},
		"/problem-ours": func(w io.Writer) error {
			return r.Problem(w, pages.Trouble{
				Status: 503, Detail: "the record cannot be read: " + strings.Repeat("long", 80), Fix: "try again in a moment",
				RequestID: "9fab84e9-f272-453b-a6bd-da8dcedc4ba6",
			})
		},
		"/file/empty": file(report.Summary{Made: day}),
		"/file/one":   file(summary(t, 1)),
		"/file/some":  file(small),
		"/file/hostile": func(w io.Writer) error {
			s, err := report.Summarise(report.FromDecisions(func(yield func(attestor.Decision, error) bool) {
				for n := range 3 {
					if !yield(hostile(n), nil) {
						return
					}
				}
			}), report.SummaryOptions{Now: day})
			if err != nil {
				return err
			}
			return report.Write(w, report.HTML, report.Record(s), report.Options{Links: "https://gate.example.com"})
		},
	}
	maps.Copy(all, longPages(t, r))
	return all
}

// oneImage is an image that was refused, passed, was overridden and is refused again.
func oneImage(t *testing.T) pages.Image {
	t.Helper()
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@" + string(digest(1)))
	if err != nil {
		t.Fatal(err)
	}
	asked := passed(1)
	asked.Labels = map[string]string{"kubernetes.namespace": "payments"}
	end := day.AddDate(0, 0, 2)
	return pages.Image{
		Image: img, Decisions: []attestor.Decision{refused(1), asked, overridden(1), undecided(1)}, Now: day,
		Admissions: []attestor.Admission{{Image: img, Decision: "0199-000001", Time: day, Looked: end, Verdict: attestor.Deny, Changed: "0199-000002"}},
		Overrides:  []attestor.Override{{Image: img, Decision: "0199-000003", By: "oncall@example.com", Reason: "INC-4711: payments are down", Expires: &end}},
	}
}

// simulated is a simulation by which many images flip, one of them of a very long name.
func simulated() pages.Simulate {
	flips := []attestor.Flip{{
		Decision: "0199-000001", Time: day, Image: "us-docker.pkg.dev/acme/" + strings.Repeat("a-very-long-name/", 12) + "api@" + string(digest(1)),
		Owner: strings.Repeat("payments", 20), Policy: "production", Before: attestor.Deny, After: attestor.Pass, Times: 2,
		Reasons: []attestor.Reason{
			{Code: attestor.CodeUserNotSet, Message: "no user is set, so that the image runs as root",
				Fix: "add USER 65532:65532 to the Dockerfile"}},
	}}
	for n := range 600 {
		flips = append(flips, attestor.Flip{
			Decision: fmt.Sprintf("0199-%06d", n), Time: day, Image: "us-docker.pkg.dev/acme/prod/api@" + string(digest(n)), Owner: "search",
			Policy: "production", Before: attestor.Pass, After: attestor.Deny, Times: 1, Reasons: refused(1).Refusals()[:1],
		})
	}
	return pages.Simulate{Policies: []string{"production"}, Text: policyText, Since: "30d", Result: &pages.Simulation{
		Policy: attestor.PolicyRef{Name: "production", Digest: digest(4)}, Judged: 9000, Flips: flips,
		Before: map[attestor.Outcome]int{attestor.Pass: 8000, attestor.Deny: 1000}, After: map[attestor.Outcome]int{attestor.Pass: 7401, attestor.Deny: 1599},
		Upcoming: []attestor.Upcoming{{EffectiveFrom: "2027-03-01", Owner: "security", Images: 12,
			ByReason: map[attestor.Code]int{attestor.CodeUserNotSet: 12}}},
	}}
}

// revoked is the record of a revocation after an image was judged again.
func revoked(t *testing.T) attestor.RevocationRecord {
	t.Helper()
	return attestor.RevocationRecord{
		ID: "0199-000009", Time: day, Kind: attestor.RevokedByJudgment, Image: oneImage(t).Image, Reason: "a finding that was not known",
		Judgment: "0199-000002", Admitted: []string{"0199-000001"}, Attestations: passed(1).Attestations,
		Caller: attestor.CallerRef{Subject: "rejudge@acme.iam.gserviceaccount.com", Issuer: "https://accounts.google.com"},
	}
}

const policyText = `apiVersion: attestor/v1
kind: GatePolicy
metadata:
  name: production
spec:
  images:
    - us-docker.pkg.dev/acme/prod/**
  mode: enforce
  base:
    approved:
      - name: distroless-static
        repository: gcr.io/distroless/static-debian12
  user:
    root: deny
  vulnerabilities:
    fixable: MEDIUM
    unfixable: HIGH
`
