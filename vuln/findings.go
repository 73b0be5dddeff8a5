package vuln

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

// googleVulnerabilities is the project of the notes of Google's scanner. Nobody else
// can attach an occurrence to them.
const googleVulnerabilities = "goog-vulnz"

// The source of a severity that is not the package's own effective one.
const (
	fallbackEffective = "occurrence effectiveSeverity"
	fallbackProvider  = "occurrence severity"
)

// appendFindings adds the findings of o to list: one for each affected package and
// each place where it was found. Every vulnerability occurrence about the digest
// counts, whoever wrote it, since a finding can only make the verdict worse.
func appendFindings(list []attestor.Vulnerability, o *grafeaspb.Occurrence, trusted []string) []attestor.Vulnerability {
	v := o.GetVulnerability()
	base := attestor.Vulnerability{ID: idOf(o), Note: o.GetNoteName(), CVSS: cvssOf(v)}
	switch {
	case v == nil && o.GetKind() != grafeaspb.NoteKind_VULNERABILITY:
		return list
	case v == nil:
		// Details of a later version: how bad it is, is not known here.
		base.Severity, base.Malicious = unreadable, attestor.MaliciousID(base.ID)
		return append(list, base)
	}

	// Google's scanner reports malicious packages as vulnerabilities of severity CRITICAL, by the id of their advisory.
	base.Malicious = attestor.MaliciousID(base.ID) || attestor.MaliciousID(v.GetShortDescription())
	base.EPSS, base.KnownExploited = riskOf(v.GetRisk())
	base.VEX = vexOf(o, base.ID, trusted)

	// A vulnerability without a package is one all the same.
	if len(v.GetPackageIssue()) == 0 {
		base.Severity, base.Fallback = severityOf(grafeaspb.Severity_SEVERITY_UNSPECIFIED, v)
		base.Fixable = v.GetFixAvailable()
		return append(list, base)
	}

	for _, issue := range v.GetPackageIssue() {
		// The fix and the severity are the package's own.
		f := base
		f.Severity, f.Fallback = severityOf(issue.GetEffectiveSeverity(), v)
		f.Package = issue.GetAffectedPackage()
		f.PackageType = strings.ToUpper(issue.GetPackageType())
		f.Version = versionOf(issue.GetAffectedVersion())
		f.Fixable, f.FixedVersion = fixOf(issue)
		list = appendPlaces(list, f, issue.GetFileLocation())
	}
	return list
}

// appendPlaces adds f once for each path where it was found, so that a copy in the
// base and a copy in the image's own layers stay two findings.
func appendPlaces(
	list []attestor.Vulnerability,
	f attestor.Vulnerability,
	places []*grafeaspb.FileLocation,
) []attestor.Vulnerability {
	if len(places) == 0 {
		return append(list, f)
	}
	for _, p := range places {
		f.Path, f.DiffIDs = p.GetFilePath(), nil
		if id, ok := diffID(p.GetLayerDetails().GetDiffId()); ok {
			// A layer that cannot be read stays unknown: the finding is then the
			// image's own.
			f.DiffIDs = []attestor.Digest{id}
		}
		list = append(list, f)
	}
	return list
}

// diffID accepts sha256:HEX and bare HEX; scanners write both.
func diffID(s string) (attestor.Digest, bool) {
	d, err := attestor.ParseDigest("sha256:" + strings.TrimPrefix(s, "sha256:"))
	return d, err == nil
}

// idOf is the note's last segment, whatever family of names it belongs to.
func idOf(o *grafeaspb.Occurrence) string {
	note := o.GetNoteName()
	if id := note[strings.LastIndexByte(note, '/')+1:]; id != "" {
		return id
	}
	return cmp.Or(o.GetVulnerability().GetShortDescription(), "(vulnerability without a name)")
}

// unreadable is the severity of a vulnerability without details that this version can read.
const unreadable attestor.Severity = "UNREADABLE"

// severityOf prefers the effective severity of the package, then that of the
// occurrence, then the provider's; a severity that nobody gives is Unspecified. One
// that this version does not know stays: a known one of less weight must not hide it.
func severityOf(own grafeaspb.Severity, v *grafeaspb.VulnerabilityOccurrence) (attestor.Severity, string) {
	if s := levelOf(own); s != attestor.Unspecified {
		return s, ""
	}
	if s := levelOf(v.GetEffectiveSeverity()); s != attestor.Unspecified {
		return s, fallbackEffective
	}

	if s := levelOf(v.GetSeverity()); s != attestor.Unspecified {
		return s, fallbackProvider
	}
	return attestor.Unspecified, ""
}

func levelOf(s grafeaspb.Severity) attestor.Severity {
	switch s {
	case grafeaspb.Severity_SEVERITY_UNSPECIFIED:
		return attestor.Unspecified
	case grafeaspb.Severity_MINIMAL:
		return attestor.Minimal
	case grafeaspb.Severity_LOW:
		return attestor.Low
	case grafeaspb.Severity_MEDIUM:
		return attestor.Medium
	case grafeaspb.Severity_HIGH:
		return attestor.High
	case grafeaspb.Severity_CRITICAL:
		return attestor.Critical
	}
	return attestor.Severity("SEVERITY_" + s.String())
}

// fixOf is about this package. The occurrence's own fixAvailable means that at least
// one of its packages has a fix, which says nothing about the others. MAXIMUM means
// that there is no fix.
func fixOf(issue *grafeaspb.VulnerabilityOccurrence_PackageIssue) (bool, string) {
	fixed := issue.GetFixedVersion()
	switch fixed.GetKind() {
	case grafeaspb.Version_MAXIMUM:
		return false, ""
	case grafeaspb.Version_NORMAL, grafeaspb.Version_VERSION_KIND_UNSPECIFIED:
		if text := versionOf(fixed); text != "" {
			return true, text
		}
	}
	return issue.GetFixAvailable(), ""
}

// versionOf prefers the full name, else writes [EPOCH:]NAME[-REVISION].
func versionOf(v *grafeaspb.Version) string {
	if v.GetFullName() != "" || v.GetName() == "" {
		return v.GetFullName()
	}
	s := v.GetName()
	if v.GetEpoch() != 0 {
		s = strconv.Itoa(int(v.GetEpoch())) + ":" + s
	}

	if v.GetRevision() != "" {
		s += "-" + v.GetRevision()
	}
	return s
}

// cvssOf is the score that the scanner chose, else that of the newest version
// of CVSS that it gives. Zero is "none given".
func cvssOf(v *grafeaspb.VulnerabilityOccurrence) *float64 {
	for _, score := range []float32{
		v.GetCvssScore(), v.GetCvssV4().GetBaseScore(), v.GetCvssv3().GetBaseScore(), v.GetCvssV2().GetBaseScore(),
	} {
		// CVSS scores are 0 to 10 with one decimal: the API has them as floats.
		if score > 0 && score <= 10 {
			return new(math.Round(float64(score)*10) / 10)
		}
	}
	return nil
}

// riskOf reads what is reported of exploitation. A scanner that reports risk without
// an entry in CISA's catalogue reports that there is none; one that reports no risk
// says nothing. A score that is not a probability is read as 1: a limit must not be
// passed by a value that cannot be compared with it.
func riskOf(r *grafeaspb.Risk) (epss *float64, exploited *bool) {
	if r == nil {
		return nil, nil
	}
	if e := r.GetEpss(); e != nil {
		// NaN compares false with every limit.
		if epss = new(e.GetScore()); !(*epss >= 0 && *epss <= 1) {
			*epss = 1
		}
	}
	return epss, new(r.GetCisaKev() != nil)
}

// vexOf reads the assessment that Container Analysis filled in from a VEX note. Any
// writer of occurrences can put one there, so that it is read only where nobody but a
// trusted scanner can have attached the occurrence.
func vexOf(o *grafeaspb.Occurrence, id string, trusted []string) []attestor.VEX {
	note, ok := resource.ParseName("notes", o.GetNoteName())
	if !ok || (note.Project != googleVulnerabilities && !slices.Contains(trusted, o.GetNoteName())) {
		return nil
	}

	// An assessment of another vulnerability, or of nobody, excuses nothing here.
	a := o.GetVulnerability().GetVexAssessment()
	source, ok := resource.ParseName("notes", a.GetNoteName())
	about := cmp.Or(a.GetVulnerabilityId(), id)
	if !ok || about != id {
		return nil
	}

	status := ""
	switch a.GetState() {
	case grafeaspb.VulnerabilityAssessmentNote_Assessment_AFFECTED:
		status = "affected"
	case grafeaspb.VulnerabilityAssessmentNote_Assessment_NOT_AFFECTED:
		status = "not_affected"
	case grafeaspb.VulnerabilityAssessmentNote_Assessment_FIXED:
		status = "fixed"
	case grafeaspb.VulnerabilityAssessmentNote_Assessment_UNDER_INVESTIGATION:
		status = "under_investigation"
	default:
		return nil
	}

	vex := attestor.VEX{
		Status:        status,
		Project:       source.Project,
		Note:          a.GetNoteName(),
		Justification: clip(a.GetJustification().GetDetails()),
	}

	if t := a.GetJustification().GetJustificationType(); vex.Justification == "" && t != 0 {
		vex.Justification = strings.ToLower(t.String())
	}
	return []attestor.VEX{vex}
}

// merge sorts list and joins findings that say the same of the same thing. Where two
// differ in anything that a policy may look at, both stay: a merger that chose one of
// them could choose the harmless one.
func merge(list []attestor.Vulnerability) []attestor.Vulnerability {
	slices.SortFunc(list, func(a, b attestor.Vulnerability) int {
		return cmp.Or(compareFindings(a, b), slices.Compare(a.DiffIDs, b.DiffIDs))
	})
	out := list[:0]
	for _, f := range list {
		if n := len(out); n > 0 && compareFindings(out[n-1], f) == 0 {
			// The same finding in several layers is one finding with all of them.
			out[n-1].DiffIDs = union(out[n-1].DiffIDs, f.DiffIDs)
			continue
		}
		out = append(out, f)
	}

	// list is the caller's no more; what lies beyond the result must not be kept alive
	// by it.
	clear(list[len(out):])
	if len(out) == 0 {
		return nil
	}
	return out
}

func union(a, b []attestor.Digest) []attestor.Digest {
	if slices.Equal(a, b) {
		return a
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// compareFindings leaves out the layers, but not whether any was reported: an
// unknown layer must not become a known one.
func compareFindings(a, b attestor.Vulnerability) int {
	return cmp.Or(
		cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package), cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.PackageType, b.PackageType), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Note, b.Note),
		cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Fallback, b.Fallback),
		boolCompare(a.Malicious, b.Malicious),
		boolCompare(a.Fixable, b.Fixable), cmp.Compare(a.FixedVersion, b.FixedVersion),
		comparePtr(a.CVSS, b.CVSS, cmp.Compare), comparePtr(a.EPSS, b.EPSS, cmp.Compare),
		comparePtr(a.KnownExploited, b.KnownExploited, boolCompare), compareTime(a.Published, b.Published),
		slices.CompareFunc(a.VEX, b.VEX, compareVEX), boolCompare(len(a.DiffIDs) > 0, len(b.DiffIDs) > 0),
	)
}

func compareVEX(a, b attestor.VEX) int {
	return cmp.Or(
		cmp.Compare(a.Note, b.Note),
		cmp.Compare(a.Status, b.Status),
		cmp.Compare(a.Justification, b.Justification),
	)
}

// comparePtr puts nil first.
func comparePtr[T any](a, b *T, compare func(a, b T) int) int {
	if a == nil || b == nil {
		return boolCompare(a != nil, b != nil)
	}
	return compare(*a, *b)
}
