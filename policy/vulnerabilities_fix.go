package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// fix says what clears a finding: another base, the package manager's command, or the package's removal.
func (s *findingsOf) fix(v *attestor.Vulnerability) string {
	update := "update " + cmp.Or(v.Package, "the package")
	if v.FixedVersion != "" {
		update += " to " + v.FixedVersion
	}

	switch {
	case s.inherited(v) && v.Fixable:
		return s.rebase(update + " in a layer of your own" + s.command(v))
	case s.inherited(v):
		return s.rebase("")
	case v.Fixable:
		return update + s.command(v)
	}

	return "remove " + cmp.Or(
		v.Package, "the package",
	) + ", or add it to spec.vulnerabilities.allowedCves with owner, reason and expiry"
}

// rebase clears what the base brings along. Where the image is on its current version already, otherwise is what does
// so meanwhile.
func (s *findingsOf) rebase(otherwise string) string {
	b := s.ev.Base
	repo, digest, _ := strings.Cut(b.Reference, "@")

	// An image that is on the newest base gains nothing by a rebuild.
	if b.Newest != "" && string(b.Newest) != digest && b.Newest != b.Digest {
		return "rebuild on the base's current version: FROM " + repo + "@" + string(b.Newest)
	}
	return "wait for the next version of the base " + b.Name + ", or " + cmp.Or(otherwise, "build on another")
}

// own reports whether a finding lies in a layer that is known not to be the base's.
func (s *findingsOf) own(v *attestor.Vulnerability) bool {
	return len(v.DiffIDs) > 0 && !s.base.Empty()
}

// What a name and a version may be made of in a command: what they are made of in their package manager, and nothing
// that a shell reads as more than a word, or a program as an option, an address or a removal. Whoever names a package,
// or may write occurrences, chooses both: npm and pip would fetch left-pad@https://evil.example/x, and apt-get would
// remove "bash-".
var (
	plainName   = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9+])?\z`)
	npmName     = regexp.MustCompile(`\A(@[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*\z`)
	pathName    = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9_][A-Za-z0-9._~-]*)*\z`)
	mavenName   = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]*:[A-Za-z0-9][A-Za-z0-9._-]*\z`)
	plainNumber = regexp.MustCompile(`\Av?[0-9][A-Za-z0-9._:+~^-]*\z`)
)

// wordForm is the form of names in a package manager.
func wordForm(kind string) *regexp.Regexp {
	switch kind {
	case "NPM":
		return npmName
	case "GO", "COMPOSER":
		return pathName
	case "MAVEN":
		return mavenName
	}
	return plainName
}

// command is how the package manager updates the package, as an addition to a sentence; "" where that is not known.
func (s *findingsOf) command(v *attestor.Vulnerability) string {
	// People copy commands: where name or version has another form, none is given.
	version := v.FixedVersion
	if !wordForm(v.PackageType).MatchString(v.Package) || version != "" && !plainNumber.MatchString(version) {
		return ""
	}

	text := ""
	switch v.PackageType {
	case "OS":
		text = systemCommand(s.system(), v.Package)
	case "":
		return ""
	default:
		text = languageCommand(v.PackageType, v.Package, version)
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// system is the id of the distribution, by the image's own word or the scan's.
func (s *findingsOf) system() string {
	switch {
	case s.ev.System != nil:
		return s.ev.System.ID
	case s.ev.Scan.System != nil:
		return s.ev.Scan.System.ID
	}
	return ""
}

// systemCommand updates a package of a distribution to the version that it has now, which is where its fixes are.
func systemCommand(id, name string) string {
	switch id {
	case "debian", "ubuntu":
		return "apt-get update && apt-get install -y --only-upgrade " + name
	case "alpine", "wolfi", "chainguard":
		return "apk add --no-cache --upgrade " + name
	case "rhel", "rocky", "almalinux", "ol", "fedora", "centos", "amzn":
		return "dnf upgrade -y " + name
	case "sles", "opensuse-leap", "opensuse-tumbleweed":
		return "zypper --non-interactive update " + name
	case "photon", "azurelinux", "mariner":
		return "tdnf update -y " + name
	}
	return ""
}

// goPrefix is the v of a module's version, which not every scanner writes.
func goPrefix(version string) string {
	if strings.HasPrefix(version, "v") {
		return ""
	}
	return "v"
}

// languageCommand updates a dependency to a version.
func languageCommand(kind, name, version string) string {
	at := func(command, separator string) string {
		if version == "" {
			return command + " " + name
		}
		return command + " " + name + separator + version
	}

	switch kind {
	case "GO":
		return at("go get", "@"+goPrefix(version)) + " && go mod tidy"
	case "GO_STDLIB":
		return "build with Go " + cmp.Or(version, "of a newer patch release")
	case "NPM":
		return at("npm install", "@")
	case "PYPI":
		return at("pip install --upgrade", "==")
	case "NUGET":
		return at("dotnet add package", " --version ")
	case "RUBYGEMS":
		return "bundle update --conservative " + name
	case "RUST":
		return at("cargo update --package", " --precise ")
	case "COMPOSER":
		return at("composer require --update-with-dependencies", ":")
	case "MAVEN":
		return "set its version in pom.xml or build.gradle"
	}

	return ""
}

// shortestWay sums up what would turn a denial into a pass.
func (s *findingsOf) shortestWay(kept []finding) (attestor.Reason, bool) {
	// Only findings that still refuse: what exceptions and modes lifted needs no work.
	type in struct{ id, pkg string }
	refused := map[in]bool{}
	for _, f := range kept {
		if strings.HasPrefix(string(f.reason.Code), "SCAN_") {
			return attestor.Reason{}, false // another scan comes first
		}
		if f.status == attestor.StatusDeny {
			refused[in{f.reason.Subject, f.pkg}] = true
		}
	}

	malware, update, owned, drop := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	fromBase, own := 0, 0
	for i := range s.ev.Scan.Findings {
		v := &s.ev.Scan.Findings[i]
		switch {
		case !refused[in{v.ID, v.Package}]:
		case v.IsMalicious():
			own++
			malware[v.Package] = true
		case s.inherited(v):
			fromBase++
		case v.Fixable && s.own(v):
			own++
			owned[v.Package] = true
		case v.Fixable:
			own++
			update[v.Package] = true
		default:
			own++
			drop[v.Package] = true
		}
	}

	var parts []string
	if len(malware) > 0 {
		parts = append(
			parts,
			fmt.Sprintf("remove %s (%s)", describe.Plural(len(malware), "malicious package"), list(malware)),
		)
	}
	if len(owned) > 0 {
		parts = append(
			parts,
			fmt.Sprintf("update %s in your own layers (%s)", describe.Plural(len(owned), "package"), list(owned)),
		)
	}

	// A finding without a layer may be the base's, or the image's own.
	if len(update) > 0 {
		parts = append(parts, fmt.Sprintf("update %s (%s)", describe.Plural(len(update), "package"), list(update)))
	}

	if len(drop) > 0 {
		parts = append(
			parts,
			fmt.Sprintf("remove or except %s without a fix (%s)", describe.Plural(len(drop), "package"), list(drop)),
		)
	}

	if fromBase > 0 {
		parts = append(
			parts,
			fmt.Sprintf("%s from the base: %s", describe.Plural(fromBase, "finding")+comes(fromBase), s.rebase("")),
		)
	}

	if len(parts) == 0 {
		return attestor.Reason{}, false
	}
	return attestor.Reason{
		Code: attestor.CodeShortestWay,
		Message: fmt.Sprintf(
			"%s in all; the shortest way to a pass: %s", describe.Plural(own+fromBase, "finding"),
			strings.Join(parts, "; "),
		),
	}, true
}

func comes(n int) string {
	if n == 1 {
		return " comes"
	}
	return " come"
}

// list names at most ten.
func list(names map[string]bool) string {
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, cmp.Or(n, "unnamed"))
	}
	slices.Sort(sorted)
	if len(sorted) > 10 {
		return strings.Join(sorted[:10], ", ") + fmt.Sprintf(" and %d more", len(sorted)-10)
	}
	return strings.Join(sorted, ", ")
}
