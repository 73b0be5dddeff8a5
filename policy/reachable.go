package policy

import (
	"slices"

	"github.com/attestor-gate/attestor"
)

// reachable lists the codes that judging by these policies can give, beyond
// what the evidence brings along as problems.
func (s *Set) reachable() []attestor.Code {
	out := []attestor.Code{}
	for _, p := range s.policies {
		out = append(out, p.doc.Spec.reachable()...)
	}
	return sortedCodes(out)
}

func (s *Spec) reachable() []attestor.Code {
	var out []attestor.Code
	add := func(when bool, codes ...attestor.Code) {
		if when {
			out = append(out, codes...)
		}
	}
	v, scan := &s.Vulnerabilities, &s.Vulnerabilities.Scan
	add(s.Platforms != nil, attestor.CodePlatformNotAllowed)
	add(s.Scope != nil && len(s.Scope.TrustedDirectories) > 0 && !s.trusted(), attestor.CodeOutOfScope)
	add(s.Scope != nil && s.Scope.MaxUploadAge > 0, attestor.CodeUploadTooOld, attestor.CodeUploadTimeUnknown)

	add(s.Base.Required, attestor.CodeBaseNotApproved, attestor.CodeBaseOutdated)
	add(s.Base.Required && s.Base.Evidence != attestor.Attested, attestor.CodeBaseEvidenceTooWeak)
	add(s.Base.Required && slices.ContainsFunc(s.Base.Approved, func(a Approved) bool { return a.SignedBy != nil }), attestor.CodeBaseUnsigned)

	add(s.User.NonRoot, attestor.CodeUserRoot, attestor.CodeUserNotSet)
	add(s.User.NonRoot && s.User.Names == NamesRefuse, attestor.CodeUserNotNumeric)
	add(s.User.NonRoot && s.User.MinimumUID > 1, attestor.CodeUserTooLow)
	add(s.User.NonRoot && s.User.RootGroup != RespondAllow, attestor.CodeGroupRoot, attestor.CodeGroupUnresolved)

	add(scan.required(), attestor.CodeScanNotFound, attestor.CodeScanPending, attestor.CodeScanRunning, attestor.CodeScanFailed)
	add(scan.required() && scan.OnUnsupported != RespondAllow, attestor.CodeScanUnsupported)
	add(scan.required() && len(s.Platforms) != 1, attestor.CodeScanNotOfChild)
	add(true, attestor.CodeScanArchived, attestor.CodeScanUnavailable)
	add(scan.Continuous != ContinuousOptional, attestor.CodeScanInactive)
	add(scan.MaxAge > 0, attestor.CodeScanTooOld)
	add(scan.PackageTypes != nil, attestor.CodeScanPackageTypeMissing, attestor.CodeFindingsNotJudged)
	add(v.MaximumFixableSeverity != attestor.AllowAll, attestor.CodeFixableSeverityExceeded)
	add(v.MaximumUnfixableSeverity != attestor.AllowAll, attestor.CodeUnfixableSeverityExceeded)
	add(v.UnspecifiedSeverity == BinaryDeny, attestor.CodeUnspecifiedSeverity)
	add(len(v.BlockedCVEs) > 0, attestor.CodeCVEBlocked)
	add(v.KnownExploited != RespondAllow, attestor.CodeKnownExploited)
	add(v.MaximumEPSS != nil, attestor.CodeEPSSExceeded)
	add(len(v.GracePeriod) > 0, attestor.CodeInGracePeriod)

	if p := s.Provenance; p != nil {
		add(true, attestor.CodeProvenanceMissing)
		add(len(p.Builders) > 0, attestor.CodeProvenanceBuilder)
		add(len(p.Sources) > 0, attestor.CodeProvenanceSource)
		add(p.SLSALevel > 0, attestor.CodeProvenanceLevel)
	}
	add(len(s.Rules) > 0, attestor.CodeRuleViolated)
	add(len(s.Exceptions)+len(v.AllowedCVEs) > 0, attestor.CodeExceptionExpired)
	return out
}

// trusted reports whether the scope can refuse nothing that the policy
// governs, since every pattern of images stands among its directories.
func (s *Spec) trusted() bool {
	return !slices.ContainsFunc(s.Images, func(p attestor.Pattern) bool {
		return !slices.ContainsFunc(s.Scope.TrustedDirectories, func(d attestor.Pattern) bool { return d.String() == p.String() })
	})
}
