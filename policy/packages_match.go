package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// contents judges what the documents and the scan say is in the image. counting are the documents that count for it.
func (j *judgement) contents(e *attestor.PlatformEvidence, counting []*attestor.SBOM) []finding {
	c := &contents{want: j.spec.Packages, seen: map[string]bool{}, licenses: map[string]license{},
		named: map[string][]int{}}
	for i := range c.want.Deny {
		key := bareName(c.want.Deny[i].Name)
		c.named[key] = append(c.named[key], i)
	}

	// A denied package refuses the image whoever says that it is there: nobody says so in the image's favour.
	// Everything else is judged by the documents of the signer.
	for i := range e.SBOMs {
		s := &e.SBOMs[i]
		counts := slices.Contains(counting, s)
		by := fmt.Sprintf("the SBOM at %s", s.Place)
		if !counts {
			by += ", which nobody answers for,"
		}
		for k := range s.Packages {
			c.match(&s.Packages[k], by, counts)
		}

		// What a document is about is the image, or the program in it: a denied package refuses all the same. Whether
		// one's own program is allowed, and its license, nobody asks.
		for k := range s.About {
			c.denied(&s.About[k], nil, by)
		}
	}

	// The scan counts too: a document may leave out a package that the scanner saw.
	for i := range e.Scan.Findings {
		v := &e.Scan.Findings[i]
		p := attestor.Package{Name: strings.ReplaceAll(v.Package, ":", "/"), Version: v.Version}
		c.scanned(&p, v.PackageType)
	}
	return c.found
}

// contents is the state of judging one platform's packages.
type contents struct {
	want     *Packages
	named    map[string][]int   // denied packages by their bare name
	licenses map[string]license // by expression: an image has thousands of packages and some dozens of licenses
	seen     map[string]bool    // what was found already
	found    []finding
}

// match holds the lists against one package of a document.
func (c *contents) match(p *attestor.Package, by string, counts bool) {
	c.denied(p, nil, by)

	// What nobody answers for can speak against an image, never for it.
	if !counts {
		return
	}
	if len(c.want.Allow) > 0 &&
		!slices.ContainsFunc(c.want.Allow, func(a AllowedPackage) bool { return a.matches(p, nil) }) {
		c.notAllowed(p, by)
	}
	if c.want.Licenses != nil {
		c.license(p, by)
	}
}

// scanned judges a package in which the scanner found a vulnerability. Its license is not known.
func (c *contents) scanned(p *attestor.Package, scanType string) {
	types := purlTypes(scanType)
	c.denied(p, types, "the scan")
	if len(c.want.Allow) > 0 &&
		!slices.ContainsFunc(c.want.Allow, func(a AllowedPackage) bool { return a.matches(p, types) }) {
		c.notAllowed(p, "the scan")
	}
}

func (c *contents) add(f finding, p *attestor.Package) {
	key := string(f.reason.Code) + "\x00" + p.String() + "\x00" + f.reason.Message
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	f.pkg = p.Name
	if distribution(p.Type) || p.Type == "" {
		f.pkg = p.Bare()
	}
	c.found = append(c.found, f)
}

func (c *contents) denied(p *attestor.Package, types []string, by string) {
	for _, i := range c.named[bareName(p.Name)] {
		d := &c.want.Deny[i]
		how, ok := d.matches(p, types)
		if !ok {
			continue
		}
		message := fmt.Sprintf("%s lists %s, which the policy denies%s", by, clip(p.String()), how)
		if d.Reason != "" {
			message += ": " + clip(d.Reason)
		}
		c.add(deny(attestor.CodePackageDenied, clip(p.String()), message, "remove the package, or use a version that "+
			"is not denied"), p)
		return
	}
}

func (c *contents) notAllowed(p *attestor.Package, by string) {
	how := ""
	if p.Type == "" && by != "the scan" {
		how = "; it has no package URL, so that its type is not known"
	}
	c.add(deny(
		attestor.CodePackageNotAllowed, clip(p.String()),
		fmt.Sprintf("%s lists %s, which is not among the packages that the policy allows%s", by, clip(p.String()), how),
		"remove the package, or add it to spec.packages.allow",
	), p)
}

// matches reports whether a package is denied. how says what was not known, in which case it counts as denied. types
// are the package URL types that a scanner's kind of package can have; nil for a package of a document.
func (d *DeniedPackage) matches(p *attestor.Package, types []string) (how string, ok bool) {
	switch {
	case sameName(d.Name, p.Name):
	case withoutNamespace(p, types) && bareName(d.Name) == folded(p.Name):
		how = " (its namespace is not stated, so that its name decides)"
	default:
		return "", false
	}

	switch {
	case d.Type == "" || strings.EqualFold(d.Type, p.Type) || slices.Contains(types, strings.ToLower(d.Type)):
	case p.Type == "" && len(types) == 0:
		how = " (its type is not stated, so that its name decides)"
	default:
		return "", false
	}

	switch {
	case anyVersion(d.Versions) ||
		slices.ContainsFunc(d.Versions, func(v string) bool { return sameVersion(v, p.Version) }):
		return how, true
	// A version that is not stated may be the denied one.
	case p.Version == "":
		return how + " (its version is not stated)", true
	}
	return "", false
}

// matches reports whether a package is allowed: nothing that is not stated counts.
func (a *AllowedPackage) matches(p *attestor.Package, types []string) bool {
	if p.Type != strings.ToLower(a.Type) && !slices.Contains(types, strings.ToLower(a.Type)) {
		return false
	}

	// Exactly, without folding: two names that a package manager keeps apart are two packages.
	if p.Name != a.Name && (!distribution(strings.ToLower(a.Type)) || strings.Contains(a.Name, "/") ||
		p.Bare() != a.Name) {
		return false
	}
	return anyVersion(a.Versions) || p.Version != "" && slices.Contains(a.Versions, p.Version)
}

func anyVersion(versions []string) bool { return len(versions) == 0 || slices.Contains(versions, "*") }

// sameVersion compares versions as they are written. Some tools leave out the epoch.
func sameVersion(a, b string) bool { return a == b || withoutEpoch(a) == withoutEpoch(b) }

func withoutEpoch(v string) string {
	epoch, rest, ok := strings.Cut(v, ":")
	if ok && epoch != "" && strings.Trim(epoch, "0123456789") == "" {
		return rest
	}
	return v
}

// sameName reports whether a name is that of a denied package, with or without its namespace. Where the letters' case
// or separators make no difference to a package manager, they make none here.
func sameName(denied, name string) bool {
	denied, name = folded(denied), folded(name)
	return denied == name || !strings.Contains(denied, "/") && denied == bareName(name)
}

// withoutNamespace reports whether a package's name has no namespace because whoever reports it states none: a document
// without package URLs, and a scanner of a distribution's packages, to which debian/openssl is openssl. Elsewhere a
// name without one is whole: left-pad of npm is not @evil/left-pad.
func withoutNamespace(p *attestor.Package, types []string) bool {
	if strings.Contains(folded(p.Name), "/") {
		return false
	}
	return distribution(p.Type) || p.Type == "" && (len(types) == 0 || slices.ContainsFunc(types, distribution))
}

// bareName is a name without its namespace.
func bareName(name string) string {
	name = folded(name)
	return name[strings.LastIndexByte(name, '/')+1:]
}

// folded makes names equal that some package manager takes for the same. It is for denials only.
func folded(name string) string {
	return strings.NewReplacer("_", "-", ".", "-", ":", "/").Replace(strings.ToLower(name))
}

// distribution reports whether a type is that of a distribution's packages, whose namespace is the distribution.
func distribution(kind string) bool {
	return kind == "deb" || kind == "rpm" || kind == "apk" || kind == "alpm"
}

// purlTypes are the types of package URLs that a scanner's kind of package can have. A kind that is not known has its
// own name.
func purlTypes(kind string) []string {
	switch kind {
	case "OS":
		return []string{"deb", "rpm", "apk", "alpm", "ebuild"}
	case "GO", "GO_STDLIB":
		return []string{"golang"}
	case "RUBYGEMS":
		return []string{"gem"}
	case "RUST":
		return []string{"cargo"}
	case "":
		return nil
	}
	return []string{strings.ToLower(kind)}
}
