package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

// summarise takes decisions newest first, as the record gives them.
func summarise(t testing.TB, o report.SummaryOptions, ds ...attestor.Decision) report.Summary {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = day.AddDate(0, 0, 1)
	}
	s, err := report.Summarise(report.FromDecisions(func(yield func(attestor.Decision, error) bool) {
		for _, d := range ds {
			if !yield(d, nil) {
				return
			}
		}
	}), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSummaryCountsImagesByTheirNewestDecision(t *testing.T) {
	older := refused(1)
	older.Time = older.Time.AddDate(0, 0, -1)
	s := summarise(t, report.SummaryOptions{}, passed(1), undecided(2), refused(3), overridden(4), older)
	got := []int{s.Decisions, s.Images, s.Passed, s.Refused, s.Undecided, len(s.Overrides), len(s.Rows)}
	if want := []int{5, 4, 1, 2, 1, 1, 4}; !slices.Equal(got, want) {
		t.Errorf("decisions, images, passed, refused, undecided, overrides, rows = %v, want %v", got, want)
	}
	if s.DryRun {
		t.Error("refusals in earnest are called dry runs")
	}
	var verdicts []string
	for _, r := range s.Rows {
		verdicts = append(verdicts, string(r.Verdict))
	}
	if want := []string{"deny", "deny", "error", "pass"}; !slices.Equal(verdicts, want) || !s.Rows[0].Overridden {
		t.Errorf("the rows are ordered %v, want what needs somebody first: %v", verdicts, want)
	}
	if n := len(s.Trend); n != 2 || s.Trend[0].Refused != 1 || s.Trend[1].Passed != 1 || s.Trend[1].Refused != 2 {
		t.Errorf("the trend is %+v", s.Trend)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	s := summarise(t, report.SummaryOptions{})
	if s.Headline() != "No image has been judged" || s.Images != 0 {
		t.Errorf("%q, %+v", s.Headline(), s)
	}
	for _, f := range []report.Format{report.HTML, report.JSON, report.Markdown, report.Text} {
		var b bytes.Buffer
		if err := report.Write(&b, f, report.Record(s), report.Options{}); err != nil || b.Len() == 0 {
			t.Errorf("%s: %d bytes, %v", f, b.Len(), err)
		}
	}
}

func TestHeadlines(t *testing.T) {
	dry := refused(9)
	dry.DryRun = true
	for _, tt := range []struct {
		want string
		in   []attestor.Decision
	}{
		{"The one image passes", []attestor.Decision{passed(1)}},
		{"All 2 images pass", []attestor.Decision{passed(1), passed(2)}},
		{"1 of 2 images was refused", []attestor.Decision{passed(1), refused(2)}},
		{"1 of 2 images would be refused", []attestor.Decision{passed(1), dry}},
		{"1 of 1 image could not be decided", []attestor.Decision{undecided(1)}},
		{"1 of 1 image was refused", []attestor.Decision{{}}},
	} {
		if got := summarise(t, report.SummaryOptions{}, tt.in...).Headline(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// The fix that clears most images by itself comes first, not the one that is
// named most often.
func TestFixesThatClearMostComeFirst(t *testing.T) {
	with := func(n int, fixes ...string) attestor.Decision {
		d := refused(n)
		d.Checks[2].Reasons = nil
		for _, f := range fixes {
			d.Checks[2].Reasons = append(d.Checks[2].Reasons, attestor.Reason{Code: attestor.CodeFixableSeverityExceeded, Message: "m", Fix: f})
		}
		return d
	}
	s := summarise(t, report.SummaryOptions{}, with(1, "zlib", "openssl"), with(2, "zlib", "curl"),
		with(3, "zlib", "curl", ""), with(4, "openssl"), with(5, "openssl", "openssl"), with(6, "curl", ""))
	want := []report.FixCount{
		{Fix: "openssl", Code: attestor.CodeFixableSeverityExceeded, Images: 3, Clears: 2},
		{Fix: "curl", Code: attestor.CodeFixableSeverityExceeded, Images: 3},
		{Fix: "zlib", Code: attestor.CodeFixableSeverityExceeded, Images: 3},
	}
	if d := cmp.Diff(want, s.Fixes); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if r := s.Reasons[0]; r.Images != 6 || r.Count != 12 || r.Means == "" {
		t.Errorf("the reason is %+v", r)
	}
}

func TestWhatChanged(t *testing.T) {
	at := func(d attestor.Decision, repo string, days int) attestor.Decision {
		d.Image.Reference = "us-docker.pkg.dev/acme/" + repo + "@" + string(d.Image.Digest)
		d.Time = day.AddDate(0, 0, days)
		return d
	}
	before := summarise(t, report.SummaryOptions{Now: day}, at(passed(1), "worse", 0), at(refused(2), "better", 0),
		at(passed(3), "gone", 0), at(undecided(4), "open", 0), at(refused(5), "same", 0))
	// What a later report reads is the earlier one's JSON.
	b, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	read, err := report.ReadSummary(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{}", "[]", "<html>"} {
		if _, err := report.ReadSummary(strings.NewReader(bad)); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%q was read as a report: %v", bad, err)
		}
	}
	now := summarise(t, report.SummaryOptions{Previous: &read}, at(refused(11), "worse", 7),
		at(passed(12), "better", 7), at(passed(13), "new", 7), at(refused(14), "open", 7),
		at(refused(15), "same", 7), at(passed(16), "worse", 6))
	c := now.Change
	name := func(rows []report.ChangedRow) (out []string) {
		for _, r := range rows {
			out = append(out, r.Repository[strings.LastIndex(r.Repository, "/")+1:])
		}
		return out
	}
	if got := name(c.NewlyRefused); !slices.Equal(got, []string{"open", "worse"}) {
		t.Errorf("newly refused %v", got)
	}
	if got := name(c.NewlyPassing); !slices.Equal(got, []string{"better"}) {
		t.Errorf("newly passing %v", got)
	}
	if c.New != 1 || c.Gone != 1 || c.PassedBefore != 2 || c.RefusedBefore != 2 || c.UndecidedBefore != 1 || !c.Since.Equal(day) {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.GoneCodes, []attestor.Code{attestor.CodeScanRunning}) || len(c.NewCodes) != 0 {
		t.Errorf("codes: new %v, gone %v", c.NewCodes, c.GoneCodes)
	}
}

// Images that are warned of a later day are counted by that day and its owner, each by its newest decision, in every
// form of the report.
func TestUpcomingRefusals(t *testing.T) {
	warned := func(n int, reasons ...attestor.Reason) attestor.Decision {
		d := passed(n)
		d.Checks[1].Status, d.Checks[1].Reasons = attestor.StatusWarn, reasons
		return d
	}
	reason := func(code attestor.Code, from, owner string) attestor.Reason {
		return attestor.Reason{Code: code, Severity: attestor.Warns, Message: "m", EffectiveFrom: from, Owner: owner}
	}
	root, high := reason(attestor.CodeUserRoot, "2027-03-01", "platform"), reason(attestor.CodeFixableSeverityExceeded, "2027-03-01", "platform")
	decisions := []attestor.Decision{
		warned(1, root, root, high), warned(2, high), warned(3, reason(attestor.CodeUserRoot, "2027-01-15", "<b>runtime</b>")),
		passed(4), warned(4, root), warned(1, root), // older decisions on images that were counted
		warned(5, attestor.Reason{Code: attestor.CodeUserRoot, Severity: attestor.Warns, Message: "m"}),
	}
	s := summarise(t, report.SummaryOptions{Now: day}, decisions...)
	var got []string
	for _, u := range s.Upcoming {
		got = append(got, fmt.Sprintf("%s %s %d %v %d", u.EffectiveFrom, u.Owner, u.Images, u.ByReason, len(u.Examples)))
	}
	if diff := cmp.Diff([]string{"2027-01-15 <b>runtime</b> 1 map[USER_ROOT:1] 1",
		"2027-03-01 platform 2 map[FIXABLE_SEVERITY_EXCEEDED:2 USER_ROOT:1] 2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for format, wants := range map[report.Format][]string{
		report.Text: {"refused from 15 January 2027 (owner: <b>runtime</b>): 1 image",
			"refused from 1 March 2027 (owner: platform): 2 images", "REFUSED LATER",
			"FIXABLE_SEVERITY_EXCEEDED USER_ROOT"},
		report.Markdown: {"refused from 1 March 2027", "2 images", "Refused later"},
		report.HTML:     {"Refused later", "2027-03-01", "&lt;b&gt;runtime&lt;/b&gt;"},
		report.JSON:     {`"effectiveFrom": "2027-03-01"`},
	} {
		var b strings.Builder
		if err := report.Write(&b, format, report.Document{Kind: report.OfRecord, Summary: &s, Value: s}, report.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s does not say %q", format, want)
			}
		}
		if format == report.HTML && strings.Contains(b.String(), "<b>runtime") {
			t.Error("an owner's markup is not escaped")
		}
	}

	// A report without such days has no word of them.
	plain := summarise(t, report.SummaryOptions{Now: day}, passed(1))
	var b strings.Builder
	if err := report.Write(&b, report.Text, report.Document{Kind: report.OfRecord, Summary: &plain, Value: plain},
		report.Options{}); err != nil ||
		strings.Contains(strings.ToLower(b.String()), "refused later") || plain.Upcoming == nil {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestExceptionsInUseExpiringAndUnused(t *testing.T) {
	use := func(n int, id, expires string, expired bool) attestor.Decision {
		d := passed(n)
		d.Checks[2].Exceptions = []attestor.AppliedException{{ID: id, Owner: "o", Reason: "r", Expires: expires, Expired: expired}}
		return d
	}
	stale := passed(9)
	stale.Checks = append(stale.Checks, attestor.Check{Name: attestor.CheckPolicy, Status: attestor.StatusWarn, Reasons: []attestor.Reason{
		{Code: attestor.CodeExceptionStale, Subject: "CVE-never", Message: "matched nothing"},
		{Code: attestor.CodeExceptionStale, Subject: "CVE-far", Message: "matched nothing"},
	}})
	s := summarise(t, report.SummaryOptions{Now: day}, use(1, "CVE-far", "2027-06-30", false),
		use(2, "CVE-far", "2027-06-30", false), use(3, "CVE-soon", "2026-12-01", false),
		use(4, "CVE-over", "2026-11-01", true), stale)
	var got []string
	for _, e := range s.Exceptions {
		got = append(got, e.State+" "+e.ID)
	}
	if want := []string{"expired CVE-over", "expiring CVE-soon", "unused CVE-never", "in use CVE-far"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := s.Exceptions[3].Images; n != 2 {
		t.Errorf("%d images use it, want 2", n)
	}
}

func TestBasesGroupsAndAges(t *testing.T) {
	s := summary(t, 2000)
	images, outdated, clears := 0, 0, 0
	for _, b := range s.Bases {
		images, outdated, clears = images+b.Images, outdated+b.Outdated, clears+b.Clears
	}
	if images != s.Images || outdated == 0 || clears != 2*outdated { // two of each image's three findings are in its base
		t.Errorf("%d images on bases, %d outdated, %d findings that a rebuild may clear", images, outdated, clears)
	}
	inGroups := 0
	for _, g := range s.Groups {
		inGroups += g.Images
	}
	if inGroups != s.Images || s.GroupedBy != "repository path" || len(s.Groups) != 15 {
		t.Errorf("%d images in %d groups by %s", inGroups, len(s.Groups), s.GroupedBy)
	}
	ages := 0
	for _, a := range s.Ages {
		ages += a.Total()
	}
	if ages != 3*s.Images || len(s.Ages) != 5 {
		t.Errorf("%d findings by age, want %d", ages, 3*s.Images)
	}
	d := passed(1)
	d.Labels = map[string]string{"team": "payments"}
	if s := summarise(t, report.SummaryOptions{GroupBy: "team"}, d, passed(2)); len(s.Groups) != 2 ||
		s.GroupedBy != "team" || s.Groups[0].Name != "" && s.Groups[0].Name != "payments" {
		t.Errorf("by label: %+v", s.Groups)
	}
}

// TestARebuildClearsWhatTheBaseAloneHolds: a layer of the base that the image
// has above it again stays when the base is replaced.
func TestARebuildClearsWhatTheBaseAloneHolds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers []attestor.Layer
		want   int
	}{
		{"below only", []attestor.Layer{{DiffID: digest(1)}, {DiffID: digest(2)}}, 1},
		{"below and above", []attestor.Layer{{DiffID: digest(1)}, {DiffID: digest(2)}, {DiffID: digest(1)}}, 0},
	} {
		d := passed(1)
		d.Platforms[0].Base.Current = false
		e := attestor.PlatformEvidence{
			Base: attestor.Base{Name: "distroless-static", Evidence: attestor.LayersExact, Layers: 1}, Layers: tt.layers,
			Scan: attestor.Scan{Findings: []attestor.Vulnerability{{ID: "CVE-2026-1", DiffIDs: []attestor.Digest{digest(1)}}}},
		}
		b := report.NewBuilder(report.SummaryOptions{Now: day})
		b.Add(attestor.Record{Decision: d, Evidence: attestor.Evidence{Platforms: []attestor.PlatformEvidence{e}}})

		if got := b.Summary().Bases[0].Clears; got != tt.want {
			t.Errorf("%s: a rebuild clears %d findings, want %d", tt.name, got, tt.want)
		}
	}
}

func TestSummariseEndsAtAnError(t *testing.T) {
	lost := errors.New("the record is lost")
	_, err := report.Summarise(func(yield func(attestor.Record, error) bool) {
		if yield(attestor.Record{Decision: passed(1)}, nil) {
			yield(attestor.Record{}, lost)
		}
	}, report.SummaryOptions{Now: day})
	if !errors.Is(err, lost) {
		t.Errorf("got %v; a report of a part would look like one of the whole", err)
	}
}

func TestSummaryGolden(t *testing.T) {
	for name, f := range map[string]report.Format{"summary.txt": report.Text, "summary.md": report.Markdown} {
		var b bytes.Buffer
		if err := report.Write(&b, f, report.Record(summary(t, 120)), report.Options{}); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.String())
	}
	if err := report.Write(&bytes.Buffer{}, report.SARIF, report.Record(report.Summary{}), report.Options{}); attestor.KindOf(err) != attestor.Invalid {
		t.Errorf("SARIF of a summary: %v", err)
	}
}

func TestSummaryIsHarmless(t *testing.T) {
	s := summarise(t, report.SummaryOptions{Title: "\x1b[2J<script>"}, hostile(1), hostile(2))
	for _, f := range []report.Format{report.HTML, report.JSON, report.Markdown, report.Text} {
		var b bytes.Buffer
		if err := report.Write(&b, f, report.Record(s), report.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"\x1b", "\u202e", "\u009b", "\x00"} {
			if strings.Contains(b.String(), bad) {
				t.Errorf("%s lets %q through", f, bad)
			}
		}
		if f == report.HTML && strings.Contains(b.String(), "<script>alert") {
			t.Error("a name became a script")
		}
	}
}

func TestLinksOnlyGoToTheService(t *testing.T) {
	for _, bad := range []string{"javascript:alert(1)", "gate.example.com", "https://user:secret@gate.example.com", "https://", "ftp://x"} {
		if err := report.Write(&bytes.Buffer{}, report.HTML, report.Record(report.Summary{}),
			report.Options{Links: bad}); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%q: %v, want an error of kind Invalid", bad, err)
		}
	}
}

func BenchmarkReport(b *testing.B) {
	b.Run("summarise-10000", func(b *testing.B) {
		for range b.N {
			if _, err := report.Summarise(estate(10_000), report.SummaryOptions{Now: day}); err != nil {
				b.Fatal(err)
			}
		}
	})
	s := summary(b, 10_000)
	b.Run("html-10000", func(b *testing.B) {
		for range b.N {
			var out bytes.Buffer
			start := time.Now()
			if err := report.Write(&out, report.HTML, report.Record(s), report.Options{}); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(out.Len())/1e6, "MB")
			b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms")
		}
	})
}
