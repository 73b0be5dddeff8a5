package vuln

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

// Google's scanner says how a scan stands under this note, with or without a
// location. Discoveries under its other notes, such as COMPLIANCE, are about
// something else.
const (
	googleProject  = "goog-analysis"
	googleScanNote = "PACKAGE_VULNERABILITY"
	googleScanner  = "google"
)

// A discovery is one scanner's word on the scan of one digest.
type discovery struct {
	scanner string // googleScanner, or a trusted note
	digest  attestor.Digest
	said    time.Time // when the scanner last said something
	scan    attestor.Scan
}

// discovery reads o, if it is the word of a scanner that counts.
func (q question) discovery(o *grafeaspb.Occurrence, digest attestor.Digest) (discovery, bool) {
	note := o.GetNoteName()
	scanner := ""
	name, ok := resource.ParseName("notes", note)
	switch {
	case ok && name.Project == googleProject && name.ID == googleScanNote:
		scanner = googleScanner
	case ok && slices.Contains(q.needs.Trusted, note):
		scanner = note
	default:
		return discovery{}, false
	}
	d := o.GetDiscovery()
	scan := attestor.Scan{State: stateOf(d.GetAnalysisStatus()), Note: note, Resource: o.GetResourceUri()}
	scan.ByIndex = !q.index.IsZero() && digest == q.index.Digest()
	scan.Archived = timeOf(d.GetArchiveTime())
	if scan.Finished = timeOf(d.GetLastScanTime()); scan.Finished == nil {
		scan.Finished = timeOf(o.GetUpdateTime())
	}
	if c := d.GetContinuousAnalysis(); c != grafeaspb.DiscoveryOccurrence_CONTINUOUS_ANALYSIS_UNSPECIFIED {
		scan.Continuous = c.String()
	}
	for _, t := range d.GetAnalysisCompleted().GetAnalysisType() {
		scan.Analyses = append(scan.Analyses, strings.ToUpper(t))
	}
	slices.Sort(scan.Analyses)
	scan.Analyses = slices.Compact(scan.Analyses)
	if failure := failureOf(d); failure != nil && (scan.State == attestor.ScanComplete || scan.State == attestor.ScanFailed) {
		scan.State, scan.Problem = attestor.ScanFailed, failure
	}
	said := latest(o.GetCreateTime(), o.GetUpdateTime(), d.GetLastScanTime())
	return discovery{scanner: scanner, digest: digest, said: said, scan: scan}, true
}

// stateOf leaves what it does not know at the zero state, which is an error.
func stateOf(s grafeaspb.DiscoveryOccurrence_AnalysisStatus) attestor.ScanState {
	switch s {
	case grafeaspb.DiscoveryOccurrence_PENDING:
		return attestor.ScanPending
	case grafeaspb.DiscoveryOccurrence_SCANNING:
		return attestor.ScanRunning
	case grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS: // COMPLETE is an alias
		return attestor.ScanComplete
	case grafeaspb.DiscoveryOccurrence_FINISHED_FAILED:
		return attestor.ScanFailed
	case grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED:
		return attestor.ScanUnsupported
	}
	return ""
}

// failureOf is what a scanner reports as having gone wrong. A scan that
// "finished" with errors has not looked at everything.
func failureOf(d *grafeaspb.DiscoveryOccurrence) *attestor.Reason {
	var texts []string
	for _, e := range append(slices.Clone(d.GetAnalysisError()), d.GetAnalysisStatusError()) {
		if e.GetCode() != 0 || e.GetMessage() != "" {
			texts = append(texts, clip(cmp.Or(e.GetMessage(), fmt.Sprintf("error code %d", e.GetCode()))))
		}
	}
	failed := d.GetAnalysisStatus() == grafeaspb.DiscoveryOccurrence_FINISHED_FAILED
	if len(texts) == 0 && !failed {
		return nil
	}
	r := &attestor.Reason{
		Code: attestor.CodeScanFailed, Message: "the scanner reports that the scan failed",
		Fix: "push the image again under a new digest, which starts a new scan",
	}
	if len(texts) > 0 {
		slices.Sort(texts)
		r.Message += ": " + strings.Join(slices.Compact(texts), "; ")
	}
	return r
}

// conclude chooses whose word counts and joins it with the findings.
func (s *Scanner) conclude(ctx context.Context, q question, found collected) answer {
	scan := standing(found.discoveries)
	scan.Findings = merge(found.findings)
	if scan.State != attestor.ScanComplete {
		return answer{scan: scan, again: !final(scan.State)}
	}
	if age := s.c.Now().Sub(*cmp.Or(scan.Finished, &time.Time{})); s.c.Settle > 0 && age < s.c.Settle && age > -s.c.Settle {
		scan.State, scan.Problem = attestor.ScanRunning, &attestor.Reason{
			Code: attestor.CodeScanRunning, Message: fmt.Sprintf("the scan finished less than %s ago, and its findings may not all be listed yet", s.c.Settle),
			Fix: "repeat the request in some seconds, or ask with wait",
		}
		return answer{scan: scan, again: true}
	}
	if q.needs.Advisories {
		if err := s.advisories.date(ctx, scan.Findings, q.needs.Trusted); err != nil {
			return answer{scan: unavailable(reasonOf(err)), again: transient(err)}
		}
	}
	return answer{scan: scan}
}

func final(s attestor.ScanState) bool {
	return s == attestor.ScanComplete || s == attestor.ScanFailed || s == attestor.ScanUnsupported
}

// standing is the state of the scan by all discoveries that count. Of one
// scanner and digest the newest word counts, so that an old success does not
// cover a scan that is running or has failed since. Of several scanners, each
// of which is trusted by itself, the one that got furthest counts: their
// findings are counted together in any case.
func standing(all []discovery) attestor.Scan {
	type group struct {
		scanner string
		digest  attestor.Digest
	}
	newest := map[group]discovery{}
	for _, d := range all {
		g := group{d.scanner, d.digest}
		if old, ok := newest[g]; !ok || newer(d, old) {
			newest[g] = d
		}
	}
	if len(newest) == 0 {
		return attestor.Scan{State: attestor.ScanNotFound}
	}
	best := slices.MaxFunc(slices.Collect(maps.Values(newest)), func(a, b discovery) int {
		return cmp.Or(cmp.Compare(progress(a.scan), progress(b.scan)), boolCompare(b.scan.ByIndex, a.scan.ByIndex),
			compareTime(a.scan.Finished, b.scan.Finished), boolCompare(a.scanner == googleScanner, b.scanner == googleScanner), tie(a, b))
	})
	return best.scan
}

// newer prefers the later word, and of two at one time the worse.
func newer(a, b discovery) bool {
	return cmp.Or(a.said.Compare(b.said), cmp.Compare(progress(b.scan), progress(a.scan)), tie(a, b)) > 0
}

// progress orders states by what is best to tell: a scan that counts, one that
// may yet come to count, one that will not.
func progress(s attestor.Scan) int {
	switch s.State {
	case attestor.ScanComplete:
		n := 10
		if s.Archived == nil {
			n += 2
		}
		if s.Continuous == grafeaspb.DiscoveryOccurrence_ACTIVE.String() {
			n++
		}
		return n
	case attestor.ScanRunning:
		return 5
	case attestor.ScanPending:
		return 4
	case attestor.ScanFailed:
		return 2
	case attestor.ScanUnsupported:
		return 1
	}
	return 3
}

// tie makes the order total, so that the order of occurrences never matters.
func tie(a, b discovery) int {
	return cmp.Or(cmp.Compare(a.scan.Note, b.scan.Note), cmp.Compare(a.scan.Resource, b.scan.Resource), cmp.Compare(a.digest, b.digest),
		compareTime(a.scan.Finished, b.scan.Finished), slices.Compare(a.scan.Analyses, b.scan.Analyses),
		cmp.Compare(a.scan.Continuous, b.scan.Continuous), compareTime(a.scan.Archived, b.scan.Archived),
		comparePtr(a.scan.Problem, b.scan.Problem, func(p, q attestor.Reason) int { return cmp.Compare(p.Message, q.Message) }))
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// compareTime puts nil first.
func compareTime(a, b *time.Time) int {
	if a == nil || b == nil {
		return boolCompare(a != nil, b != nil)
	}
	return a.Compare(*b)
}

// timeOf is nil for what is absent or no time.
func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil || t.CheckValid() != nil {
		return nil
	}
	at := t.AsTime()
	return &at
}

func latest(times ...*timestamppb.Timestamp) time.Time {
	var out time.Time
	for _, t := range times {
		if at := timeOf(t); at != nil && at.After(out) {
			out = *at
		}
	}
	return out
}

// clip keeps a scanner's words short.
func clip(s string) string {
	const limit = 300
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
