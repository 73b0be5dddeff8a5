package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/exception"
)

func vulnerabilitiesCheck() check {
	return check{
		name: attestor.CheckVulnerabilities,
		asks: func(s *Spec) asking {
			// A scan that is not required is judged all the same where there is one.
			if s.Vulnerabilities.Scan.required() {
				return required
			}
			return judged
		},
		needs:    scanNeeds,
		lacks:    scanLacks,
		validate: func(v *validator, s *Spec) { v.vulnerabilities(s) },
		lint:     (*linter).vulnerabilities,
		demands:  func(s *Spec) []string { return s.Vulnerabilities.demands() },
		codes:    vulnerabilityCodes,
		remarks: []attestor.Code{
			attestor.CodeNotReported, attestor.CodeFindingsNotJudged, attestor.CodeKindNotJudged,
			attestor.CodeEndOfLifeUnknown, attestor.CodeShortestWay,
		},
		allowed:   allowedFindings,
		exemplary: exemplaryScan,

		inPackages: true,
		found:      func(p attestor.PlatformSummary) string { return describe.Scan(p.Scan) },
		ofPlatform: (*judgement).vulnerabilities,
	}
}

func scanNeeds(s *Spec, n *attestor.Needs) {
	want := &s.Vulnerabilities.Scan
	n.Scan = attestor.ScanNeeds{
		Required: want.required(), Trusted: want.Trusted, Projects: want.Projects,
		Advisories: len(s.Vulnerabilities.GracePeriod) > 0,
	}
	n.System = s.Vulnerabilities.looksUpEnd()
	if v := s.Vulnerabilities.VEX; v != nil {
		n.Scan.VEXProjects = v.Projects
		if len(v.Sources) > 0 {
			n.VEX = v.needs()
		}
	}
}

func scanLacks(p *Policy, earlier, next attestor.Needs) lack {
	e, n := earlier.Scan, next.Scan
	scanners := scannersLack(e, n)
	switch {
	// What could bring something against the image comes first: of several lacks it is the one that leaves most open.
	case scanners.why != "" && !scanners.certain:
		return scanners
	case next.System && !earlier.System:
		return lack{why: "the image's os-release was not read"}
	case p.judgesByBase() && !basesLookedUp(earlier, next):
		return lack{why: otherBases}

	// A statement, or a date, only excuses a finding, and an image without one needs no excuse. One that was excused is
	// a finding.
	case !covers(e.VEXProjects, n.VEXProjects):
		return lack{why: "VEX statements of other projects were read", certain: true}
	case !covers(earlier.VEX.Texts(), next.VEX.Texts()):
		return lack{why: "VEX documents of other signers were read", certain: true}
	case n.Advisories && !e.Advisories:
		return lack{why: "publication dates were not asked for", certain: true}
	}

	return scanners
}

// judgesByBase reports whether it depends on the base how the policy judges findings or an end of life.
func (p *Policy) judgesByBase() bool {
	return slices.ContainsFunc(p.stages, func(s *Spec) bool {
		return s.Vulnerabilities.BaseFindings != nil || s.Vulnerabilities.EndOfLife != TreatIgnore &&
			slices.ContainsFunc(s.Base.Approved, func(a Approved) bool { return !a.EndOfLife.IsZero() })
	})
}

func vulnerabilityCodes(s *Spec) (out givenCodes) {
	v, scan := &s.Vulnerabilities, &s.Vulnerabilities.Scan
	out.can(
		scan.required(), attestor.CodeScanNotFound, attestor.CodeScanPending, attestor.CodeScanRunning,
		attestor.CodeScanFailed,
	)

	if scan.OnUnsupported == RespondAllow {
		out.only(false, attestor.CodeScanUnsupported)
	} else {
		out.can(scan.required(), attestor.CodeScanUnsupported)
	}

	out.can(scan.required() && len(s.Platforms) != 1, attestor.CodeScanNotOfChild)
	out.can(true, attestor.CodeScanArchived, attestor.CodeScanUnavailable)
	out.only(scan.Continuous != ContinuousOptional, attestor.CodeScanInactive)
	out.only(scan.MaxAge > 0, attestor.CodeScanTooOld)
	out.only(scan.PackageTypes != nil || len(scan.Trusted) > 0, attestor.CodeScanPackageTypeMissing)
	out.can(scan.PackageTypes != nil, attestor.CodeFindingsNotJudged)

	// Findings of the base have limits of their own, which may be stricter.
	limit := out.only
	if v.BaseFindings != nil {
		limit = out.can
	}

	limit(v.MaximumFixableSeverity != attestor.AllowAll, attestor.CodeFixableSeverityExceeded)
	limit(v.MaximumUnfixableSeverity != attestor.AllowAll, attestor.CodeUnfixableSeverityExceeded)

	out.only(v.UnspecifiedSeverity == BinaryDeny, attestor.CodeUnspecifiedSeverity)
	out.can(len(v.BlockedCVEs) > 0, attestor.CodeCVEBlocked)
	out.can(true, attestor.CodeMaliciousPackage)
	out.can(v.VEX != nil && len(v.VEX.Sources) > 0, attestor.CodeVEXUnavailable)
	out.only(v.EndOfLife != TreatIgnore, attestor.CodeEndOfLife)
	out.can(v.EndOfLife == TreatDeny, attestor.CodeSystemUnreadable)
	out.only(s.UnknownFindings != TreatIgnore, attestor.CodeUnknownFinding)
	out.only(v.KnownExploited != RespondAllow, attestor.CodeKnownExploited)
	out.only(v.MaximumEPSS != nil, attestor.CodeEPSSExceeded)
	out.only(len(v.GracePeriod) > 0, attestor.CodeInGracePeriod)
	return out
}

func allowedFindings(s *Spec) exception.List {
	var out exception.List
	for i, a := range s.Vulnerabilities.AllowedCVEs {
		out = append(out, exception.Exception{
			ID: a.ID, Check: attestor.CheckVulnerabilities, Subject: a.ID, Packages: a.Packages, Images: a.Images,
			Owner: a.Owner, Reason: a.Reason, Expires: a.Expires.start,
			Place: index("spec.vulnerabilities.allowedCves", i),
		})
	}
	return out
}

// exemplaryScan is a finished scan without findings, by the scanner that a scan without a description is taken to be
// by.
func exemplaryScan(s *Spec, ev *attestor.Evidence) {
	ev.Platforms[0].Scan = attestor.Scan{
		State: attestor.ScanComplete, Note: attestor.Scan{}.By().Note, Finished: new(ev.Time.Add(-time.Hour)),
		Continuous: "ACTIVE",
		Analyses:   slices.Concat([]string{"OS"}, s.Vulnerabilities.Scan.PackageTypes),
	}
}

const vulnText = "an id such as CVE-2025-9 or GHSA-xxxx-xxxx-xxxx"

func (v *validator) vulnerabilities(spec *Spec) {
	const path = "spec.vulnerabilities"
	s := &spec.Vulnerabilities
	v.matchAll(path+".blockedCves", s.BlockedCVEs, vulnForm, vulnText)
	if s.MaximumEPSS != nil && !(*s.MaximumEPSS >= 0 && *s.MaximumEPSS <= 1) ||
		s.MaximumEPSS != nil && math.IsNaN(*s.MaximumEPSS) {
		v.at(path+".maximumEPSS", "%v is not a probability: want 0 to 1", *s.MaximumEPSS)
	}

	v.notEmpty(path+".gracePeriod", len(s.GracePeriod))
	if b := s.BaseFindings; b != nil && !v.doc.Spec.Base.Required {
		v.at(
			path+".baseFindings",
			"contradicts base.required: false: what is the base's is known only where a base is proven",
		)
	}

	if s.VEX != nil {
		v.vex(path+".vex", s.VEX)
	}

	v.allowed(path+".allowedCves", s)
	v.scan(path+".scan", &s.Scan)

	// Blocked and excepted at once is a contradiction that only the author can resolve.
	isBlocked := asSet(s.BlockedCVEs)
	for i, e := range spec.Exceptions {
		blocked := isBlocked[e.Subject] || e.Subject == string(attestor.CodeCVEBlocked)
		if e.Check == attestor.CheckVulnerabilities && blocked {
			v.at(
				index("spec.exceptions", i)+".subject", "%s contradicts blockedCves, which no exception excuses",
				clip(e.Subject),
			)
		}
	}
}

func asSet(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		out[s] = true
	}
	return out
}

func (v *validator) allowed(path string, s *Vulnerabilities) {
	blocked := asSet(s.BlockedCVEs)
	for i, a := range s.AllowedCVEs {
		at := index(path, i)
		v.match(at+".id", a.ID, vulnForm, vulnText)
		if blocked[a.ID] {
			v.at(at+".id", "%s is in blockedCves too", clip(a.ID))
		}

		v.notEmpty(at+".packages", len(a.Packages))
		for n, name := range a.Packages {
			v.text(index(at+".packages", n), name)
		}
		v.notEmpty(at+".images", len(a.Images))
		v.text(at+".owner", a.Owner)
		v.text(at+".reason", a.Reason)
	}
}

func (v *validator) scan(path string, s *Scan) {
	v.matchAll(path+".trusted", s.Trusted, noteForm, "projects/PROJECT/notes/NOTE")
	v.matchAll(path+".projects", s.Projects, projectForm, "a Google Cloud project id")

	// The empty list would ask for no type, and a scan of nothing would do.
	if s.PackageTypes != nil {
		v.notEmpty(path+".packageTypes", len(s.PackageTypes))
		for i, t := range s.PackageTypes {
			if t == "" || strings.ToUpper(t) != t {
				v.at(
					index(path+".packageTypes", i),
					"%q is malformed: want the scanner's words, such as OS, GO, MAVEN, NPM, PYPI", clip(t),
				)
			}
		}
	}
}

// malware finds exceptions that look as if they let a malicious package pass, and do not.
func (l *linter) malware() {
	const want = "has no effect on a malicious package: name the code MALICIOUS_PACKAGE and the package in " +
		"spec.exceptions"
	for i, a := range l.s.Vulnerabilities.AllowedCVEs {
		if attestor.MaliciousID(a.ID) {
			l.d.at(index("spec.vulnerabilities.allowedCves", i)+".id", want)
		}
	}

	for i, e := range l.s.Exceptions {
		unnamed := e.Subject == string(attestor.CodeMaliciousPackage) && len(e.Packages) == 0
		if e.Check == attestor.CheckVulnerabilities && (unnamed || attestor.MaliciousID(e.Subject)) {
			l.d.at(index("spec.exceptions", i)+".subject", want)
		}
	}
}

func (l *linter) vulnerabilities() {
	const path = "spec.vulnerabilities"
	v := &l.s.Vulnerabilities
	limited := v.MaximumFixableSeverity != attestor.AllowAll || v.MaximumUnfixableSeverity != attestor.AllowAll
	if !v.Scan.required() && limited {
		l.d.at(path+".scan.required", "is false: an image that was never scanned passes whatever the limits are")
	}

	for severity := range v.GracePeriod {
		if v.MaximumFixableSeverity.Allows(severity) && v.MaximumUnfixableSeverity.Allows(severity) &&
			v.BaseFindings == nil {
			l.d.at(path+".gracePeriod."+string(severity), "has no effect: %s is within both limits", severity)
		}
	}

	l.malware()
	l.vex(path+".vex", v.VEX)
	if v.MaximumEPSS != nil && *v.MaximumEPSS == 1 {
		l.d.at(path+".maximumEPSS", "has no effect: no probability is higher than 1")
	}
	if limited && v.EndOfLife == TreatIgnore {
		l.d.at(path+".endOfLife", "is ignore: a system that nobody looks for vulnerabilities of has no findings")
	}
	if v.Scan.required() && v.Scan.Continuous == ContinuousOptional && v.Scan.MaxAge == 0 {
		l.d.at(
			path+".scan.continuous",
			"is optional and maxAge is not set: a scan of any age counts, however much was found since",
		)
	}
}

func (v *Vulnerabilities) demands() []string {
	scan := "a finished scan"
	switch {
	case !v.Scan.required():
		scan = "a scan is not required"
	case v.Scan.Continuous == ContinuousRequired:
		scan += " that is kept up to date"
	}

	if v.Scan.MaxAge > 0 {
		scan += ", at most " + v.Scan.MaxAge.String() + " old"
	}
	out := []string{
		"vulnerabilities: " + scan,
		fmt.Sprintf(
			"vulnerabilities: up to %s where a fix exists, up to %s where none does, without severity: %s",
			v.MaximumFixableSeverity, v.MaximumUnfixableSeverity, v.UnspecifiedSeverity,
		),
	}

	if b := v.BaseFindings; b != nil {
		out = append(out, fmt.Sprintf(
			"vulnerabilities of the base: up to %s where a fix exists, up to %s where none does",
			b.MaximumFixableSeverity, b.MaximumUnfixableSeverity,
		))
	}

	if v.looksUpEnd() {
		out = append(out, fmt.Sprintf("vulnerabilities: %s where the operating system gets no more fixes", v.EndOfLife))
	}

	if len(v.BlockedCVEs) > 0 {
		out = append(out, "vulnerabilities: none of "+strings.Join(v.BlockedCVEs, ", "))
	}
	if v.KnownExploited != RespondAllow {
		out = append(out, fmt.Sprintf("vulnerabilities known to be exploited: %s", v.KnownExploited))
	}

	if v.VEX != nil {
		out = append(out, v.VEX.demand())
	}
	if v.MaximumEPSS != nil {
		out = append(out, fmt.Sprintf("vulnerabilities: EPSS at most %g", *v.MaximumEPSS))
	}
	for _, s := range attestor.Severities() {
		if d := time.Duration(v.GracePeriod[s]); d > 0 {
			out = append(
				out, fmt.Sprintf("vulnerabilities: %s only warns for %s after its publication", s, Duration(d)),
			)
		}
	}
	return out
}

// required is true unless the policy says otherwise in so many words.
func (s *Scan) required() bool { return s.Required == nil || *s.Required }
