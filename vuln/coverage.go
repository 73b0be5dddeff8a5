package vuln

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// Coverage is how much of an image a report is about, as far as the report says.
type Coverage string

// The coverages. A report that leaves out findings or files is none of these: it is refused.
const (
	// the packages of the operating system, and of the languages that the report lists
	Complete    Coverage = "complete"
	Partial     Coverage = "partial"     // packages of languages only; stored with their types
	Unsupported Coverage = "unsupported" // nothing that can be relied on; stored as FINISHED_UNSUPPORTED
)

const (
	osType = "OS" // Container Analysis' type of the packages of the operating system

	// oldestDatabase is the age at which a database of vulnerabilities was too old when the scan was made. Grype itself
	// refuses one of five days unless it is configured otherwise; Trivy and Grype publish theirs at least daily.
	oldestDatabase = 30 * 24 * time.Hour
)

// coverage judges what a reader found. Why says what is not covered; it is "" for a complete report.
func (r report) coverage() (c Coverage, why string) {
	switch {
	case r.unsupported != "":
		return Unsupported, r.unsupported
	case len(r.types) == 0:
		return Unsupported, r.osLack
	case !slices.Contains(r.types, osType):
		return Partial, r.osLack
	}
	return Complete, ""
}

// finish applies what holds for the reports of all scanners: times, the platform, and the types that were covered.
func (r report) finish() (report, error) {
	// A scan knows the vulnerabilities that its database knew, so that it is as old as its database. The policy's
	// maxAge then judges both by one time.
	if r.made != nil && r.database != nil {
		if age := r.made.Sub(*r.database); age > oldestDatabase {
			return report{}, invalid(
				fmt.Sprintf(
					"the scanner's database was %d days old when the scan was made; at most %d days are allowed",
					int(age.Hours()/24),
					int(oldestDatabase.Hours()/24),
				),
				"update the database (grype db update, trivy image --download-db-only) and scan again",
			)
		}

		if r.database.Before(*r.made) {
			r.made = r.database
		}
	}

	// The scanners match packages of Linux distributions. What an image for Windows consists of, they do not know.
	if strings.HasPrefix(r.platform, "windows/") {
		r.unsupported = "the image is for Windows, of whose components the scanner knows no vulnerabilities"
	}

	// Packages of a system that the scanner has no data for were listed, and compared with nothing.
	r.types = slices.Compact(slices.Sorted(slices.Values(r.types)))
	if r.osLack != "" {
		r.types = slices.DeleteFunc(r.types, func(t string) bool { return t == osType })
	} else if !slices.Contains(r.types, osType) {
		r.osLack = "the report lists no packages of the operating system"
	}
	return r, nil
}

// A release is a distribution as a scanner names it.
type release struct{ family, version string }

func (o release) String() string { return strings.TrimSpace(o.family + " " + o.version) }

// lack says why nothing is known of a distribution's packages; "" if it is one that a scanner has data for.
func (o release) lack(scanner string, known []string) string {
	family := strings.ToLower(o.family)
	switch {
	case family == "" || family == "none":
		return "the scanner did not recognise the operating system, so that its packages were not compared " +
			"with anything"
	case !slices.Contains(known, family):
		return fmt.Sprintf("%s has no data about the packages of %s", scanner, clip(o.String()))
	case !o.versioned() && !slices.Contains(rolling(), family):
		return fmt.Sprintf(
			"the version of the operating system (%s) is not known, so that its packages were not compared"+
				" with the advisories for it",
			clip(o.String()),
		)
	}

	return ""
}

// versioned reports whether advisories can be chosen by the version. Advisories are published for numbered releases;
// "bookworm/sid" and "unstable" have none. Alpine's edge has a branch of its own.
func (o release) versioned() bool {
	v := strings.TrimPrefix(strings.ToLower(o.version), "v")
	return v == "edge" || v != "" && v[0] >= '0' && v[0] <= '9'
}

// rolling lists the distributions that have one release only, by every scanner's name for them.
func rolling() []string {
	return []string{
		"alpaquita", "arch", "archlinux", "bellsoft hardened containers", "chainguard", "echo",
		"hummingbird", "minimos",
		"opensuse-tumbleweed", "opensuse.tumbleweed", "secureos", "wolfi",
	}
}

// sameLayers reports whether the report lists the very layers of the target's config, in their order. Images with the
// same layers have the same files, whatever they are called.
func (r report) sameLayers(t Target) (bool, error) {
	if len(r.layers) == 0 || t.Layers == nil {
		return false, nil
	}
	layers, err := t.Layers()
	if err != nil {
		return false, fmt.Errorf("reading the layers of %s: %w", t.Image, err)
	}
	return slices.Equal(layers, r.layers), nil
}

// layersNamed reads a report's list of diffIDs; a list with anything else in it names no layers.
func layersNamed(texts []string) []attestor.Digest {
	var out []attestor.Digest
	for _, text := range texts {
		d, err := attestor.ParseDigest(text)

		// One that is cut or altered must not make the rest look like the image's layers.
		if err != nil {
			return nil
		}
		out = append(out, d)
	}
	return out
}
