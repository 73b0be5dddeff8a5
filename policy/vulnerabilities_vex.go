package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

func isUnreadVEX(f finding) bool { return f.reason.Code == attestor.CodeVEXUnavailable }

// vexSources are the signers whose documents count.
func (s *findingsOf) vexSources() []VEXSource {
	if s.want.VEX == nil {
		return nil
	}
	return s.want.VEX.Sources
}

// needs lists the sources for whoever reads them.
func (v *VEX) needs() *attestor.VEXNeeds {
	n := &attestor.VEXNeeds{}
	for i := range v.Sources {
		n.Sources = append(n.Sources, v.Sources[i].source())
	}
	return n
}

func (s *VEXSource) source() attestor.VEXSource {
	out := attestor.VEXSource{File: s.File}
	if rule := s.SignedBy.rule(); rule != nil {
		out.SignedBy = *rule
	}
	return out
}

// An opinion is what one project or source says of a finding.
type opinion struct {
	by, status, why string
	excuses         bool
}

// vex is the statement that excuses a finding; nil if nobody's does. doubt says of a finding that is not excused who
// would excuse it, and who does not.
func (s *findingsOf) vex(v *attestor.Vulnerability) (excuse *attestor.AppliedException, doubt string) {
	want := s.want.VEX
	if want == nil {
		return nil, ""
	}
	s.consultedVEX = true
	opinions := append(s.ofProjects(v), s.ofSources(v)...)

	// The policy's order decides between those who disagree. Without one, whoever does not excuse outweighs all who do.
	if len(want.Order) > 0 {
		slices.SortStableFunc(opinions, func(a, b opinion) int {
			return slices.Index(want.Order, a.by) - slices.Index(want.Order, b.by)
		})
		opinions = opinions[:min(len(opinions), 1)]
	}

	against := slices.IndexFunc(opinions, func(o opinion) bool { return !o.excuses })
	in := slices.IndexFunc(opinions, func(o opinion) bool { return o.excuses })
	switch {
	case in < 0:
		return nil, ""
	case against >= 0:
		return nil, fmt.Sprintf(
			"; VEX: %s says %s, which outweighs %s by %s", opinions[against].by, opinions[against].status,
			opinions[in].status, opinions[in].by,
		)
	case s.unreadVEX:
		return nil, "" // somebody else may say otherwise
	}
	o := opinions[in]
	return &attestor.AppliedException{
		ID: v.ID, Owner: o.by, Subject: v.ID,
		Reason: strings.TrimSuffix(fmt.Sprintf("VEX %s: %s", o.status, o.why), ": "),
	}, ""
}

// ofProjects are the opinions of projects whose notes the scanner filled in, one each.
func (s *findingsOf) ofProjects(v *attestor.Vulnerability) []opinion {
	var out []opinion
	for _, x := range v.VEX {
		if !slices.Contains(s.want.VEX.Projects, x.Project) {
			continue
		}
		o := opinion{x.Project, x.Status, x.Justification, slices.Contains(s.want.VEX.Accept, VEXStatus(x.Status))}
		i := slices.IndexFunc(out, func(p opinion) bool { return p.by == o.by })
		switch {
		case i < 0:
			out = append(out, o)
		case !o.excuses:
			out[i] = o // of two notes the stricter one
		}
	}
	return out
}

// ofSources are the opinions of signers of documents, one each: the newest that is about the finding.
func (s *findingsOf) ofSources(v *attestor.Vulnerability) []opinion {
	var out []opinion
	for i := range s.vexSources() {
		source := &s.want.VEX.Sources[i]
		if o, ok := s.ofSource(v, source.Name, source.source().Text()); ok {
			out = append(out, o)
		}
	}
	return out
}

func (s *findingsOf) ofSource(v *attestor.Vulnerability, name, text string) (newest opinion, ok bool) {
	var at time.Time
	for i := range s.ev.VEX {
		st := &s.ev.VEX[i]
		if st.Source != text || !slices.Contains(st.IDs, v.ID) {
			continue
		}
		o := opinion{by: name, status: st.Status, excuses: slices.Contains(s.want.VEX.Accept, VEXStatus(st.Status))}
		made := st.Time
		switch {
		// What excuses must be about exactly this package of exactly this image, and have been said by now.
		case o.excuses && (!st.Exact || !isAbout(st, v, true) || made.IsZero() || made.After(s.now)):
			continue
		case !o.excuses && !isAbout(st, v, false):
			continue

		// What speaks against the image counts from the beginning to the end where it does not say since when.
		case !o.excuses && made.IsZero():
			made = s.now
		}

		// OpenVEX specification: of statements by one author "the latest" is in effect. Of two at the same time the
		// stricter one.
		if !ok || made.After(at) || made.Equal(at) && !o.excuses {
			o.why = strings.TrimSpace(fmt.Sprintf("%s (signed by %s)", st.Justification, st.Signer))
			newest, at, ok = o, made, true
		}
	}
	return newest, ok
}

// isAbout reports whether a statement is about the package of a finding: exactly, or as far as can be told.
func isAbout(st *attestor.VEXStatement, v *attestor.Vulnerability, exactly bool) bool {
	return len(st.Packages) == 0 || slices.ContainsFunc(st.Packages, func(p attestor.VEXPackage) bool {
		if p.Type == "" || p.Name == "" {
			return !exactly // named in a form that cannot be compared
		}
		sameType := slices.Contains(scannedTypes(p.Type), v.PackageType)
		if exactly {
			// Without a version it is about all of them, also those that come later.
			return sameType && p.Name == v.Package && p.Version != "" && p.Version == v.Version
		}
		return (sameType || v.PackageType == "" || len(scannedTypes(p.Type)) == 0) &&
			lastName(p.Name) == lastName(v.Package) &&
			(p.Version == "" || v.Version == "" || p.Version == v.Version)
	})
}

// lastName is a package's name without namespace or group.
func lastName(s string) string { return s[strings.LastIndexAny(s, "/:")+1:] }

// scannedTypes are the scanner's words for a type of package URLs; none for a type that is not known.
func scannedTypes(purl string) []string {
	switch purl {
	case "deb", "rpm", "apk", "alpm":
		return []string{"OS"}
	case "golang":
		return []string{"GO", "GO_STDLIB"}
	case "npm", "maven", "pypi", "composer", "nuget", "swift":
		return []string{strings.ToUpper(purl)}
	case "gem":
		return []string{"RUBYGEMS"}
	case "cargo":
		return []string{"RUST", "CARGO"}
	}
	return nil
}

func (v *validator) vex(path string, s *VEX) {
	v.notEmpty(path+".accept", len(s.Accept))
	v.notEmpty(path+".projects", len(s.Projects))
	v.matchAll(path+".projects", s.Projects, projectForm, "a Google Cloud project id")
	v.notEmpty(path+".sources", len(s.Sources))
	if !v.has(path+".projects") && !v.has(path+".sources") {
		v.at(path, "names nobody: give projects or sources whose statements count")
	}

	known := slices.Clone(s.Projects)
	for i := range s.Sources {
		at := index(path+".sources", i)
		v.match(at+".name", s.Sources[i].Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
		if slices.Contains(known, s.Sources[i].Name) {
			v.at(at+".name", "duplicate %q: each project and source needs a name of its own", clip(s.Sources[i].Name))
		}
		known = append(known, s.Sources[i].Name)
		v.signedBy(at+".signedBy", s.Sources[i].SignedBy)
		v.text(at+".file", s.Sources[i].File)
	}

	// One that the order leaves out would be first or last by accident.
	v.notEmpty(path+".order", len(s.Order))
	seen := newSeen(len(s.Order))
	for i, name := range s.Order {
		if !slices.Contains(known, name) {
			v.at(index(path+".order", i), "%q is not among projects and sources", clip(name))
		}
		if seen.again(name) {
			v.at(index(path+".order", i), "duplicate %q", clip(name))
		}
	}
	for _, name := range known {
		if len(s.Order) > 0 && !slices.Contains(s.Order, name) {
			v.at(path+".order", "lacks %q: name all projects and sources", clip(name))
		}
	}
}

func (l *linter) vex(path string, s *VEX) {
	if s == nil {
		return
	}
	for i := range s.Sources {
		l.signedBy(index(path+".sources", i)+".signedBy", s.Sources[i].SignedBy)
	}
}

// demand is what the policy accepts, for people.
func (v *VEX) demand() string {
	accept := make([]string, len(v.Accept))
	for i, a := range v.Accept {
		accept[i] = string(a)
	}

	by := slices.Clone(v.Projects)
	for _, s := range v.Sources {
		by = append(by, s.Name)
	}

	out := fmt.Sprintf("vulnerabilities: excused by VEX statements (%s) of %s", strings.Join(accept, ", "),
		strings.Join(by, ", "))
	if len(v.Order) > 0 {
		return out + ", in the order " + strings.Join(v.Order, ", ")
	}

	return out
}
