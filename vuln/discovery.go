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
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/resource"
)

// Google's scanner reports the state of a scan under this note, with or without a
// location. Discoveries under its other notes, such as COMPLIANCE, are about something
// else.
const (
	googleProject  = "goog-analysis"
	googleScanNote = "PACKAGE_VULNERABILITY"
	googleScanner  = "google"
)

// A discovery is one scanner's report of the state of the scan of one digest.
type discovery struct {
	scanner string // googleScanner, or a trusted note
	digest  attestor.Digest
	said    time.Time // when the scanner last reported
	stored  time.Time // when Container Analysis last stored the report, by its own clock; zero: it does not say
	scan    attestor.Scan
}

// isDiscovery reports whether o is about the state of a scan. One without details says that the state is not known.
func isDiscovery(o *grafeaspb.Occurrence) bool {
	return o.GetDiscovery() != nil || o.GetKind() == grafeaspb.NoteKind_DISCOVERY
}

// discovery reads o, if it is the report of a scanner that counts.
func (q question) discovery(o *grafeaspb.Occurrence, digest attestor.Digest) (discovery, bool) {
	// Any writer of a project can store a discovery. Only under Google's own notes, to
	// which nobody else can attach, and under notes that the policy trusts, is it the
	// scanner's own report.
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
	if system, ok := eol.FromCPE(d.GetCpe()); ok {
		scan.System = &system
	}

	// Scanners that give no last scan time update the occurrence when they finish.
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

	// FINISHED_SUCCESS beside an error is no success: the scanner did not look at
	// everything.
	if failure := failureOf(d); failure != nil &&
		(scan.State == attestor.ScanComplete || scan.State == attestor.ScanFailed) {
		scan.State, scan.Problem = attestor.ScanFailed, failure
	}

	// The reason for FINISHED_UNSUPPORTED helps; the state stays what it is.
	if text := d.GetAnalysisStatusError().GetMessage(); scan.State == attestor.ScanUnsupported && text != "" {
		scan.Problem = &attestor.Reason{Code: attestor.CodeScanUnsupported, Message: clip(text)}
	}
	return discovery{
		scanner: scanner, digest: digest, scan: scan,
		said:   latest(o.GetCreateTime(), o.GetUpdateTime(), d.GetLastScanTime()),
		stored: latest(o.GetCreateTime(), o.GetUpdateTime()),
	}, true
}

// stateOf maps a state that this version does not know to the zero state, which is an
// error and never a finished scan.
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

// failureOf is the error that a scanner reports; nil if it reports none.
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

// conclude chooses the scanner whose report counts, and joins it with the findings.
func (s *Scanner) conclude(ctx context.Context, q question, found collected) answer {
	best := prevailing(found.discoveries)
	scan := best.scan

	// Findings count in every state: a scan that has not finished can refuse, and not pass.
	scan.Findings = merge(take(found.findings))
	scan.System = s.system(scan.System, found.systems)
	scan.Secrets, scan.SecretsListed = mergeSecrets(found.secrets), true
	scan.Unread, scan.KindsUnlisted = found.unread.list(), found.unlisted
	if scan.State != attestor.ScanComplete {
		return answer{scan: scan, again: !final(scan.State)}
	}

	// A part of the findings must not be taken for all.
	if !s.c.NoListLag && best.lags(s.c.Now()) {
		scan.State, scan.Problem = attestor.ScanRunning, &attestor.Reason{
			Code: attestor.CodeScanRunning,
			Message: fmt.Sprintf(
				"the scan finished, or was stored, less than %s ago, and its findings may not all be listed yet",
				resource.ListLag,
			),
			Fix: "repeat the request in some seconds, or ask with wait",
		}
		return answer{scan: scan, again: true}
	}

	// Grace periods start with an advisory's publication; one that cannot be looked
	// up is an error, not the absence of a date.
	if q.needs.Advisories {
		if err := s.advisories.date(ctx, scan.Findings, q.needs.Trusted); err != nil {
			return answer{scan: unavailable(reasonOf(err)), again: transient(err)}
		}
	}
	return answer{scan: scan}
}

// clockAhead is how far Google's clock may be ahead of the gate's.
const clockAhead = time.Minute

// lags reports whether lists may not show all findings of the scan yet. A report that is imported is stored long after
// its scan was made, so that both times count. A time ahead of the gate's clock is as recent; one that is not said is
// old.
func (d discovery) lags(now time.Time) bool {
	finished := now.Sub(*cmp.Or(d.scan.Finished, &time.Time{}))
	stored := now.Sub(d.stored)
	return finished.Abs() < resource.ListLag || stored < resource.ListLag && stored > -clockAhead
}

func final(s attestor.ScanState) bool {
	return s == attestor.ScanComplete || s == attestor.ScanFailed || s == attestor.ScanUnsupported
}

// prevailing is the state of the scan by all discoveries that count. Of one scanner
// and digest the newest report counts, so that an old success does not hide a scan
// that is running or has failed since. Of several scanners, each of which is
// trusted by itself, the most advanced one counts: their findings are counted
// together in any case.
func prevailing(all []discovery) discovery {
	type group struct {
		scanner string
		digest  attestor.Digest
	}
	newest := map[group]discovery{}
	for _, d := range all {
		// Reports of one scanner about one digest replace each other; those of
		// different scanners do not.
		g := group{d.scanner, d.digest}
		if old, ok := newest[g]; !ok || newer(d, old) {
			newest[g] = d
		}
	}

	if len(newest) == 0 {
		return discovery{scan: attestor.Scan{State: attestor.ScanNotFound}}
	}

	// The order is total, so that two readings of the same occurrences never differ. A
	// scan of the manifest itself wins over one of its index.
	return slices.MaxFunc(slices.Collect(maps.Values(newest)), func(a, b discovery) int {
		return cmp.Or(
			cmp.Compare(progress(a.scan), progress(b.scan)),
			boolCompare(b.scan.ByIndex, a.scan.ByIndex),
			compareTime(a.scan.Finished, b.scan.Finished),
			boolCompare(a.scanner == googleScanner, b.scanner == googleScanner),
			tie(a, b),
		)
	})
}

// newer prefers the later report, and of two at one time the less advanced.
func newer(a, b discovery) bool {
	return cmp.Or(a.said.Compare(b.said), cmp.Compare(progress(b.scan), progress(a.scan)), tie(a, b)) > 0
}

// progress orders states by what is most useful to report: a scan that counts, one
// that may yet come to count, one that will not.
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
	return cmp.Or(
		cmp.Compare(a.scan.Note, b.scan.Note),
		cmp.Compare(a.scan.Resource, b.scan.Resource),
		cmp.Compare(a.digest, b.digest),
		compareTime(a.scan.Finished, b.scan.Finished),
		slices.Compare(a.scan.Analyses, b.scan.Analyses),
		cmp.Compare(a.scan.Continuous, b.scan.Continuous),
		compareTime(a.scan.Archived, b.scan.Archived),
		comparePtr(a.scan.Problem, b.scan.Problem, func(p, q attestor.Reason) int {
			return cmp.Compare(p.Message, q.Message)
		}),
	)
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

// timeOf is nil for a time that is absent or invalid.
func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t.CheckValid() != nil {
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

// clip bounds a text of somebody else's in a message.
func clip(s string) string { return plain.Clip(s, 300) }
