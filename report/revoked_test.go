package report_test

import (
	"encoding/csv"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/report"
)

// A revokedCase is a decision whose attestations were revoked since, and the words that say by whom or what.
type revokedCase struct {
	name     string
	decision attestor.Decision
	by       string
}

// revokedSince are decisions that were revoked in each of the three ways.
func revokedSince() []revokedCase {
	since := func(d attestor.Decision, r attestor.RevocationRecord) attestor.Decision {
		r.ID, r.Time, r.Admitted, r.Attestations = "0199-revocation", day.Add(time.Hour), []string{d.ID}, d.Attestations
		d.Revoked = &r
		return d
	}
	closed := overridden(4)
	closed.OverrideState = &attestor.OverrideState{Closed: attestor.ClosedExpired, By: "0199-revocation"}
	return []revokedCase{
		{"by a person", since(passed(1), attestor.RevocationRecord{
			Kind: attestor.RevokedByPerson, Reason: "leaked credentials, ticket 4711", Caller: attestor.CallerRef{Subject: "security@example.com"},
		}), "security@example.com"},
		{"after judging again", since(passed(1), attestor.RevocationRecord{
			Kind: attestor.RevokedByJudgment, Reason: "found after its admission: CVE-2026-1", Cause: attestor.CauseFinding, Judgment: "0199-judgement",
			Caller: attestor.CallerRef{Subject: "scheduler@example.com"},
		}), string(attestor.CauseFinding)},
		{"at an override's end", since(closed, attestor.RevocationRecord{
			Kind: attestor.RevokedAtEnd, Reason: "the override by oncall ended", Override: closed.ID,
			Caller: attestor.CallerRef{Subject: "scheduler@example.com"},
		}), "override"},
	}
}

// TestARevocationIsToldAsOne: in each format the decision keeps its verdict, and beside it stands that its attestations
// were revoked: when, by whom or what, why, and which.
func TestARevocationIsToldAsOne(t *testing.T) {
	for _, tt := range revokedSince() {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.decision
			r := *d.Revoked
			const iso, words = "2026-11-21T13:00:00Z", "21 November 2026 at 13:00:00 UTC"
			history := report.History([]attestor.Decision{d})

			for name, out := range map[string]struct {
				got  string
				want []string
			}{
				"decision as text":     {encode(t, report.Text, report.Options{Width: 400}, d), []string{words, tt.by, r.Reason}},
				"decision as markdown": {encode(t, report.Markdown, report.Options{}, d), []string{words, tt.by, r.Reason}},
				"list as text":         {document(t, report.Text, history, report.Options{Width: 400}), []string{", revoked", iso, tt.by, r.Reason, r.ID}},
				"list as markdown":     {document(t, report.Markdown, history, report.Options{}), []string{", revoked", iso, tt.by, r.Reason, r.ID}},
				"explanation": {audit.Explain(attestor.Record{Decision: d}), []string{
					words, tt.by, r.Reason, "Deleted: the attestation of " + string(d.Image.Digest) + " by " + d.Attestations[0].Attestor + ", " +
						d.Attestations[0].Occurrence,
				}},
			} {
				said := strings.NewReplacer(`\`, "", "\u200b", "").Replace(out.got) // as Markdown shows it
				for _, want := range out.want {
					if !strings.Contains(said, want) {
						t.Errorf("%s lacks %q:\n%s", name, want, out.got)
					}
				}
				if regexp.MustCompile(`(?i)no policy|\bREVOKED\b.*(deny|denied)`).MatchString(out.got) {
					t.Errorf("%s tells of a denial without a policy:\n%s", name, out.got)
				}
			}

			csvTellsRevocation(t, d)
			jsonTellsRevocation(t, d)
		})
	}
}

func csvTellsRevocation(t *testing.T, d attestor.Decision) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(encode(t, report.CSV, report.Options{}, d))).ReadAll()
	if err != nil || len(rows) != 2 || len(rows[0]) != len(rows[1]) {
		t.Fatalf("%v, %v", rows, err)
	}
	got := map[string]string{}
	for i, name := range rows[0] {
		got[name] = rows[1][i]
	}

	r := *d.Revoked
	for name, want := range map[string]string{
		"verdict": string(d.Verdict), "revoked": "2026-11-21T13:00:00Z", "revocation": string(r.Kind), "revocation_id": r.ID,
		"revoked_by": r.Caller.Subject, "revocation_cause": string(r.Cause), "revocation_reason": r.Reason,
		"revoked_attestations": d.Attestations[0].Occurrence,
	} {
		if got[name] != want {
			t.Errorf("CSV: %s is %q, want %q", name, got[name], want)
		}
	}
	if strings.Contains(got["reason_codes"], string(attestor.CodeRevoked)) {
		t.Errorf("CSV tells it as a reason to refuse: %q", got["reason_codes"])
	}
}

func jsonTellsRevocation(t *testing.T, d attestor.Decision) {
	t.Helper()
	for _, f := range []report.Format{report.JSON, report.NDJSON} {
		var got attestor.Decision
		if err := json.Unmarshal([]byte(encode(t, f, report.Options{}, d)), &got); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		r := got.Revoked
		if got.Verdict != d.Verdict || r == nil || r.ID != d.Revoked.ID || r.Kind != d.Revoked.Kind || !r.Time.Equal(d.Revoked.Time) ||
			r.Reason != d.Revoked.Reason || r.Caller.Subject != d.Revoked.Caller.Subject || r.Cause != d.Revoked.Cause ||
			len(r.Attestations) != 1 || r.Attestations[0].Occurrence != d.Attestations[0].Occurrence {
			t.Errorf("%s: verdict %s, revoked %+v, want %+v", f, got.Verdict, r, d.Revoked)
		}
	}
}

// TestARevocationIsNoRefusalInReports: a report counts the decision by its verdict, and the revocation apart.
func TestARevocationIsNoRefusalInReports(t *testing.T) {
	d := revokedSince()[0].decision
	s := summarise(t, report.SummaryOptions{}, d)
	if s.Images != 1 || s.Passed != 1 || s.Refused != 0 || s.Revoked != 1 || len(s.Reasons) != 0 {
		t.Errorf("%d images, %d passed, %d refused, %d revoked, reasons %+v", s.Images, s.Passed, s.Refused, s.Revoked, s.Reasons)
	}
}

// TestAHistoryCountsDecisions: an image may have several of them, so that the last line of a history counts no images;
// that of an answer about several images does.
func TestAHistoryCountsDecisions(t *testing.T) {
	twice := []attestor.Decision{passed(1), passed(1), overridden(4)}
	for name, got := range map[string]string{
		"text":     document(t, report.Text, report.History(twice), report.Options{Width: 400}),
		"markdown": document(t, report.Markdown, report.History(twice), report.Options{}),
	} {
		got = strings.ReplaceAll(got, `\`, "") // as Markdown shows it
		if !strings.Contains(got, "3 decisions: 2 passed") || strings.Contains(got, "3 images") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	if got := encode(t, report.Text, report.Options{}, twice...); !strings.Contains(got, "3 images: 2 passed") {
		t.Errorf("an answer about images:\n%s", got)
	}
}
