package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// vulnerabilities judges the scan, and every finding in it whatever its state:
// a scan that did not finish can refuse, but not pass.
func (j *judgement) vulnerabilities(e *attestor.PlatformEvidence) {
	// What was found counts in every state of the scan; that nothing was found counts in a finished one only.
	found := j.systemProblems(j.problems(attestor.CheckVulnerabilities, j.ev.Problems, e.Problems))
	state, skip := j.scanState(e)
	found = append(found, state...)
	found = append(found, j.endOfLife(e)...)
	s := j.findingsOf(e)
	s.unreadVEX = len(s.vexSources()) > 0 && slices.ContainsFunc(found, isUnreadVEX)
	for i, v := range s.sorted() {
		// There may be tens of thousands: a list that grows step by step is copied again and again.
		faults := s.faults(v)
		if len(found)+len(faults) > cap(found) {
			found = slices.Grow(found, len(faults)+len(s.ev.Scan.Findings)-i)
		}
		found = append(found, faults...)
	}

	// Documents that nobody had to look into change nothing.
	if !s.consultedVEX {
		found = slices.DeleteFunc(found, isUnreadVEX)
	}

	found = append(found, s.notes()...)
	if skip != nil && len(found) == 0 {
		j.nothingFor(attestor.CheckVulnerabilities, e.Platform, *skip)
		return
	}

	check, kept := j.conclude(attestor.CheckVulnerabilities, e.Platform, found)

	// There is no scan to go by. What was excused, or only warns, does not make the check one that was made: else a
	// finding more would let an image pass without any check that passed.
	if skip != nil && !check.Status.Refuses() {
		check.Status, check.Reasons = attestor.StatusSkipped, slices.Insert(check.Reasons, 0, *skip)
	}

	if check.Status == attestor.StatusDeny {
		if r, ok := s.shortestWay(kept); ok {
			check.Reasons = append(check.Reasons, r)
		}
	}
}

// findingsOf judges the findings of one platform.
type findingsOf struct {
	want     *Vulnerabilities
	unknown  Treatment // of severities that this version does not know
	ev       *attestor.PlatformEvidence
	now      time.Time
	base     attestor.Inherited // empty unless the base is proven as the policy asks
	unjudged map[string]int     // findings by package type that the policy leaves out; nil: none
	noKEV    int
	noEPSS   int
	judged   int

	blocked map[string]bool // the ids that the policy blocks, in capitals

	unreadVEX, consultedVEX bool // documents could not be read; a finding was held against statements
}

func (j *judgement) findingsOf(e *attestor.PlatformEvidence) *findingsOf {
	s := &findingsOf{
		want: &j.spec.Vulnerabilities, unknown: j.spec.UnknownFindings, ev: e, now: j.ev.Time,
		blocked: make(map[string]bool, len(j.spec.Vulnerabilities.BlockedCVEs)),
	}

	// Databases write one advisory in capitals or not, GHSA-…: it is blocked by either.
	for _, id := range s.want.BlockedCVEs {
		s.blocked[strings.ToUpper(id)] = true
	}

	// Only an approved base, proven as well as the policy asks, may have limits
	// of its own: anybody could claim another.
	if len(e.Scan.Findings) > 0 && j.approved(e.Base) != nil &&
		e.Base.Evidence.Satisfies(j.spec.Base.Evidence) {
		s.base = e.Inherited()
	}

	return s
}

// inherited reports whether a finding lies in the proven base's layers only.
func (s *findingsOf) inherited(v *attestor.Vulnerability) bool { return s.base.Holds(v) }

// sorted is worst first, malware before all vulnerabilities, and the same for any order of the evidence.
func (s *findingsOf) sorted() []*attestor.Vulnerability {
	out := make([]*attestor.Vulnerability, len(s.ev.Scan.Findings))
	for i := range s.ev.Scan.Findings {
		out[i] = &s.ev.Scan.Findings[i]
	}

	severities := attestor.Severities()
	level := func(v *attestor.Vulnerability) int { return slices.Index(severities, v.Severity) }

	// Malware often has no severity: by severity alone it would come last, and be cut.
	malware := func(v *attestor.Vulnerability) int {
		if v.IsMalicious() {
			return 0
		}
		return 1
	}

	slices.SortFunc(out, func(a, b *attestor.Vulnerability) int {
		return cmp.Or(
			cmp.Compare(malware(a), malware(b)), cmp.Compare(level(a), level(b)),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.FixedVersion, b.FixedVersion), cmp.Compare(a.Path, b.Path),
		)
	})
	return out
}

// faults collects everything that is wrong with one finding.
func (s *findingsOf) faults(v *attestor.Vulnerability) []finding {
	// A finding is left out by its package's type only if the type is known, and never if it is blocked by name.
	blocked := s.blocked[strings.ToUpper(v.ID)]
	if v.IsMalicious() && !blocked {
		return []finding{s.malicious(v)}
	}
	if !blocked && v.PackageType != "" && !s.want.Scan.PackageTypes.Has(v.PackageType) {
		if s.unjudged == nil {
			s.unjudged = map[string]int{}
		}
		s.unjudged[v.PackageType]++
		return nil
	}

	s.judged++
	var found []finding
	add := func(code attestor.Code, rest string) *finding {
		excuse, doubt := s.vex(v)
		f := deny(code, v.ID, s.describe(v)+rest+doubt, s.fix(v))
		f.pkg, f.excuse, f.where = v.Package, excuse, v.Version+" "+v.Path

		// A document that could not be read may excuse the finding, or speak against what excuses it.
		if s.unreadVEX && !blocked {
			f.status = attestor.StatusError
		}
		found = append(found, f)
		return &found[len(found)-1]
	}
	if blocked {
		f := add(attestor.CodeCVEBlocked, "; the policy blocks it by name")

		// Neither an exception nor a VEX statement excuses what is blocked by name. Naming malware here must not make
		// it a finding that a date can waive, which it is not without its name.
		f.final, f.excuse, f.floor = true, nil, v.IsMalicious()
	}

	// Every fault is listed, not the first: an exception for one must not hide another.
	s.severity(v, add)

	// "Not reported" is not "not exploited": it is counted, and said in a remark.
	switch {
	case v.KnownExploited == nil:
		s.noKEV++
	case *v.KnownExploited && s.want.KnownExploited != RespondAllow:
		f := add(attestor.CodeKnownExploited, " is known to be exploited")
		if s.want.KnownExploited == RespondWarn {
			f.status = attestor.StatusWarn
		}
	}

	if highest := s.want.MaximumEPSS; highest != nil {
		if v.EPSS == nil {
			s.noEPSS++
		} else if !(*v.EPSS <= *highest) { // NaN is above
			rest := fmt.Sprintf(": probability of exploitation %.3f, limit is %.3f", *v.EPSS, *highest)
			add(attestor.CodeEPSSExceeded, rest)
		}
	}
	return found
}

// malicious refuses a package that is malware. It has no vulnerability that could be too slight, fixed soon or not
// exploitable: limits, grace periods, package types, allowed ids and VEX statements are not about it.
func (s *findingsOf) malicious(v *attestor.Vulnerability) finding {
	s.judged++
	name := strings.TrimSpace(cmp.Or(v.Package, "an unnamed package") + " " + v.Version)
	f := deny(attestor.CodeMaliciousPackage, v.ID, name+" is a malicious package"+s.origin(v),
		"remove "+cmp.Or(v.Package, "the package")+", rotate every secret that it could read where it was installed, "+
			"built or run, and rebuild the image")
	f.pkg, f.named, f.floor, f.where = v.Package, true, true, v.Version+" "+v.Path
	return f
}

// severity compares with the limits, the base's own where they are set.
func (s *findingsOf) severity(v *attestor.Vulnerability, add func(code attestor.Code, rest string) *finding) {
	fixable, unfixable, whose := s.want.MaximumFixableSeverity, s.want.MaximumUnfixableSeverity, ""

	// A finding that lies in a layer of the image's own too is not the base's.
	if b := s.want.BaseFindings; b != nil && s.inherited(v) {
		fixable, unfixable, whose = b.MaximumFixableSeverity, b.MaximumUnfixableSeverity, " in the base"
	}
	limit, kind, code := unfixable, "unfixable", attestor.CodeUnfixableSeverityExceeded
	if v.Fixable {
		limit, kind, code = fixable, "fixable", attestor.CodeFixableSeverityExceeded
	}

	// A severity of a later version may be worse than all that the limits know: no limit is about it, ALLOW_ALL
	// included.
	if v.Severity.Foreign() && limit != attestor.BlockAll {
		if s.unknown != TreatIgnore {
			f := add(attestor.CodeUnknownFinding, "; this version does not know the severity")
			*f, _ = f.treat(s.unknown)
		}
		return
	}

	// An unknown severity is within no limit but ALLOW_ALL; the policy may allow it by itself.
	if !v.Severity.Known() && limit != attestor.BlockAll {
		if s.want.UnspecifiedSeverity != BinaryAllow {
			add(attestor.CodeUnspecifiedSeverity, "; findings without a severity are not allowed")
		}
		return
	}

	if limit.Allows(v.Severity) {
		return
	}

	// Grace turns the denial into a warning, and only this one: other faults of the finding stay.
	f := add(code, fmt.Sprintf(", limit for %s%s is %s", kind, whose, limit))
	if until, ok := s.grace(v); ok {
		f.status, f.reason.Code = attestor.StatusWarn, attestor.CodeInGracePeriod
		f.reason.Message += "; accepted until " + until.UTC().Format(dateForm)
	}
}

// grace counts from the advisory's publication: without one there is none.
func (s *findingsOf) grace(v *attestor.Vulnerability) (until time.Time, ok bool) {
	// A date that has not come is none: it would make the grace endless.
	period := time.Duration(s.want.GracePeriod[v.Severity])
	if period <= 0 || v.Published == nil || v.Published.After(s.now) {
		return time.Time{}, false
	}
	until = v.Published.Add(period)
	return until, s.now.Before(until)
}

// describe is one finding in one package: severity, package, version, and
// where it comes from.
func (s *findingsOf) describe(v *attestor.Vulnerability) string {
	severity := attestor.Severity(clip(string(v.Severity)))
	if !severity.Known() && !severity.Foreign() {
		severity = attestor.Unspecified
	}
	text := fmt.Sprintf("%s in %s %s", severity, cmp.Or(v.Package, "an unnamed package"), v.Version) + s.origin(v)
	return strings.ReplaceAll(text, "  ", " ")
}

// origin says whose layers a finding lies in; "" where that is not known.
func (s *findingsOf) origin(v *attestor.Vulnerability) string {
	switch {
	case s.inherited(v):
		return " (from the base " + s.ev.Base.Name + ")"
	case s.own(v):
		return " (in your own layers)"
	}
	return ""
}

// notes say what the policy asks about and the scan does not answer.
func (s *findingsOf) notes() []finding {
	var found []finding
	note := func(code attestor.Code, subject, message, fix string) {
		found = append(found, finding{
			status: attestor.StatusWarn,
			note:   true,
			reason: attestor.Reason{Code: code, Subject: subject, Message: message, Fix: fix},
		})
	}
	if s.noKEV > 0 && s.want.KnownExploited != RespondAllow {
		note(
			attestor.CodeNotReported, "knownExploited",
			fmt.Sprintf("the scanner does not report whether they are exploited: %d of %s", s.noKEV,
				describe.Plural(s.judged, "finding")),
			"rely on the severity limits for these",
		)
	}

	if s.noEPSS > 0 {
		note(
			attestor.CodeNotReported, "EPSS",
			fmt.Sprintf("the scanner does not report the probability of exploitation: %d of %s", s.noEPSS,
				describe.Plural(s.judged, "finding")),
			"rely on the severity limits for these",
		)
	}

	types := make([]string, 0, len(s.unjudged))
	for t := range s.unjudged {
		types = append(types, t)
	}
	slices.Sort(types)
	for _, t := range types {
		note(
			attestor.CodeFindingsNotJudged, t,
			fmt.Sprintf("not judged: %s in packages of type %s", describe.Plural(s.unjudged[t], "finding"), t),
			"add "+t+" to spec.vulnerabilities.scan.packageTypes to have them judged",
		)
	}
	return append(found, s.unread()...)
}

// unread names the occurrences about the image that nobody here judges. They warn: whoever may write occurrences could
// otherwise stop every deployment by a kind of their own.
func (s *findingsOf) unread() []finding {
	var found []finding
	for _, k := range s.ev.Scan.Unread {
		found = append(found, finding{status: attestor.StatusWarn, note: true, reason: attestor.Reason{
			Code: attestor.CodeKindNotJudged, Subject: k.Kind,
			Message: fmt.Sprintf("%s of kind %s about the image, which this version does not judge",
				describe.Plural(k.Count, "occurrence"), clip(k.Kind)),
			Fix: "look at them: gcloud artifacts docker images describe IMAGE --show-all-metadata",
		}})
	}

	if s.ev.Scan.KindsUnlisted {
		found = append(found, finding{status: attestor.StatusPass, note: true, reason: attestor.Reason{
			Code: attestor.CodeKindNotJudged,
			Message: "the service lists known kinds of occurrences only; whether there are findings of other kinds " +
				"is not known",
			Fix: "look at all that is known of the image: gcloud artifacts docker images describe IMAGE " +
				"--show-all-metadata",
		}})
	}
	return found
}
