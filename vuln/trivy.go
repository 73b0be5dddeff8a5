package vuln

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// trivyReport is the part of Trivy's JSON that is read.
type trivyReport struct {
	SchemaVersion int
	CreatedAt     *time.Time
	ArtifactType  string
	Trivy         struct{ Version string }
	Metadata      struct {
		OS struct {
			Family string
			Name   string
		}
		RepoDigests []string
		ImageConfig struct {
			Architecture string `json:"architecture"`
			OS           string `json:"os"`
		}
	}
	Results []trivyResult
}

type trivyResult struct {
	Target          string
	Class           string
	Type            string
	Vulnerabilities []trivyVulnerability
	// Suppressed findings count: exceptions belong in the policy, where they have an
	// owner and an end.
	Suppressed []struct {
		Type    string
		Finding trivyVulnerability
	} `json:"ExperimentalModifiedFindings"`
}

type trivyVulnerability struct {
	VulnerabilityID  string
	PkgName          string
	PkgPath          string
	InstalledVersion string
	FixedVersion     string
	Severity         string
	SeveritySource   string
	Title            string
	PrimaryURL       string
	PublishedDate    *time.Time
	Layer            struct{ DiffID string }
	CVSS             map[string]struct{ V2Score, V3Score, V40Score float64 }
}

func readTrivy(b []byte) (report, error) {
	var t trivyReport
	if err := decode(b, &t); err != nil {
		return report{}, malformed("Trivy", err)
	}
	if t.SchemaVersion != 2 {
		return report{}, invalid(
			fmt.Sprintf("the report has Trivy's schema version %d; version 2 is supported", t.SchemaVersion),
			"write it anew with a current version of Trivy",
		)
	}

	if t.ArtifactType != "container_image" {
		return report{}, invalid(
			fmt.Sprintf("the report is of a %s, not of an image", clip(t.ArtifactType)),
			"scan the image: trivy image --format json",
		)
	}

	rep := report{
		scanner: strings.TrimSpace("trivy " + t.Trivy.Version),
		made:    t.CreatedAt,
		digests: digestsOf(t.Metadata.RepoDigests...),
	}

	if c := t.Metadata.ImageConfig; c.OS != "" && c.Architecture != "" {
		rep.platform = c.OS + "/" + c.Architecture
	}

	// Results of other classes, such as secrets and licences, list no packages.
	for _, r := range t.Results {
		if r.Class != "os-pkgs" && r.Class != "lang-pkgs" {
			continue
		}
		rep.types = append(rep.types, r.packageType(""))
		for _, v := range r.Vulnerabilities {
			rep.found = append(rep.found, v.imported(r, t))
		}

		for _, s := range r.Suppressed {
			if s.Type == "vulnerability" {
				rep.found = append(rep.found, s.Finding.imported(r, t))
			}
		}
	}

	// Without packages nothing shows that anything was scanned.
	if len(rep.types) == 0 {
		return report{}, invalid(
			"the report lists no packages: Trivy did not scan for vulnerabilities, or recognised no packages",
			"scan with --scanners vuln",
		)
	}
	return rep, nil
}

func (r trivyResult) packageType(name string) string {
	if r.Class == "os-pkgs" {
		return "OS"
	}
	return packageType(r.Type, name)
}

func (v trivyVulnerability) imported(r trivyResult, t trivyReport) imported {
	f := imported{
		ids:         []string{v.VulnerabilityID},
		severity:    severityNamed(v.Severity),
		score:       v.score(),
		published:   v.PublishedDate,
		description: v.Title,
		url:         v.PrimaryURL,
		name:        v.PkgName,
		version:     v.InstalledVersion,
		kind:        r.packageType(v.PkgName),
		fixed:       v.FixedVersion,
	}

	path := v.PkgPath
	if r.Class == "os-pkgs" {
		f.cpe = osCPE(t.Metadata.OS.Family, t.Metadata.OS.Name)
	} else {
		path = cmp.Or(path, r.Target)
	}

	if path != "" || v.Layer.DiffID != "" {
		f.places = []place{{path: path, diffID: v.Layer.DiffID}}
	}
	return f
}

// score is that of the source that the severity came from, else the highest.
func (v trivyVulnerability) score() float64 {
	if s, ok := v.CVSS[v.SeveritySource]; ok && max(s.V40Score, s.V3Score, s.V2Score) > 0 {
		return cmp.Or(s.V40Score, s.V3Score, s.V2Score)
	}
	highest := 0.0
	for _, s := range v.CVSS {
		highest = max(highest, s.V40Score, s.V3Score, s.V2Score)
	}
	return highest
}

// digestsOf takes the digests off references.
func digestsOf(references ...string) []attestor.Digest {
	var out []attestor.Digest
	for _, ref := range references {
		if _, digest, ok := strings.Cut(ref, "@"); ok {
			if d, err := attestor.ParseDigest(digest); err == nil {
				out = append(out, d)
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}
