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
	ArtifactName  string
	ArtifactType  string
	Trivy         struct {
		Version string
		Server  struct {
			Version         string
			VulnerabilityDB *trivyDatabase
			JavaDB          *trivyDatabase
		}
	}
	Metadata struct {
		OS struct {
			Family   string
			Name     string
			EOSL     bool
			Supplier string
		}
		RepoDigests []string
		DiffIDs     []string
		ImageConfig struct {
			Architecture string `json:"architecture"`
			OS           string `json:"os"`
		}
	}
	Results []trivyResult
}

// trivyDatabase is what a Trivy server says of its database. A client without a server writes nothing about it.
type trivyDatabase struct{ UpdatedAt *time.Time }

type trivyResult struct {
	Target          string
	Class           string
	Type            string
	Packages        []trivyPackage
	Vulnerabilities []trivyVulnerability
	// Suppressed findings count: exceptions belong in the policy, where they have an
	// owner and an end.
	Suppressed []struct {
		Type    string
		Finding struct {
			trivyVulnerability
			RuleID string // of a secret
		}
	} `json:"ExperimentalModifiedFindings"`
	// Trivy looks for secrets too unless it is told not to.
	Secrets []struct {
		RuleID string
		Layer  struct{ DiffID string }
	}
}

// trivyPackage is the part of a listed package that shows whether Trivy compared it with advisories.
type trivyPackage struct {
	Name       string
	Repository struct{ Class string }
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
	VendorIDs        []string
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
			"scan again with a current version of Trivy",
		)
	}

	if t.ArtifactType != "container_image" {
		return report{}, invalid(
			fmt.Sprintf("the report is of a %s, not of an image", clip(t.ArtifactType)),
			"scan the image: trivy image --format json",
		)
	}

	if t.CreatedAt == nil || t.CreatedAt.IsZero() {
		return report{}, invalid(
			"the report does not say when the scan was made",
			"scan with a current version of Trivy",
		)
	}

	// ArtifactName is what Trivy was asked to scan, and RepoDigests what it scanned, as the registry or the daemon
	// names it. A report in which they differ was changed, or is of two images.
	asked, scanned := digestsOf(t.ArtifactName), digestsOf(t.Metadata.RepoDigests...)
	if len(asked) > 0 && len(scanned) > 0 && !slices.Contains(scanned, asked[0]) {
		return report{}, invalid(
			fmt.Sprintf("the report contradicts itself: its ArtifactName names %s, its RepoDigests name %s",
				asked[0], joined(scanned)),
			"scan the image again, by its digest, straight from the registry",
		)
	}

	rep := report{
		scanner: strings.TrimSpace("trivy " + t.Trivy.Version),
		made:    t.CreatedAt,
		digests: append(scanned, asked...),
		layers:  layersNamed(t.Metadata.DiffIDs),
	}

	var err error
	if rep.database, err = t.built(); err != nil {
		return report{}, err
	}

	if c := t.Metadata.ImageConfig; c.OS != "" && c.Architecture != "" {
		rep.platform = c.OS + "/" + c.Architecture
	}

	// Results of other classes, such as secrets and licences, list no packages.
	others := ""
	for _, r := range t.Results {
		rep.secrets = append(rep.secrets, r.leaks()...)

		// A vulnerability is a finding wherever it stands, also in a result of a class that this version does not know.
		for _, v := range r.Vulnerabilities {
			rep.found = append(rep.found, v.imported(r, t))
		}

		for _, s := range r.Suppressed {
			if s.Type == "vulnerability" {
				rep.found = append(rep.found, s.Finding.imported(r, t))
			}
		}

		if r.Class != "os-pkgs" && r.Class != "lang-pkgs" {
			others = cmp.Or(others, r.Class, "unknown")
			continue
		}
		rep.types = append(rep.types, r.packageType(""))
	}

	// Without packages nothing shows that anything was scanned.
	if len(rep.types) == 0 {
		return report{}, invalid(
			"the report lists no packages: Trivy did not scan for vulnerabilities, or recognised no packages",
			"scan with --scanners vuln",
		)
	}

	// Trivy lists packages whichever scanners it ran (--list-all-pkgs). Results of another scanner beside
	// packages without a single vulnerability are what it writes when it did not look for vulnerabilities.
	if others != "" && len(rep.found) == 0 {
		return report{}, invalid(
			fmt.Sprintf("the report has results of another scanner (%s) and no vulnerability: nothing shows that "+
				"Trivy looked"+
				" for vulnerabilities", clip(others)),
			"scan with --scanners vuln alone",
		)
	}

	rep.system = osCPE(t.Metadata.OS.Family, t.Metadata.OS.Name)
	rep.osLack = t.osLack()
	if t.Metadata.OS.EOSL {
		rep.unsupported = fmt.Sprintf("%s is past its end of life: nobody looks for vulnerabilities in its packages",
			clip(release{t.Metadata.OS.Family, t.Metadata.OS.Name}.String()))
	}
	return rep, nil
}

// built is when the databases of a server were made; nil for a scan without a server, whose report never says it.
func (t trivyReport) built() (*time.Time, error) {
	server := t.Trivy.Server
	if server.Version == "" && server.VulnerabilityDB == nil && server.JavaDB == nil {
		return nil, nil //nolint:nilnil // not reported
	}

	// A server that does not say it had no database, or one of unknown age: neither is a new one.
	undated := func(db *trivyDatabase) bool { return db.UpdatedAt == nil || db.UpdatedAt.IsZero() }
	if server.VulnerabilityDB == nil || undated(server.VulnerabilityDB) || server.JavaDB != nil &&
		undated(server.JavaDB) {
		return nil, invalid(
			"the report does not say how old the databases of Trivy's server were",
			"have the server download its databases, and scan again",
		)
	}

	// The older of the two counts: the second one is about jar files.
	oldest := server.VulnerabilityDB.UpdatedAt
	if server.JavaDB != nil && server.JavaDB.UpdatedAt.Before(*oldest) {
		oldest = server.JavaDB.UpdatedAt
	}
	return oldest, nil
}

// osLack says why the packages of the operating system are not covered; "" if they are.
func (t trivyReport) osLack() string {
	system := release{t.Metadata.OS.Family, t.Metadata.OS.Name}
	result, listed := false, false
	for _, r := range t.Results {
		if r.Class == "os-pkgs" {
			result = true
			listed = listed || len(r.Packages) > 0 || len(r.Vulnerabilities) > 0 || len(r.Suppressed) > 0
		}
	}

	// "No OS package is detected. Make sure you haven't deleted any files that contain information about the installed
	// packages" is a warning in Trivy's log only; its report then has a result without packages. So has that of an
	// older version, which did not list packages unless a flag asked for it: nothing in the report distinguishes the two.
	switch lack := system.lack("Trivy", trivyFamilies()); {
	case lack != "":
		return lack
	case !result:
		return fmt.Sprintf("the packages of %s were not scanned", clip(system.String()))
	case !listed:
		return fmt.Sprintf(
			"no packages of %s were found, which it cannot be without; or Trivy did not list them"+
				" (--list-all-pkgs=false, or an older version without --list-all-pkgs)",
			clip(system.String()),
		)
	}
	return t.thirdParty(system)
}

// thirdParty says which packages of the system come from others than its distributor; "" if none do. The distributor's
// advisories are not about them, so that Trivy leaves them out (pkg/detector/ospkg/detect.go, v0.74.0). Suppliers who
// rebuild packages have advisories of their own.
func (t trivyReport) thirdParty(system release) string {
	if t.Metadata.OS.Supplier != "" {
		return ""
	}

	var names []string
	for _, r := range t.Results {
		if r.Class != "os-pkgs" {
			continue
		}
		for _, p := range r.Packages {
			if p.Repository.Class == "third-party" {
				names = append(names, p.Name)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("packages of %s come from other repositories than its distributor's, so that Trivy "+
		"compares them with"+
		" nothing (%d, such as %s)", clip(system.String()), len(names), clip(names[0]))
}

// trivyFamilies are the distributions for which Trivy has a detector, by its names of all versions
// (pkg/detector/ospkg/detect.go, v0.74.0, and its aliases). For others it writes a warning into its log.
func trivyFamilies() []string {
	return []string{
		"alma", "alpine", "amazon", "azurelinux", "azure", "bottlerocket", "cbl-mariner", "centos",
		"chainguard", "coreos",
		"debian", "echo", "minimos", "opensuse-leap", "opensuse.leap", "opensuse-tumbleweed",
		"opensuse.tumbleweed", "oracle",
		"photon", "redhat", "rocky", "slem", "sles", "suse linux enterprise micro", "suse linux enterprise server",
		"ubuntu",
		"wolfi",
	}
}

// leaks are the secrets in the file that a result is about; those that were suppressed count, too.
func (r trivyResult) leaks() (out []leak) {
	for _, s := range r.Secrets {
		out = append(out, leak{s.RuleID, place{r.Target, s.Layer.DiffID}})
	}
	for _, s := range r.Suppressed {
		if s.Type == "secret" {
			out = append(out, leak{s.Finding.RuleID, place{r.Target, s.Finding.Layer.DiffID}})
		}
	}
	return out
}

func (r trivyResult) packageType(name string) string {
	if r.Class == "os-pkgs" {
		return "OS"
	}
	return packageType(r.Type, name)
}

func (v trivyVulnerability) imported(r trivyResult, t trivyReport) imported {
	f := imported{
		ids:         append([]string{v.VulnerabilityID}, v.malicious()...),
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

// malicious lists the advisories of malicious packages among the other names of v.
func (v trivyVulnerability) malicious() []string {
	return slices.DeleteFunc(named(v.VulnerabilityID, v.VendorIDs...), func(id string) bool {
		return id == v.VulnerabilityID || !attestor.MaliciousID(id)
	})
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
