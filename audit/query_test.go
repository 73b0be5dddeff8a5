package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// mixture is a history of ten decisions: what is found is listed by number.
func mixture(t testing.TB, s *audit.Store) {
	t.Helper()
	verdicts := []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}
	for n := range 10 {
		finish(t, s, record(n, verdicts[n%3], func(r *attestor.Record) {
			switch n {
			case 0: // revoked below
				r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(0)}}
			case 4: // an index, whose child is what runs
				r.Evidence.Index = true
				r.Evidence.Platforms[0].Digest = digest(400)
			case 5:
				r.Decision.Policy = nil
				r.Decision.Image.Reference = "us-docker.pkg.dev/acme/production/web:v1"
				r.Decision.Image.Requested = r.Decision.Image.Reference
				r.Decision.Image.Digest = ""
			case 6:
				r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example.com"}
			case 7: // asked by somebody else, with another finding
				r.Decision.Caller.Subject = "oncall@example.com"
				r.Evidence.Platforms[0].Scan.Findings[0].ID, r.Evidence.Platforms[0].Scan.Findings[0].Package = "GHSA-x2fg-aaaa-bbbb", "Left-Pad"
			}
		}))
	}

	if err := s.Begin(t.Context(), record(99, attestor.Pass)); err != nil {
		t.Fatal(err)
	}

	revocation, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
		ID: "revocation-1", Time: day.Add(time.Hour), Kind: attestor.RevokedByPerson, Image: record(0, attestor.Pass).Evidence.Image,
		Reason: "leaked credentials", Attestations: []attestor.Attestation{},
	})
	if err == nil {
		err = s.FinishRevocation(t.Context(), revocation)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func numbers(ds []attestor.Decision) []int {
	out := []int{}
	for _, d := range ds {
		var n int
		_, _ = fmt.Sscanf(strings.TrimPrefix(d.ID, "0199-"), "%d", &n)
		out = append(out, n)
	}
	return out
}

func TestFilters(t *testing.T) {
	const repo = "us-docker.pkg.dev/acme/prod/api"
	tests := []struct {
		name string
		f    audit.Filter
		want []int
	}{
		{"all, newest first, what was only begun left out", audit.Filter{}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"verdict", audit.Filter{Verdict: attestor.Deny}, []int{7, 4, 1}},
		{"image by digest", audit.Filter{Image: repo + "@" + string(digest(3))}, []int{3}},
		{"bare digest", audit.Filter{Image: string(digest(3))}, []int{3}},
		{"bare digest of a child", audit.Filter{Image: string(digest(400))}, []int{4}},
		{"child by reference", audit.Filter{Image: repo + "@" + string(digest(400))}, []int{4}},
		{"child under another repository", audit.Filter{Image: "us-docker.pkg.dev/other/x/y@" + string(digest(400))}, []int{}},
		{"image by the tag that was asked for", audit.Filter{Image: "us-docker.pkg.dev/acme/production/web:v1"}, []int{5}},
		{"repository", audit.Filter{Repository: "us-docker.pkg.dev/acme/production/web"}, []int{5}},
		{"a repository is no prefix", audit.Filter{Repository: "us-docker.pkg.dev/acme/prod"}, []int{}},
		{"pattern", audit.Filter{Repository: "us-docker.pkg.dev/acme/prod*/**", Verdict: attestor.Undecided}, []int{8, 5, 2}},
		{"pattern by segment", audit.Filter{Repository: "us-docker.pkg.dev/acme/prod/**", Verdict: attestor.Undecided}, []int{8, 2}},
		{"policy by name", audit.Filter{Policy: "production", Verdict: attestor.Undecided}, []int{8, 2}},
		{"policy by digest", audit.Filter{Policy: string(digest(1 << 20)), Verdict: attestor.Undecided}, []int{8, 2}},
		{"id", audit.Filter{ID: "0199-000003"}, []int{3}},
		{"id of nothing", audit.Filter{ID: "0199"}, []int{}},
		{"digest, whole", audit.Filter{Digest: string(digest(3))}, []int{3}},
		{"beginning of digests", audit.Filter{Digest: "sha256:00000000"}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"beginning of no digest", audit.Filter{Digest: "sha256:deadbeef"}, []int{}},
		{"beginning of a digest, and another condition", audit.Filter{Digest: "sha256:0000000000", Verdict: attestor.Deny}, []int{7, 4, 1}},
		{"tag", audit.Filter{Tag: "v1"}, []int{5}},
		{"tag of no request", audit.Filter{Tag: "v"}, []int{}},
		{"last segment", audit.Filter{Repository: "web"}, []int{5}},
		{"last segments", audit.Filter{Repository: "production/web"}, []int{5}},
		{"segments of another repository", audit.Filter{Repository: "prod/web"}, []int{}},
		{"part of a segment", audit.Filter{Repository: "eb"}, []int{}},
		{"CVE", audit.Filter{CVE: "cve-2026-1234", Verdict: attestor.Deny}, []int{4, 1}},
		{"another advisory", audit.Filter{CVE: "GHSA-X2FG-AAAA-BBBB"}, []int{7}},
		{"advisory of nothing", audit.Filter{CVE: "CVE-2026-123"}, []int{}},
		{"package", audit.Filter{Package: "left-pad"}, []int{7}},
		{"package and CVE of one finding", audit.Filter{Package: "openssl", CVE: "CVE-2026-1234", Verdict: attestor.Deny}, []int{4, 1}},
		{"package and CVE of two findings", audit.Filter{Package: "left-pad", CVE: "CVE-2026-1234"}, []int{}},
		{"CVE elsewhere", audit.Filter{CVE: "CVE-2026-1234", Repository: "us-docker.pkg.dev/acme/production/web"}, []int{5}},
		{"reason", audit.Filter{Reason: attestor.CodeFixableSeverityExceeded}, []int{8, 7, 5, 4, 2, 1}},
		{"reason of nothing", audit.Filter{Reason: attestor.CodeNoPolicy}, []int{}},
		{"caller", audit.Filter{Caller: "oncall@example.com"}, []int{7}},
		{"caller and reason", audit.Filter{Caller: "oncall@example.com", Reason: attestor.CodeNoPolicy}, []int{}},
		{"override by its id", audit.Filter{Override: "0199-000006"}, []int{6}},
		{"what is no override", audit.Filter{Override: "0199-000005"}, []int{}},
		{"revoked", audit.Filter{Revoked: true}, []int{0}},
		{"revoked by a revocation", audit.Filter{Revocation: "revocation-1"}, []int{0}},
		{"revoked by what is no revocation", audit.Filter{Revocation: "0199-000000"}, []int{}},
		{"revoked, and another condition", audit.Filter{Revoked: true, Verdict: attestor.Deny}, []int{}},
		{"search for an id", audit.Filter{Search: "0199-000003"}, []int{3}},
		{"search for the beginning of a digest", audit.Filter{Search: "00000000"}, []int{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"search for a digest", audit.Filter{Search: string(digest(400))}, []int{4}},
		{"search for an image", audit.Filter{Search: repo + "@" + string(digest(3))}, []int{3}},
		{"search for a repository", audit.Filter{Search: "us-docker.pkg.dev/acme/production/web"}, []int{5}},
		{"search for a last segment", audit.Filter{Search: "web"}, []int{5}},
		{"search for a tag", audit.Filter{Search: "v1"}, []int{5}},
		{"search for a CVE", audit.Filter{Search: "GHSA-x2fg-aaaa-bbbb"}, []int{7}},
		{"search for a package", audit.Filter{Search: "left-pad"}, []int{7}},
		{"search for a reason", audit.Filter{Search: "FIXABLE_SEVERITY_EXCEEDED", Verdict: attestor.Deny}, []int{7, 4, 1}},
		{"search for a person", audit.Filter{Search: "oncall@example.com"}, []int{7}},
		{"search for a policy, within a verdict", audit.Filter{Search: "production", Verdict: attestor.Deny}, []int{7, 4, 1}},
		{"search for nothing", audit.Filter{Search: "no such thing"}, []int{}},
		{"search that may not be seen", audit.Filter{Search: "api", Visible: func(r string) bool { return r != repo }}, []int{}},
		{"another policy", audit.Filter{Policy: "staging"}, []int{}},
		{"since, inclusive", audit.Filter{Since: day.Add(8 * time.Minute)}, []int{9, 8}},
		{"until, exclusive", audit.Filter{Until: day.Add(2 * time.Minute)}, []int{1, 0}},
		{"overridden", audit.Filter{BreakGlass: true}, []int{6}},
		{"what may not be seen", audit.Filter{Visible: func(r string) bool { return r != repo }}, []int{5}},
		{"nothing may be seen", audit.Filter{Visible: func(string) bool { return false }}, []int{}},
		{"hostile", audit.Filter{Policy: "' OR 1=1 --"}, []int{}},
	}

	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		mixture(t, s)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				page, err := s.List(t.Context(), tt.f, 0, "")
				if err != nil {
					t.Fatal(err)
				}
				if got := numbers(page.Decisions); !slices.Equal(got, tt.want) {
					t.Errorf("List = %v, want %v", got, tt.want)
				}

				var walked []attestor.Decision
				for d, err := range s.Decisions(t.Context(), tt.f) {
					if err != nil {
						t.Fatal(err)
					}
					walked = append(walked, d)
				}

				if got := numbers(walked); !slices.Equal(got, tt.want) {
					t.Errorf("Decisions = %v, want %v", got, tt.want)
				}
			})
		}
	})
}

func TestMalformedFilters(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	mixture(t, s)
	first, err := s.List(t.Context(), audit.Filter{}, 2, "")
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name  string
		f     audit.Filter
		token string
	}{
		{"verdict", audit.Filter{Verdict: "denied"}, ""},
		{"digest", audit.Filter{Image: "sha256:ab"}, ""},
		{"image", audit.Filter{Image: "https://x/y:z"}, ""},
		{"pattern", audit.Filter{Repository: "a/**b"}, ""},
		{"token", audit.Filter{}, "%%%"},
		{"token that is no token", audit.Filter{}, "e30"},
		{"token of another filter", audit.Filter{Verdict: attestor.Deny}, first.Next},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := s.List(t.Context(), tt.f, 2, tt.token); attestor.KindOf(err) != attestor.Invalid {
				t.Errorf("got %v, want an error of kind Invalid", err)
			}
		})
	}
}

func TestPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		// All at one moment, so that only the id tells them apart.
		for n := range 25 {
			finish(t, s, record(n, attestor.Pass, func(r *attestor.Record) {
				r.Decision.Time = day
				if n%2 == 0 {
					r.Decision.Image.Reference = "us-docker.pkg.dev/secret/x/y@" + string(digest(n))
				}
			}))
		}

		for _, tt := range []struct {
			name string
			f    audit.Filter
			want int
		}{
			{"all", audit.Filter{}, 25},
			{"with some that may not be seen", audit.Filter{Visible: func(r string) bool { return !strings.Contains(r, "secret") }}, 12},
		} {
			for _, size := range []int{1, 4, 12, 25, 26, 1 << 30} {
				seen := map[string]bool{}
				token, pages := "", 0
				for {
					page, err := s.List(t.Context(), tt.f, size, token)
					if err != nil {
						t.Fatal(err)
					}
					if len(page.Decisions) > size {
						t.Fatalf("a page of %d has %d", size, len(page.Decisions))
					}

					for _, d := range page.Decisions {
						if seen[d.ID] {
							t.Fatalf("%s twice", d.ID)
						}
						seen[d.ID] = true
					}

					if token = page.Next; token == "" {
						break
					}
					if pages++; pages > 30 {
						t.Fatal("the pages do not end")
					}
				}

				if len(seen) != tt.want {
					t.Errorf("%s, pages of %d: %d decisions, want %d", tt.name, size, len(seen), tt.want)
				}
			}
		}
	})
}

func TestExport(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		for n := range 450 { // more than two batches
			finish(t, s, record(n, attestor.Deny))
		}
		var b bytes.Buffer
		n, err := s.Export(t.Context(), &b, audit.Filter{})
		if err != nil || n != 450 {
			t.Fatalf("Export = %d, %v", n, err)
		}

		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != 450 {
			t.Fatalf("%d lines", len(lines))
		}
		var first struct {
			Decision attestor.Decision
			Evidence attestor.Evidence
			Policy   string
		}

		if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
			t.Fatal(err)
		}
		r := record(449, attestor.Deny)
		if first.Decision.ID != r.Decision.ID || first.Policy != string(r.PolicyText) || first.Evidence.Platforms[0].Scan.Findings[0].ID != "CVE-2026-1234" {
			t.Errorf("the first line is not the newest decision with all of its evidence: %s", lines[0])
		}
	})
}

func TestNoneSaysSo(t *testing.T) {
	s, err := audit.Open(t.Context(), audit.Config{None: true, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, err := range map[string]error{
		"Begin":        s.Begin(ctx, record(1, attestor.Pass)),
		"RecordTag":    s.RecordTag(ctx, attestor.TagPoint{Repository: "r", Tag: "t", Digest: "d", From: day}),
		"PutIntent":    s.PutIntent(ctx, "id", nil),
		"DeleteIntent": s.DeleteIntent(ctx, "id"),
		"Ready":        s.Ready(ctx),
		"Close":        s.Close(),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	pending, pendingErr := collected(s.Pending(ctx, 0))
	intents, intentsErr := s.Intents(ctx)
	tags, tagsErr := s.TagHistory(ctx, "r", "t")
	if len(pending)+len(intents)+len(tags) != 0 || pendingErr != nil || intentsErr != nil || tagsErr != nil {
		t.Errorf("something was kept: %v, %v, %v, %v, %v, %v", pending, pendingErr, intents, intentsErr, tags, tagsErr)
	}

	got, err := s.AttestedTo(ctx, attestor.Image{})
	if len(got.Images) != 1 || len(got.Attestations) != 0 || err != nil {
		t.Errorf("an image without a record is signed as %+v, %v", got, err)
	}
	if _, err := s.Finish(ctx, record(1, attestor.Pass)); err != nil {
		t.Error(err)
	}

	_, listErr := s.List(ctx, audit.Filter{}, 0, "")
	_, recordErr := s.Record(ctx, "x")
	_, exportErr := s.Export(ctx, &bytes.Buffer{}, audit.Filter{})
	_, pruneErr := s.Prune(ctx, day)
	errs := map[string]error{"List": listErr, "Record": recordErr, "Export": exportErr, "Prune": pruneErr}
	for _, err := range s.Records(ctx, audit.Filter{}) {
		errs["Records"] = err
	}

	for _, err := range s.Decisions(ctx, audit.Filter{}) {
		errs["Decisions"] = err
	}
	for name, err := range errs {
		if attestor.KindOf(err) != attestor.Unsupported {
			t.Errorf("%s: %v, want an error of kind Unsupported", name, err)
		}
	}

	if len(errs) != 6 {
		t.Errorf("%d answers, want 6", len(errs))
	}
}

// Whoever judges what is read may take long over each: a reader who is gone
// ends the walk at the next row, not with the batch.
func TestRecordsEndWithTheirReader(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		mixture(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := 0
		var last error
		for _, err := range s.Records(ctx, audit.Filter{}) {
			if last = err; err == nil {
				seen++
				cancel()
			}
		}

		if seen != 1 || !errors.Is(last, context.Canceled) {
			t.Errorf("%d records after the reader was gone, then %v", seen-1, last)
		}
	})
}

// A page is bounded in bytes too. A decision that is larger than that by itself is
// answered all the same, alone.
func TestPagesAreBoundedInBytes(t *testing.T) {
	const most = 2 << 20
	sized := func(n, bytes int) attestor.Record {
		return record(n, attestor.Pass, func(r *attestor.Record) {
			r.Decision.Labels = map[string]string{"l": strings.Repeat("x", bytes)}
		})
	}

	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		for n := range 20 {
			size := 300 << 10
			if n == 7 {
				size = 3 << 20
			}
			finish(t, s, sized(n, size))
		}

		for name, f := range map[string]audit.Filter{"all": {}, "search": {Search: "build@acme.iam.gserviceaccount.com"}} {
			var got []int
			for token, pages := "", 0; ; pages++ {
				page, err := s.List(t.Context(), f, 500, token)
				if err != nil {
					t.Fatal(err)
				}
				b, err := json.Marshal(page.Decisions)
				if err != nil {
					t.Fatal(err)
				}
				if len(b) > most+len(page.Decisions)*1000 && len(page.Decisions) > 1 {
					t.Errorf("%s: a page of %d decisions has %d bytes", name, len(page.Decisions), len(b))
				}

				got = append(got, numbers(page.Decisions)...)
				if token = page.Next; token == "" {
					break
				}
				if pages > 25 {
					t.Fatal("the pages do not end")
				}
			}
			if !slices.Equal(got, downFrom(20)) {
				t.Errorf("%s: %v, want each decision once, newest first", name, got)
			}
		}
	})
}
