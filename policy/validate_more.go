package policy

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

const vulnText = "an id such as CVE-2025-9 or GHSA-xxxx-xxxx-xxxx"

func (v *validator) vulnerabilities(s *Vulnerabilities) {
	const path = "spec.vulnerabilities"
	v.matchAll(path+".blockedCves", s.BlockedCVEs, vulnForm, vulnText)
	if s.MaximumEPSS != nil && !(*s.MaximumEPSS >= 0 && *s.MaximumEPSS <= 1) || s.MaximumEPSS != nil && math.IsNaN(*s.MaximumEPSS) {
		v.at(path+".maximumEPSS", "%v is not a probability: want 0 to 1", *s.MaximumEPSS)
	}
	v.notEmpty(path+".gracePeriod", len(s.GracePeriod))
	if b := s.BaseFindings; b != nil && !v.doc.Spec.Base.Required {
		v.at(path+".baseFindings", "contradicts base.required: false: what is the base's is known only where a base is proven")
	}
	if s.VEX != nil {
		v.notEmpty(path+".vex.accept", len(s.VEX.Accept))
		v.notEmpty(path+".vex.projects", len(s.VEX.Projects))
		v.matchAll(path+".vex.projects", s.VEX.Projects, projectForm, "a Google Cloud project id")
	}
	v.allowed(path+".allowedCves", s)
	v.scan(path+".scan", &s.Scan)
}

func (v *validator) allowed(path string, s *Vulnerabilities) {
	for i, a := range s.AllowedCVEs {
		at := index(path, i)
		v.match(at+".id", a.ID, vulnForm, vulnText)
		if slices.Contains(s.BlockedCVEs, a.ID) {
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
	if s.PackageTypes != nil {
		v.notEmpty(path+".packageTypes", len(s.PackageTypes))
		for i, t := range s.PackageTypes {
			if t == "" || strings.ToUpper(t) != t {
				v.at(index(path+".packageTypes", i), "%q is malformed: want the scanner's words, such as OS, GO, MAVEN, NPM, PYPI", clip(t))
			}
		}
	}
}

func (v *validator) provenance(p *Provenance) {
	const path = "spec.provenance"
	if p == nil {
		return
	}
	if p.SLSALevel < 0 || p.SLSALevel > 4 {
		v.at(path+".slsaLevel", "%d is not a SLSA level: want 0 to 4", p.SLSALevel)
	}
	v.notEmpty(path+".builders", len(p.Builders))
	v.notEmpty(path+".sources", len(p.Sources))
	for i, b := range p.Builders {
		v.text(index(path+".builders", i), b)
	}
	for i, s := range p.Sources {
		if _, err := parseSource(s); err != nil {
			v.at(index(path+".sources", i), "%q is not a source pattern: %s", clip(s), message(err))
		}
	}
	if p.SLSALevel == 0 && len(p.Builders) == 0 && len(p.Sources) == 0 {
		v.at(path, "demands nothing: give slsaLevel, builders or sources, or leave it out")
	}
	v.signedBy(path+".signedBy", p.SignedBy)
}

// excusable lists the checks that exceptions and modes can be about: what is
// malformed or cannot be signed is not for a policy to overlook.
func excusable(s *Spec) []string {
	names := []string{attestor.CheckScope, attestor.CheckBase, attestor.CheckUser, attestor.CheckVulnerabilities, attestor.CheckProvenance}
	for _, r := range s.Rules {
		names = append(names, attestor.RulePrefix+r.Name)
	}
	return names
}

func (v *validator) checkName(at string, name, path string) {
	if names := excusable(&v.doc.Spec); !slices.Contains(names, name) {
		p := v.places[at]
		v.errs = append(v.errs, Diagnostic{File: v.file, Line: p.line, Column: p.column, Path: path,
			Message: quoted(name) + " is not a check that can be excused", Allowed: names, Nearest: nearest(name, names)})
	}
}

func quoted(s string) string { return `"` + clip(s) + `"` }

func (v *validator) exceptionList(s *Spec) {
	ids := map[string]bool{}
	for i, e := range s.Exceptions {
		path := index("spec.exceptions", i)
		if v.has(path + ".check") {
			v.checkName(path+".check", e.Check, path+".check")
		}
		v.text(path+".subject", e.Subject)
		if e.Check == attestor.CheckVulnerabilities && (slices.Contains(s.Vulnerabilities.BlockedCVEs, e.Subject) || e.Subject == string(attestor.CodeCVEBlocked)) {
			v.at(path+".subject", "%s contradicts blockedCves, which no exception excuses", clip(e.Subject))
		}
		v.notEmpty(path+".images", len(e.Images))
		v.platforms(path+".platforms", e.Platforms)
		v.text(path+".id", e.ID)
		v.text(path+".owner", e.Owner)
		v.text(path+".reason", e.Reason)
		if e.ID != "" && ids[e.ID] {
			v.at(path+".id", "%q stands twice", clip(e.ID))
		}
		ids[e.ID] = true
	}
}

func (v *validator) checks(s *Spec) {
	v.notEmpty("spec.checks", len(s.Checks))
	for name := range s.Checks {
		v.checkName(cmp.Or("spec.checks."+name, "spec.checks"), name, "spec.checks")
	}
}

func (v *validator) attest(s *Spec) {
	const form = "projects/PROJECT/attestors/NAME"
	v.notEmpty("spec.attestors", len(s.Attestors))
	v.matchAll("spec.attestors", s.Attestors, attestorForm, form)
	if v.has("spec.attest.dsseNote") {
		v.match("spec.attest.dsseNote", s.Attest.DSSENote, noteForm, "projects/PROJECT/notes/NOTE")
		if !s.Attest.DSSE {
			v.at("spec.attest.dsseNote", "contradicts attest.dsse: false")
		}
	}
}

func (v *validator) breakGlass(b *BreakGlass) {
	const path = "spec.breakGlass"
	if b == nil {
		return
	}
	v.notEmpty(path+".attestors", len(b.Attestors))
	v.matchAll(path+".attestors", b.Attestors, attestorForm, "projects/PROJECT/attestors/NAME")
	v.regexp(path+".ticket", b.Ticket)
	if b.Allowed {
		return
	}
	for field, given := range map[string]bool{"ticket": b.Ticket != "", "attestors": len(b.Attestors) > 0, "expires": b.Expires > 0} {
		if given {
			v.at(path+"."+field, "contradicts allowed: false")
		}
	}
}
