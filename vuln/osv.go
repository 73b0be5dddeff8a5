package vuln

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// osvReport is the part of osv-scanner's JSON that is read, of versions 1 and 2.
type osvReport struct {
	Results []struct {
		Source struct {
			Path string `json:"path"`
			Type string `json:"type"`
		} `json:"source"`
		Packages []osvPackage `json:"packages"`
	} `json:"results"`
	Image *osvImage `json:"image_metadata"`

	// Findings that are not about packages, such as weak passwords. They have no form that Container Analysis keeps.
	Generic []json.RawMessage `json:"experimental_generic_findings"`
}

type osvImage struct {
	OS     string `json:"os"`
	Layers []struct {
		DiffID  string `json:"diff_id"`
		IsEmpty bool   `json:"is_empty"`
	} `json:"layer_metadata"`
}

type osvPackage struct {
	Package struct {
		Name      string `json:"name"`
		OSName    string `json:"os_package_name"`
		Version   string `json:"version"`
		Commit    string `json:"commit"`
		Ecosystem string `json:"ecosystem"`
		Origin    *struct {
			Index int `json:"index"`
		} `json:"image_origin_details"`
	} `json:"package"`
	Vulnerabilities []osvAdvisory `json:"vulnerabilities"`
	Groups          []struct {
		IDs         []string `json:"ids"`
		MaxSeverity string   `json:"max_severity"`
	} `json:"groups"`
}

type osvAdvisory struct {
	ID        string        `json:"id"`
	Aliases   []string      `json:"aliases"`
	Upstream  []string      `json:"upstream"`
	Published *time.Time    `json:"published"`
	Summary   string        `json:"summary"`
	Affected  []osvAffected `json:"affected"`
	Specific  osvSpecific   `json:"database_specific"`
}

type osvAffected struct {
	Package struct {
		Name      string `json:"name"`
		Ecosystem string `json:"ecosystem"`
	} `json:"package"`
	Ranges []struct {
		Type   string              `json:"type"`
		Events []map[string]string `json:"events"`
	} `json:"ranges"`
}

// osvSpecific has no fixed form; a severity in it counts where it is a word.
type osvSpecific struct {
	Severity any `json:"severity"`
}

func readOSV(b []byte) (report, error) {
	var o osvReport
	if err := decode(b, &o); err != nil {
		return report{}, malformed("osv-scanner", err)
	}

	// Only scans of images have image_metadata; lock files, SBOMs, directories and commits are not the image.
	const scan = "scan the image: osv-scanner scan image --all-packages --format json REPOSITORY@DIGEST"
	if o.Image == nil {
		return report{}, invalid(
			fmt.Sprintf("the report is not of an image: it has no image_metadata%s", o.sources()), scan,
		)
	}

	if len(o.Generic) > 0 {
		return report{}, invalid(
			fmt.Sprintf("the report has findings that are not about packages, and cannot be stored (%d)",
				len(o.Generic)),
			"handle these findings apart, and scan without the plugins that report them",
		)
	}

	rep := report{
		scanner: "osv-scanner",
		layers:  o.Image.layers(),
	}

	system := false
	for _, r := range o.Results {
		for _, p := range r.Packages {
			// What is a system's package, its source says: of a system that osv-scanner does not know it writes no
			// ecosystem.
			kind := packageType(p.ecosystem(), p.Package.Name)
			if r.Source.Type == "os" {
				kind = osType
			}
			for _, v := range p.Vulnerabilities {
				f := v.imported(p, kind)
				f.places = []place{{path: r.Source.Path, diffID: o.Image.layer(p)}}
				rep.found = append(rep.found, f)
			}

			// A lock file or an SBOM in the image says what somebody once wrote down, not what is installed.
			if r.Source.Type != "os" && r.Source.Type != "artifact" {
				continue
			}
			rep.types = append(rep.types, kind)
			if kind == osType && rep.system == "" {
				rep.system = osCPE(p.release().family, p.release().version)
			}

			// One package that was compared with nothing is one that nobody looked at, whatever the others are.
			if kind == osType {
				system = true
				rep.osLack = cmp.Or(rep.osLack, p.osLack(r.Source.Path))
			}
		}
	}
	if !system {
		rep.osLack = "the report lists no packages of the operating system"
	}

	if len(rep.types) == 0 {
		return report{}, invalid(
			"the report lists no installed packages, so that nothing shows that any was scanned",
			scan,
		)
	}

	// osv-scanner that cannot reach its database ends with 0, and reports every package without a finding. Only a
	// finding shows that packages were compared with anything.
	if len(rep.found) == 0 {
		rep.unsupported = strings.TrimPrefix(rep.osLack+"; "+osvUnproven, "; ")
	}
	return rep, nil
}

// osvUnproven says why a report without findings is not believed.
const osvUnproven = "the report has no finding, as any report of osv-scanner that could not reach its database: " +
	"nothing shows that the packages were compared with advisories; scan with Trivy or Grype"

// sources names the kinds of source in the report, for a message.
func (o osvReport) sources() string {
	var kinds []string
	for _, r := range o.Results {
		if t := r.Source.Type; t != "" && !slices.Contains(kinds, t) && len(kinds) < 5 {
			kinds = append(kinds, clip(t))
		}
	}

	if len(kinds) == 0 {
		return ""
	}
	return ", and its sources are of type " + strings.Join(kinds, ", ")
}

// osLack says why a package of the operating system, from the list at path, was compared with nothing. OSV's ecosystems
// name the distribution and its release: Debian:12. "Linux" is what osv-scanner writes where it does not know the
// distribution.
func (p osvPackage) osLack(path string) string {
	r := p.release()
	if why := r.lack("osv-scanner", osvFamilies()); why != "" {
		return why
	}

	// osv-scanner asks for the names of binary packages: an image with libopenssl1_1 alone has no finding of
	// openssl-1_1.
	if osvBySource(r.family) || strings.HasSuffix(path, "/var/lib/chisel/manifest.wall") {
		return fmt.Sprintf(
			"osv-scanner compares the binary packages of %s by name with advisories that name source packages",
			clip(r.String()),
		)
	}

	// OSV's advisories of SUSE are for products by name, SUSE:Linux Enterprise Server 15 SP5. osv-scanner asks for the
	// release's number, which none of them has (osv-scalibr v0.5.3, extractor/filesystem/os/ecosystem).
	if strings.EqualFold(r.family, "SUSE") {
		return fmt.Sprintf(
			"osv-scanner compares the packages of %s with no advisory: those are for products by name",
			clip(r.String()),
		)
	}

	// A release in another form than the advisories' equals none of theirs: Alpine's edge is v3.23_alpha20250612, and
	// an apk system that osv-scanner does not know is Alpine with a number of its own.
	if !r.inOSV() {
		return fmt.Sprintf(
			"osv-scanner compares the packages of %s with no advisory: none is for a release of that form",
			clip(r.String()),
		)
	}
	return ""
}

// osvBySource reports whether OSV's advisories of a distribution of rpm packages name source packages only. Those of
// AlmaLinux name every binary package, and from the lists of dpkg and apk osv-scanner takes the source's name.
func osvBySource(family string) bool {
	return slices.Contains([]string{"azure linux", "mageia", "openeuler", "opensuse"}, strings.ToLower(family))
}

var (
	alpineBranch = regexp.MustCompile(`^v[0-9]+\.[0-9]+$`)
	wholeNumber  = regexp.MustCompile(`^[0-9]+$`)
)

// inOSV reports whether the release has the form of those in OSV's advisories, as far as the form is known.
func (o release) inOSV() bool {
	switch strings.ToLower(o.family) {
	case "alpine":
		return alpineBranch.MatchString(o.version)
	case "almalinux", "debian":
		return wholeNumber.MatchString(o.version)
	}
	return true
}

// release is the distribution in the package's ecosystem. That of openSUSE has the product's name before the number:
// openSUSE:Leap 15.6.
func (p osvPackage) release() release {
	family, version, _ := strings.Cut(p.Package.Ecosystem, ":")
	if family == "openSUSE" {
		version = strings.TrimPrefix(version, "Leap ")
	}
	return release{family, version}
}

// osvFamilies are the distributions in OSV's schema (docs/schema.md, "Defined ecosystems").
func osvFamilies() []string {
	return []string{
		"alpaquita", "alpine", "almalinux", "azure linux", "bellsoft hardened containers", "chainguard",
		"debian", "echo",
		"mageia", "minimos", "openeuler", "opensuse", "photon os", "red hat", "rocky linux", "suse", "ubuntu", "wolfi",
	}
}

// layers are those that hold files, lowest first.
func (i *osvImage) layers() []attestor.Digest {
	var texts []string
	for _, l := range i.Layers {
		if !l.IsEmpty {
			texts = append(texts, l.DiffID)
		}
	}
	return layersNamed(texts)
}

// layer is the diffID of the layer that a package came with, or "".
func (i *osvImage) layer(p osvPackage) string {
	if i == nil || p.Package.Origin == nil || p.Package.Origin.Index < 0 || p.Package.Origin.Index >= len(i.Layers) {
		return ""
	}
	return i.Layers[p.Package.Origin.Index].DiffID
}

// ecosystem is without its release: Debian:12 is Debian.
func (p osvPackage) ecosystem() string {
	family, _, _ := strings.Cut(p.Package.Ecosystem, ":")
	return family
}

func (v osvAdvisory) imported(p osvPackage, kind string) imported {
	f := imported{
		ids:         named(v.ID, slices.Concat(v.Aliases, v.Upstream)...),
		published:   v.Published,
		description: v.Summary,
		url:         "https://osv.dev/vulnerability/" + v.ID,
		name:        p.Package.Name,
		version:     p.Package.Version,
		kind:        kind,
		fixed:       v.fixed(p),
	}
	if f.version == "" {
		f.version = p.Package.Commit
	}

	if kind == "OS" {
		f.cpe = osCPE(p.release().family, p.release().version)
		if p.Package.OSName != "" {
			f.name = p.Package.OSName
		}
	}
	f.severity, f.score = p.rate(v)
	return f
}

// rate is the most severe rating of v under any of its names, which osv-scanner
// groups: a RUSTSEC advisory has no severity where its GHSA twin has one.
func (p osvPackage) rate(v osvAdvisory) (grafeaspb.Severity, float64) {
	names, score := []string{v.ID}, 0.0
	for _, g := range p.Groups {
		if slices.Contains(g.IDs, v.ID) {
			names = append(names, g.IDs...)
			if s, err := strconv.ParseFloat(g.MaxSeverity, 64); err == nil {
				score = max(score, s)
			}
		}
	}

	severity := severityScored(score)
	for _, twin := range p.Vulnerabilities {
		if slices.Contains(names, twin.ID) {
			word, _ := twin.Specific.Severity.(string)
			severity = max(severity, severityNamed(word))
		}
	}
	return severity, score
}

// fixed lists the versions that end a range, of this package only, in the
// order that the advisory has them.
func (v osvAdvisory) fixed(p osvPackage) string {
	var versions []string
	for _, a := range v.Affected {
		family, _, _ := strings.Cut(a.Package.Ecosystem, ":")
		// An advisory covers several packages and releases; the fix of one is none of
		// another's.
		if a.Package.Name != p.Package.Name || family != p.ecosystem() ||
			(a.Package.Ecosystem != p.Package.Ecosystem && strings.Contains(a.Package.Ecosystem, ":")) {
			continue
		}

		for _, r := range a.Ranges {
			if r.Type == "GIT" {
				continue // commits, not versions
			}
			for _, e := range r.Events {
				if fix := e["fixed"]; fix != "" && !slices.Contains(versions, fix) {
					versions = append(versions, fix)
				}
			}
		}
	}
	return strings.Join(versions, ", ")
}
