package vuln

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// grypeConfiguration is the part of Grype's configuration, which it writes into its reports, that decides how much of
// an image it looks at. Absent fields are of versions that did not have them.
type grypeConfiguration struct {
	OnlyFixed    bool     `json:"only-fixed"`
	OnlyNotFixed bool     `json:"only-notfixed"`
	IgnoreStates string   `json:"ignore-wontfix"` // the name that --ignore-states has in reports
	Distro       string   `json:"distro"`
	Exclude      []string `json:"exclude"`
	Search       struct {
		Scope           string `json:"scope"`
		IndexedArchives *bool  `json:"indexed-archives"`
	} `json:"search"`
	Match struct {
		JVM   grypeMatcher `json:"jvm"`
		Stock grypeMatcher `json:"stock"`
	} `json:"match"`
	Alerts struct {
		EOL *bool `json:"enable-eol-distro-warnings"`
	} `json:"alerts"`
}

// grypeMatcher says whether packages are compared with NVD's advisories, which go by CPE. Those of Java's runtimes and
// of programs without a package manager have no others.
type grypeMatcher struct {
	CPEs *bool `json:"using-cpes"`
}

func (m grypeMatcher) off() bool { return m.CPEs != nil && !*m.CPEs }

// leavesOut is the refusal of a report whose configuration left something out. A filtered report would count as a
// complete scan. Grype's rules to ignore findings need no refusal: it lists what they matched in ignoredMatches, and
// those findings count.
func (c *grypeConfiguration) leavesOut() error {
	if c == nil {
		return nil // silence says so
	}
	switch scope := strings.ToLower(c.Search.Scope); {
	case c.OnlyFixed || c.OnlyNotFixed:
		return invalid(
			"the report leaves out findings by whether they have a fix",
			"scan without --only-fixed and --only-notfixed",
		)
	case c.IgnoreStates != "":
		return invalid(
			fmt.Sprintf("the report leaves out findings by the state of their fix (%s)", clip(c.IgnoreStates)),
			"scan without --ignore-states",
		)
	case len(c.Exclude) > 0:
		return invalid(
			fmt.Sprintf(
				"files were excluded from the scan: %s",
				clip(strings.Join(c.Exclude, ", ")),
			),
			"scan without --exclude",
		)
	case c.Distro != "":
		return invalid(
			fmt.Sprintf(
				"the distribution (%s) was given to Grype by hand, instead of being read from the image",
				clip(c.Distro),
			),
			"scan without --distro",
		)
	case c.Search.IndexedArchives != nil && !*c.Search.IndexedArchives:
		return invalid(
			"archives, such as jar files, were not looked into",
			"scan without search.indexed-archives: false",
		)
	case !slices.Contains([]string{"", "squashed", "all-layers", "alllayers", "deep-squashed", "deepsquashed"}, scope):
		return invalid(
			fmt.Sprintf("the scan's scope %q is not known", clip(c.Search.Scope)),
			"scan with --scope squashed",
		)
	case c.Match.JVM.off() || c.Match.Stock.off():
		return invalid(
			"Java's runtimes, or programs without a package manager, were compared with no advisory",
			"scan without match.jvm.using-cpes: false and match.stock.using-cpes: false",
		)
	case c.Alerts.EOL != nil && !*c.Alerts.EOL:
		return invalid(
			"Grype was configured not to say whether the distribution is past its end of life",
			"scan without alerts.enable-eol-distro-warnings: false",
		)
	}
	return nil
}

// grypeDatabase is what a report says of the database of vulnerabilities: schema 6 has a status, earlier ones the
// fields themselves.
type grypeDatabase struct {
	grypeStatus
	Status    *grypeStatus             `json:"status"`
	Providers map[string]grypeCaptured `json:"providers"` // schema 6: whose advisories are in it
}

// grypeCaptured is when a provider's advisories were collected. A database is built of what its maker could get: those
// of a provider that failed are of an earlier day.
type grypeCaptured struct {
	Captured string `json:"captured"` // RFC 3339
}

type grypeStatus struct {
	Built string          `json:"built"` // RFC 3339; "" where no database was read
	Valid *bool           `json:"valid"`
	Error json.RawMessage `json:"error"`
}

// built is when the database, or the older of what it was made of, was collected for images of a distribution;
// nil if the report does not mention a database.
func (d grypeDatabase) built(family string) (*time.Time, error) {
	s := d.grypeStatus
	if d.Status != nil {
		s = *d.Status
	}

	wrong := ""
	if json.Unmarshal(s.Error, &wrong) != nil && len(s.Error) > 0 && string(s.Error) != "null" {
		wrong = string(s.Error)
	}
	if wrong != "" || s.Valid != nil && !*s.Valid {
		return nil, invalid(
			strings.TrimSuffix("Grype reports that its database could not be used: "+clip(wrong), ": "),
			"update the database (grype db update) and scan again",
		)
	}

	if s.Built == "" && d.Status == nil {
		return nil, nil //nolint:nilnil // silence says so
	}
	at, err := time.Parse(time.RFC3339, s.Built)
	if err != nil {
		return nil, invalid(
			"the report does not say how old Grype's database was",
			"update the database (grype db update) and scan again",
		)
	}
	return d.oldest(at, family)
}

// oldest is the earliest time at which the advisories that matter for the image were collected: those of its
// distribution, and those for languages.
func (d grypeDatabase) oldest(built time.Time, family string) (*time.Time, error) {
	for name, p := range d.Providers {
		if p.Captured == "" || name != "github" && !slices.Contains(grypeProvider(name), strings.ToLower(family)) {
			continue
		}

		at, err := time.Parse(time.RFC3339Nano, p.Captured)
		if err != nil {
			return nil, invalid(
				fmt.Sprintf("the report does not say how old the advisories of %s in Grype's database were",
					clip(name)),
				"update the database (grype db update) and scan again",
			)
		}
		if at.Before(built) {
			built = at
		}
	}
	return &built, nil
}

// distributions are those whose advisories the database has, by Grype's names for them.
func (d grypeDatabase) distributions() []string {
	// Reports before schema 6 do not list providers: these are the ones that every such database had.
	if d.Providers == nil {
		return []string{
			"alma", "almalinux", "alpine", "amazonlinux", "amzn", "azurelinux", "centos", "chainguard", "debian",
			"mariner", "ol",
			"oraclelinux", "redhat", "rhel", "rocky", "rockylinux", "sles", "ubuntu", "wolfi",
		}
	}

	var out []string
	for provider := range d.Providers {
		out = append(out, grypeProvider(provider)...)
	}
	return out
}

// grypeProvider lists the distributions that a provider's advisories are for (grype/db/v6/data.go, v0.116.0).
func grypeProvider(name string) []string {
	switch name {
	case "rhel":
		return []string{
			"redhat", "rhel", "centos", "rocky", "rockylinux", "alma", "almalinux", "scientific", "scientific linux",
		}
	case "alma":
		return []string{"alma", "almalinux"}
	case "rocky":
		return []string{"rocky", "rockylinux"}
	case "alpine":
		return []string{"alpine", "postmarketos"}
	case "amazon":
		return []string{"amazonlinux", "amzn"}
	case "arch":
		return []string{"arch", "archlinux"}
	case "mariner":
		return []string{"mariner", "azurelinux"}
	case "oracle":
		return []string{"oraclelinux", "ol"}
	case "chainguard",
		"debian",
		"echo",
		"fedora",
		"hummingbird",
		"minimos",
		"photon",
		"secureos",
		"sles",
		"ubuntu",
		"wolfi":
		return []string{name}
	}
	return nil
}

// alarm is the first alert of the report; "" for none. Grype knows one kind, distro-eol; any other is one that this
// version does not know, and no reason to believe the report more.
func (g grypeReport) alarm() string {
	for _, p := range g.Alerts {
		if len(p.Alerts) == 0 {
			continue
		}

		a, system := p.Alerts[0], clip(release{g.Distro.Name, g.Distro.Version}.String())
		if a.Type == "distro-eol" {
			return system + " is past its end of life: nobody looks for vulnerabilities in its packages"
		}
		return fmt.Sprintf("Grype warns about packages of %s (%s): %s", system, clip(a.Type), clip(a.Message))
	}
	return ""
}

// silence says what every version of Grype writes into its reports and this one lacks; "" for nothing. A database of
// unknown age is not a new one, and without the configuration nothing shows that nothing was left out.
func (g grypeReport) silence() string {
	switch {
	case g.Descriptor.DB.Status == nil && g.Descriptor.DB.Built == "":
		return "the report does not say how old Grype's database was"
	case g.Descriptor.Configuration == nil:
		return "the report does not say how Grype was configured, so that it may leave out anything"
	}
	return ""
}
