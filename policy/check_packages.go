package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

func packagesCheck() check {
	return check{
		name: attestor.CheckPackages,
		asks: func(s *Spec) asking {
			switch {
			case s.SBOM == nil:
				return notAsked
			case s.SBOM.Required:
				return required
			}
			return judged
		},
		needs: func(s *Spec, n *attestor.Needs) {
			if s.SBOM != nil {
				n.SBOM = &attestor.SBOMNeeds{SignedBy: s.SBOM.SignedBy.rule()}
			}
		},
		lacks: func(p *Policy, earlier, next attestor.Needs) lack {
			e, n := earlier.SBOM, next.SBOM
			switch {
			case n == nil:
				return lack{}

			// A document that was not read, or not as the signer's, may list what the policy denies.
			case e == nil || e.SignedBy.Text() != n.SignedBy.Text():
				return lack{why: otherSBOMs}

			// Denied packages are refused where a scan names them, too.
			case slices.ContainsFunc(p.stages, func(s *Spec) bool { return s.Packages != nil }):
				return scannersLack(earlier.Scan, next.Scan)
			}
			return lack{}
		},
		validate: (*validator).packages,
		lint:     (*linter).packages,
		demands:  packageDemands,
		codes: func(s *Spec) (out givenCodes) {
			asked := s.SBOM != nil
			out.can(asked && s.SBOM.Required, attestor.CodeSBOMMissing, attestor.CodeSBOMUnsigned)
			out.can(asked, attestor.CodeSBOMOtherDigest, attestor.CodeSBOMInvalid, attestor.CodeSBOMFormat,
				attestor.CodeSBOMTooLarge, attestor.CodeSBOMTooMany, attestor.CodeSBOMUnavailable)
			p := s.Packages
			out.only(p != nil && len(p.Deny) > 0, attestor.CodePackageDenied)
			out.only(p != nil && len(p.Allow) > 0, attestor.CodePackageNotAllowed)
			out.only(p != nil && p.Licenses != nil, attestor.CodeLicenseDenied)
			out.only(p != nil && p.Licenses != nil && p.Licenses.Unknown != TreatIgnore, attestor.CodeLicenseUnknown)
			return out
		},
		exemplary: func(s *Spec, ev *attestor.Evidence) {
			if s.SBOM != nil {
				ev.Platforms[0].SBOMs = []attestor.SBOM{s.SBOM.exemplary()}
			}
		},
		inPackages: true,
		ofPlatform: (*judgement).packages,
	}
}

// packages judges the bills of materials, and what they and the scan say is in the image.
func (j *judgement) packages(e *attestor.PlatformEvidence) {
	want := j.spec.SBOM
	if want == nil {
		j.skip(attestor.CheckPackages, e.Platform, "the policy does not ask for an SBOM")
		return
	}

	found := j.problems(attestor.CheckPackages, j.ev.Problems, e.Problems)
	counting := want.counting(e.SBOMs)

	// Where something could not be read it may be the SBOM that is asked for: an error, and not a denial.
	undecided := slices.ContainsFunc(found, func(f finding) bool { return f.status == attestor.StatusError })
	if want.Required && len(counting) == 0 && !undecided {
		found = append(found, j.noSBOM(e)...)
	}
	if j.spec.Packages != nil {
		found = append(found, j.contents(e, counting)...)
	}

	// Without an SBOM by the signer, nothing is known of the packages that nobody reports: the check does not count
	// as one that passed.
	if len(found) == 0 && len(counting) == 0 {
		j.nothing(attestor.CheckPackages, e.Platform, want.skipped(e))
		return
	}
	j.conclude(attestor.CheckPackages, e.Platform, found)
}

// counting are the documents that count for the image: those in an accepted format by the signer that the policy names.
func (s *SBOM) counting(all []attestor.SBOM) (out []*attestor.SBOM) {
	// An unsigned document is a claim of whoever may push. So is one that another rule's signer signed.
	rule := s.SignedBy.rule().Text()
	for i := range all {
		if rule != "" && all[i].SignedBy == rule && s.accepts(all[i].Format) {
			out = append(out, &all[i])
		}
	}
	return out
}

func (s *SBOM) accepts(format string) bool {
	return len(s.Formats) == 0 || slices.Contains(s.Formats, SBOMFormat(format))
}

// skipped says why nothing counts.
func (s *SBOM) skipped(e *attestor.PlatformEvidence) string {
	switch {
	case len(e.SBOMs) == 0:
		return "no SBOM is attached to the image, and the policy does not require one"
	case s.SignedBy == nil:
		return "the policy names nobody whose SBOMs speak for an image"
	}
	return "no SBOM is signed by " + s.SignedBy.who() + " in an accepted format, and the policy does not require one"
}

// noSBOM says what was found instead of an SBOM that counts.
func (j *judgement) noSBOM(e *attestor.PlatformEvidence) []finding {
	want, image := j.spec.SBOM, j.ev.Image.Sibling(e.Digest).String()
	const attach = "attach one by the signer: cosign attest --type spdxjson --predicate SBOM.json "
	var found []finding
	for i := range e.SBOMs {
		s := &e.SBOMs[i]
		if !want.accepts(s.Format) {
			found = append(found, deny(
				attestor.CodeSBOMFormat, s.Place, fmt.Sprintf("the SBOM at %s is in the format %s", s.Place, s.Format),
				"attach one in a format of spec.sbom.formats",
			))
			continue
		}
		found = append(found, deny(
			attestor.CodeSBOMUnsigned, s.Place,
			fmt.Sprintf("the SBOM at %s is not signed by %s: it is a claim of whoever may push", s.Place,
				want.SignedBy.who()),
			attach+image,
		))
	}

	for _, r := range e.NotRead {
		found = append(found, finding{status: attestor.StatusDeny, reason: r})
	}
	// Whoever excepts a document that could not be read has not excepted that there is none.
	if !slices.ContainsFunc(found, func(f finding) bool { return f.reason.Code == attestor.CodeSBOMUnsigned }) {
		found = append(found, deny(attestor.CodeSBOMMissing, image, "no SBOM that counts is attached to the image",
			attach+image))
	}
	return found
}

// who names the signer, for people.
func (s *SignedBy) who() string {
	switch {
	case s == nil:
		return "anybody"
	case s.Key != "":
		return "the key " + clip(s.Key)
	case s.Keyless.Subject != "":
		return clip(s.Keyless.Subject)
	}
	return clip(s.Keyless.SubjectRegexp)
}

// exemplary is a document of the signer without packages.
func (s *SBOM) exemplary() attestor.SBOM {
	out := attestor.SBOM{Format: attestor.FormatSPDX, Version: "2.3", Place: "referrer",
		SignedBy: s.SignedBy.rule().Text()}
	if !s.accepts(out.Format) {
		out.Format, out.Version = attestor.FormatCycloneDX, "1.6"
	}
	return out
}

func (v *validator) packages(s *Spec) {
	b, p := s.SBOM, s.Packages
	if b != nil {
		v.notEmpty("spec.sbom.formats", len(b.Formats))
		v.signedBy("spec.sbom.signedBy", b.SignedBy)
	}
	if b != nil && b.SignedBy == nil && (b.Required || p != nil && (len(p.Allow) > 0 || p.Licenses != nil)) {
		v.at("spec.sbom.signedBy", "is missing: an SBOM speaks for an image only if its signer is named")
	}
	if p == nil {
		return
	}

	const path = "spec.packages"
	if b == nil {
		v.at(path, "needs spec.sbom, which says whether an SBOM must be attached and who signs it")
	}
	if p.Deny == nil && p.Allow == nil && p.Licenses == nil && !v.has(path+".deny") && !v.has(path+".allow") {
		v.at(path, "demands nothing: give deny, allow or licenses, or leave it out")
	}
	v.notEmpty(path+".deny", len(p.Deny))
	v.notEmpty(path+".allow", len(p.Allow))
	for i, d := range p.Deny {
		v.packageName(index(path+".deny", i), d.Name, d.Type, d.Versions)
		if v.has(index(path+".deny", i) + ".reason") {
			v.text(index(path+".deny", i)+".reason", d.Reason)
		}
	}
	for i, a := range p.Allow {
		v.packageName(index(path+".allow", i), a.Name, a.Type, a.Versions)
	}
	if p.Licenses != nil {
		v.licenses(path+".licenses", p.Licenses)
	}
}

func (v *validator) packageName(path, name, kind string, versions []string) {
	v.text(path+".name", name)
	v.text(path+".type", kind)
	v.notEmpty(path+".versions", len(versions))
	switch {
	case strings.HasPrefix(name, "pkg:"):
		v.at(path+".name", "%q is a whole package URL: give its type, name and versions by themselves", clip(name))
	case strings.ContainsAny(name, "*?"):
		v.at(path+".name", "%q has a wildcard; names are exact", clip(name))
	case strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/"):
		v.at(path+".name", "%q begins or ends with a slash", clip(name))
	}
	if strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		v.at(path+".type", "%q is not the type of a package URL, such as deb, golang or npm", clip(kind))
	}

	for i, version := range versions {
		at := index(path+".versions", i)
		v.text(at, version)
		if version != "*" && strings.ContainsAny(version, "*<>|^ ") {
			v.at(at, "%q is a range; versions are exact, or * for any", clip(version))
		}
	}
}

func (l *linter) packages() {
	s := l.s.SBOM
	if s == nil {
		return
	}

	switch {
	case s.SignedBy == nil:
		l.d.at("spec.sbom", "names no signer: packages are judged only where an SBOM or the scan admits to one, and "+
			"the check never passes")
	case !s.Required && l.s.Packages != nil:
		l.d.at("spec.sbom.required", "is false: packages are not judged in an image without an SBOM")
	}

	if s.SignedBy != nil {
		l.signedBy("spec.sbom.signedBy", s.SignedBy)
	}
	if p := l.s.Packages; p != nil && p.Licenses != nil && p.Licenses.Unknown == TreatIgnore {
		l.d.at("spec.packages.licenses.unknown", "is ignore: a package that does not state its license passes")
	}
}

func packageDemands(s *Spec) (out []string) {
	b, p := s.SBOM, s.Packages
	if b == nil {
		return nil
	}
	formats := "SPDX or CycloneDX"
	if len(b.Formats) > 0 {
		words := make([]string, len(b.Formats))
		for i, f := range b.Formats {
			words[i] = string(f)
		}
		formats = strings.Join(words, " or ")
	}
	switch {
	case b.Required:
		out = append(out, fmt.Sprintf("sbom: one in %s, signed by %s", formats, b.SignedBy.who()))
	case b.SignedBy != nil:
		out = append(out, fmt.Sprintf("sbom: not required; judged if signed by %s, in %s", b.SignedBy.who(), formats))
	default:
		out = append(out, "sbom: not required, and believed only against an image")
	}

	if p == nil {
		return out
	}
	if len(p.Deny) > 0 {
		names := make([]string, len(p.Deny))
		for i := range p.Deny {
			names[i] = p.Deny[i].Name
		}
		out = append(out, "packages: none of "+clip(strings.Join(names, ", ")))
	}
	if len(p.Allow) > 0 {
		out = append(out, fmt.Sprintf("packages: only the %d that are listed", len(p.Allow)))
	}
	if p.Licenses != nil {
		out = append(out, fmt.Sprintf(
			"licenses: none of %s; unknown ones: %s", clip(strings.Join(p.Licenses.Deny, ", ")), p.Licenses.Unknown,
		))
	}
	return out
}
