package vuln

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// grypeReport is the part of Grype's JSON that is read.
type grypeReport struct {
	Matches []grypeMatch `json:"matches"`
	// Ignored matches count: exceptions belong in the policy, where they have an owner
	// and an end.
	IgnoredMatches []grypeMatch `json:"ignoredMatches"`
	Source         struct {
		Type   string          `json:"type"`
		Target json.RawMessage `json:"target"` // an object for images, a string for others
	} `json:"source"`
	Distro struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"distro"`
	Alerts []struct {
		Alerts []grypeAlert `json:"alerts"`
	} `json:"alertsByPackage"`
	Descriptor struct {
		Name          string              `json:"name"`
		Version       string              `json:"version"`
		Timestamp     string              `json:"timestamp"`
		Configuration *grypeConfiguration `json:"configuration"`
		DB            grypeDatabase       `json:"db"`
	} `json:"descriptor"`
}

type grypeAlert struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

type grypeImage struct {
	UserInput      string   `json:"userInput"`
	ManifestDigest string   `json:"manifestDigest"`
	RepoDigests    []string `json:"repoDigests"`
	Architecture   string   `json:"architecture"`
	OS             string   `json:"os"`
	Config         string   `json:"config"` // base64
	Layers         []struct {
		Digest string `json:"digest"` // a diffID
	} `json:"layers"`
}

type grypeMatch struct {
	Vulnerability struct {
		grypeMetadata
		Fix struct {
			Versions []string `json:"versions"`
			State    string   `json:"state"`
		} `json:"fix"`
	} `json:"vulnerability"`
	Related  []grypeMetadata `json:"relatedVulnerabilities"`
	Artifact struct {
		Name      string   `json:"name"`
		Version   string   `json:"version"`
		Type      string   `json:"type"`
		CPEs      []string `json:"cpes"`
		Locations []struct {
			Path    string `json:"path"`
			LayerID string `json:"layerID"`
		} `json:"locations"`
	} `json:"artifact"`
}

type grypeMetadata struct {
	ID          string `json:"id"`
	DataSource  string `json:"dataSource"`
	Severity    string `json:"severity"`
	Description string `json:"description"`
	CVSS        []struct {
		Metrics struct {
			BaseScore float64 `json:"baseScore"`
		} `json:"metrics"`
	} `json:"cvss"`
	EPSS []struct {
		EPSS       float64 `json:"epss"`
		Percentile float64 `json:"percentile"`
	} `json:"epss"`
	KnownExploited []struct {
		Ransomware string `json:"knownRansomwareCampaignUse"`
	} `json:"knownExploited"`
}

func readGrype(b []byte) (report, error) {
	var g grypeReport
	if err := decode(b, &g); err != nil {
		return report{}, malformed("Grype", err)
	}

	// A report of a directory or an SBOM does not say that it is of this image.
	if g.Source.Type != "image" {
		return report{}, invalid(
			fmt.Sprintf("the report is of a source of type %q, not of an image", clip(g.Source.Type)),
			"scan the image: grype registry:REPOSITORY@DIGEST -o json",
		)
	}

	if err := g.Descriptor.Configuration.leavesOut(); err != nil {
		return report{}, err
	}

	var img grypeImage
	if err := json.Unmarshal(g.Source.Target, &img); err != nil {
		return report{}, malformed("Grype", err)
	}
	rep := report{scanner: strings.TrimSpace("grype " + g.Descriptor.Version), layers: img.layers()}
	if d, err := attestor.ParseDigest(img.ManifestDigest); err == nil {
		rep.manifest = d
	}

	// userInput is what Grype was asked to scan; repoDigests and manifestDigest are what it scanned. A report in which
	// they differ was changed, or is of two images.
	asked, scanned := digestsOf(img.UserInput), digestsOf(img.RepoDigests...)
	if len(asked) > 0 && len(scanned) > 0 && asked[0] != rep.manifest && !slices.Contains(scanned, asked[0]) {
		return report{}, invalid(
			fmt.Sprintf("the report contradicts itself: its userInput names %s, its repoDigests name %s",
				asked[0], joined(scanned)),
			"scan the image again, by its digest, straight from the registry",
		)
	}
	rep.digests = append(scanned, asked...)

	if img.OS != "" && img.Architecture != "" {
		rep.platform = img.OS + "/" + img.Architecture
	}
	made, err := time.Parse(time.RFC3339Nano, g.Descriptor.Timestamp)
	if err != nil {
		return report{}, invalid(
			"the report does not say when the scan was made",
			"scan without timestamp: false in Grype's configuration",
		)
	}

	rep.made = &made
	if rep.database, err = g.Descriptor.DB.built(g.Distro.Name); err != nil {
		return report{}, err
	}

	// Grype compares the packages of a distribution with that distribution's advisories only.
	rep.system = osCPE(g.Distro.Name, g.Distro.Version)
	rep.osLack = release{g.Distro.Name, g.Distro.Version}.lack("Grype", g.Descriptor.DB.distributions())
	if rep.osLack == "" {
		rep.types = append(rep.types, osType)
	}

	rep.unsupported = cmp.Or(g.alarm(), g.silence())
	layers := img.diffIDs()

	// Ignored matches are imported like the others; see grypeReport.
	for _, m := range append(g.Matches, g.IgnoredMatches...) {
		f := m.imported(g, layers)
		rep.types = append(rep.types, f.kind)
		rep.found = append(rep.found, f)
	}
	return rep, nil
}

func (i grypeImage) layers() []attestor.Digest {
	var texts []string
	for _, l := range i.Layers {
		texts = append(texts, l.Digest)
	}
	return layersNamed(texts)
}

// diffIDs are those of the image's config. The layer of a location counts only if it
// is one of them: a layer that is not the image's cannot be its base's.
func (i grypeImage) diffIDs() map[string]bool {
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}

	out := map[string]bool{}
	b, err := base64.StdEncoding.DecodeString(i.Config)
	if err != nil || json.Unmarshal(b, &config) != nil {
		return out
	}

	for _, d := range config.RootFS.DiffIDs {
		out[d] = true
	}
	return out
}

func (m grypeMatch) imported(g grypeReport, layers map[string]bool) imported {
	v, a := m.Vulnerability, m.Artifact
	var aliases []string
	for _, r := range m.Related {
		aliases = append(aliases, r.ID)
	}

	f := imported{
		ids:         named(v.ID, aliases...),
		severity:    severityNamed(v.Severity),
		description: v.Description,
		url:         v.DataSource,
		name:        a.Name,
		version:     a.Version,
		kind:        packageType(a.Type, a.Name),
	}
	switch {
	case f.kind == "OS":
		f.cpe = osCPE(g.Distro.Name, g.Distro.Version)
	case len(a.CPEs) > 0:
		f.cpe = a.CPEs[0]
	}

	// "wont-fix" and "not-fixed" are no fix, whatever versions are listed beside them. "fixed" is one also where no
	// version is listed: a finding with a fix must not come under the limit for those without.
	if v.Fix.State == "fixed" {
		f.fixed = cmp.Or(strings.Join(v.Fix.Versions, ", "), "a later version")
	}
	f.risk(v.grypeMetadata)
	for _, r := range m.Related {
		f.risk(r)
	}

	for _, l := range a.Locations {
		at := place{path: l.Path}
		if layers[l.LayerID] {
			at.diffID = l.LayerID
		}
		f.places = append(f.places, at)
	}
	return f
}

// risk keeps the highest value that any name of the vulnerability has.
func (f *imported) risk(m grypeMetadata) {
	for _, c := range m.CVSS {
		f.score = max(f.score, c.Metrics.BaseScore)
	}
	for _, e := range m.EPSS {
		if f.epss == nil || e.EPSS > f.epss.GetScore() {
			f.epss = &grafeaspb.ExploitPredictionScoringSystem{Score: e.EPSS, Percentile: e.Percentile}
		}
	}

	for _, k := range m.KnownExploited {
		f.exploited = &grafeaspb.CISAKnownExploitedVulnerabilities{KnownRansomwareCampaignUse: short(k.Ransomware)}
	}
}
