package migrate

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
)

// A platformPolicy is a check-based policy, as gcloud beta container binauthz policy describes it.
type platformPolicy struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	ETag        string `yaml:"etag"`
	UpdateTime  string `yaml:"updateTime"`
	GKE         struct {
		Allowlist imageAllowlist `yaml:"imageAllowlist"`
		CheckSets []checkSet     `yaml:"checkSets"`
	} `yaml:"gkePolicy"`
}

type imageAllowlist struct {
	AllowPattern []string `yaml:"allowPattern"`
}

// A checkSet is a conjunction of checks for some workloads.
type checkSet struct {
	DisplayName string         `yaml:"displayName"`
	Allowlist   imageAllowlist `yaml:"imageAllowlist"`
	Checks      []platformTest `yaml:"checks"`
	Scope       *struct {
		Namespace      string `yaml:"kubernetesNamespace"`
		ServiceAccount string `yaml:"kubernetesServiceAccount"`
	} `yaml:"scope"`
}

// A platformTest is one check: exactly one of its kinds is set.
type platformTest struct {
	DisplayName   string              `yaml:"displayName"`
	Allowlist     imageAllowlist      `yaml:"imageAllowlist"`
	AlwaysDeny    *bool               `yaml:"alwaysDeny"`
	Freshness     *freshnessCheck     `yaml:"imageFreshnessCheck"`
	Sigstore      *yaml.Node          `yaml:"sigstoreSignatureCheck"`
	SimpleSigning *yaml.Node          `yaml:"simpleSigningAttestationCheck"`
	SLSA          *slsaCheck          `yaml:"slsaCheck"`
	Directory     *directoryCheck     `yaml:"trustedDirectoryCheck"`
	Vulnerability *vulnerabilityCheck `yaml:"vulnerabilityCheck"`
}

type freshnessCheck struct {
	MaxUploadAgeDays int64 `yaml:"maxUploadAgeDays"`
}

type slsaCheck struct {
	Rules []slsaRule `yaml:"rules"`
}

type slsaRule struct {
	TrustedBuilder string   `yaml:"trustedBuilder"`
	Sources        []string `yaml:"trustedSourceRepoPatterns"`
	ConfigBased    bool     `yaml:"configBasedBuildRequired"`
	Constraints    string   `yaml:"customConstraints"`
	Attestations   struct {
		Projects []string `yaml:"containerAnalysisAttestationProjects"`
	} `yaml:"attestationSource"`
}

type directoryCheck struct {
	Patterns []string `yaml:"trustedDirPatterns"`
}

type vulnerabilityCheck struct {
	Fixable   string   `yaml:"maximumFixableSeverity"`
	Unfixable string   `yaml:"maximumUnfixableSeverity"`
	Allowed   []string `yaml:"allowedCves"`
	Blocked   []string `yaml:"blockedCves"`
	Projects  []string `yaml:"containerAnalysisVulnerabilityProjects"`
}

// readPlatform reads a policy whose parts are its check sets.
func readPlatform(source string, n *yaml.Node) ([]document, error) {
	var p platformPolicy
	if err := strict(source, n, &p); err != nil {
		return nil, err
	}
	if len(p.GKE.CheckSets) == 0 {
		return nil, invalid(
			"%s: the platform policy has no check sets, so that it allows every image: there is nothing to import",
			source,
		)
	}

	// A workload outside of every scope is judged by the last set. Without such a set nobody could say what is refused
	// there; Google takes no such policy.
	if p.GKE.CheckSets[len(p.GKE.CheckSets)-1].Scope != nil {
		return nil, invalid("%s: the last check set has a scope, so that other workloads have no check set", source)
	}

	doc := document{source: source, format: "Binary Authorization platform policy"}
	doc.always = func(d *draft) { d.exemption("gkePolicy.imageAllowlist", p.GKE.Allowlist.AllowPattern) }
	for i := range p.GKE.CheckSets {
		path := fmt.Sprintf("gkePolicy.checkSets[%d]", i)
		names := []string{fmt.Sprintf("checkSets[%d]", i)}
		if name := p.GKE.CheckSets[i].DisplayName; name != "" {
			names = append(names, name)
		}
		doc.parts = append(doc.parts, part{names: names, apply: func(d *draft) { p.GKE.CheckSets[i].apply(d, path) }})
	}
	return []document{doc}, nil
}

// apply takes every check of a set: an image has to pass them all.
func (s *checkSet) apply(d *draft, path string) {
	d.exemption(path+".imageAllowlist", s.Allowlist.AllowPattern)

	// What the set says of an image is the same for every workload. What other sets say is noted as not chosen.
	if s.Scope != nil {
		d.note(
			path+".scope",
			LeftOut,
			"",
			"for which workloads the set is evaluated: a policy of this gate governs repositories (--images), and "+
				"what passes may run in any workload",
		)
	}

	// A set is a conjunction: each of its checks tightens the draft.
	directories := false
	for i := range s.Checks {
		c, at := &s.Checks[i], fmt.Sprintf("%s.checks[%d]", path, i)
		if n := c.kinds(); n != 1 {
			d.fail("%s: %s: want one kind of check, found %d", d.source, at, n)
			return
		}

		d.exemption(at+".imageAllowlist", c.Allowlist.AllowPattern)

		switch {
		case c.AlwaysDeny != nil:
			c.deny(d, at)
		case c.Freshness != nil:
			c.Freshness.apply(d, at+".imageFreshnessCheck")
		case c.Sigstore != nil:
			d.note(
				at+".sigstoreSignatureCheck",
				Lost,
				"",
				"a signature on the image: this gate judges signatures on bases and on provenance; keep "+
					"the check in Binary Authorization",
			)
		case c.SimpleSigning != nil:
			// Whose keys these are is not said: an image that their owner never attested must not pass. That the gate
			// makes attestations of this form takes nothing from the requirement.
			d.dsse = set(d, at+".simpleSigningAttestationCheck", true)
			d.note(
				at+".simpleSigningAttestationCheck",
				Lost,
				"",
				"an attestation by one of its keys: this gate makes attestations, and asks for none of others; keep "+
					"the check in Binary Authorization",
			)
		case c.SLSA != nil:
			c.SLSA.apply(d, at+".slsaCheck")
		case c.Directory != nil:
			c.Directory.apply(d, at+".trustedDirectoryCheck", directories)
			directories = true
		case c.Vulnerability != nil:
			c.Vulnerability.apply(d, at+".vulnerabilityCheck")
		}
	}
	s.allow(d, path)
}

// kinds counts what a check is.
func (c *platformTest) kinds() int {
	n := 0
	for _, given := range []bool{
		c.AlwaysDeny != nil, c.Freshness != nil, c.Sigstore != nil, c.SimpleSigning != nil, c.SLSA != nil,
		c.Directory != nil,
		c.Vulnerability != nil,
	} {
		if given {
			n++
		}
	}
	return n
}

func (c *platformTest) deny(d *draft, at string) {
	// The check has no other value. One that is given all the same may deny, too.
	if !*c.AlwaysDeny {
		d.fail("%s: %s.alwaysDeny: false is not a value of this check; remove it", d.source, at)
		return
	}
	d.note(
		at+".alwaysDeny",
		Lost,
		"",
		"the set refuses every image; a policy of this gate judges images. An image that no policy governs is refused",
	)
}

func (c *freshnessCheck) apply(d *draft, path string) {
	// 100 years keep the duration within what the loader reads.
	if c.MaxUploadAgeDays < 1 || c.MaxUploadAgeDays > 36500 {
		d.fail("%s: %s.maxUploadAgeDays: %d; want 1 to 36500", d.source, path, c.MaxUploadAgeDays)
		return
	}

	// Of two checks the younger age is the stricter one.
	if d.maxAge.value == 0 || c.MaxUploadAgeDays < d.maxAge.value {
		d.maxAge = set(d, path, c.MaxUploadAgeDays)
	}
	d.note(path, Carried, "spec.scope.maxUploadAge", "%dd", c.MaxUploadAgeDays)
}

// apply maps directories to the images in them. A second check in the same set wants an image in both lists, and a
// policy has one.
func (c *directoryCheck) apply(d *draft, path string, again bool) {
	if again {
		d.note(
			path,
			Lost,
			"",
			"the set has two checks of directories, and a policy one list of them: merge them by hand",
		)
		return
	}

	before := len(d.directories)

	// A directory that cannot be carried over is left out, which refuses its images.
	for i, pattern := range c.Patterns {
		at := fmt.Sprintf("%s.trustedDirPatterns[%d]", path, i)
		p, err := imagesIn(pattern)
		if err != nil {
			d.note(at, LeftOut, "", "%s is not a pattern of directories that can be carried over: %v",
				quote(pattern), err)
			continue
		}

		d.directories = append(d.directories, set(d, at, p))
		d.note(
			at,
			Carried,
			"spec.scope.trustedDirectories",
			"the images in %s are %s: a policy names repositories",
			quote(pattern),
			p,
		)
	}

	if len(d.directories) == before {
		d.note(path, Lost, "", "no directory could be carried over, so that the check refuses every image")
	}
}

func (c *vulnerabilityCheck) apply(d *draft, path string) {
	fixable, err := attestor.ParseCeiling(c.Fixable)
	unfixable, err2 := attestor.ParseCeiling(c.Unfixable)
	if err != nil || err2 != nil {
		d.fail(
			"%s: %s: maximumFixableSeverity is %s and maximumUnfixableSeverity %s; both are required, from BLOCK_ALL "+
				"to ALLOW_ALL",
			d.source,
			path,
			quote(c.Fixable),
			quote(c.Unfixable),
		)
		return
	}

	d.limit(set(d, path+".maximumFixableSeverity", fixable), set(d, path+".maximumUnfixableSeverity", unfixable))
	d.note(
		path+".maximumFixableSeverity",
		Carried,
		"spec.vulnerabilities.maximumFixableSeverity",
		"up to %s passes; each package is judged by itself",
		fixable,
	)

	d.note(
		path+".maximumUnfixableSeverity",
		Carried,
		"spec.vulnerabilities.maximumUnfixableSeverity",
		"up to %s passes",
		unfixable,
	)

	d.note(
		path,
		Stricter,
		"spec.vulnerabilities",
		"findings without a severity are refused with ALLOW_ALL, too, unless unspecifiedSeverity is allow; "+
			"a scan must be kept up to date",
	)

	// A block that cannot be carried over is lost, since leaving it out would let an image pass.
	for i, id := range c.Blocked {
		at := fmt.Sprintf("%s.blockedCves[%d]", path, i)
		if !cveForm.MatchString(id) {
			d.note(at, Lost, "", "%s is not the id of a vulnerability", quote(id))
			continue
		}
		d.blocked = append(d.blocked, set(d, at, id))
		d.note(at, Carried, "spec.vulnerabilities.blockedCves", "%s", id)
	}
	c.scans(d, path+".containerAnalysisVulnerabilityProjects")
}

// scans compares where scans count. This gate always reads the project of the image, the source only those that it
// names.
func (c *vulnerabilityCheck) scans(d *draft, path string) {
	if len(c.Projects) == 0 {
		// No project is demanded. Google's scanner writes to the project of the image and to no other, and only its
		// own scans count here.
		d.note(path+" is absent", Carried, "spec.vulnerabilities.scan", "scans in the image's own project count")
		return
	}
	others, ok := d.elsewhere(c.Projects)
	if !ok {
		d.note(
			path,
			Lost,
			"",
			"scans count only in %s, and here those in the image's own project count, too: name images of these "+
				"projects only "+
				"(--images us-docker.pkg.dev/PROJECT/**)",
			clipList(c.Projects),
		)
		return
	}

	for _, p := range others {
		d.projects = append(d.projects, set(d, path, p))
	}
	d.note(path, Carried, "spec.vulnerabilities.scan.projects", "the images' own project is among them")
}

// allow keeps the CVEs that every check of vulnerabilities allows and none blocks.
func (s *checkSet) allow(d *draft, path string) {
	var checks []*vulnerabilityCheck
	for i := range s.Checks {
		if v := s.Checks[i].Vulnerability; v != nil {
			checks = append(checks, v)
		}
	}

	if len(checks) == 0 {
		return
	}
	for _, id := range checks[0].Allowed {
		everywhere := !slices.ContainsFunc(checks, func(c *vulnerabilityCheck) bool {
			return !slices.Contains(c.Allowed, id) || slices.Contains(c.Blocked, id)
		})
		if !everywhere {
			d.note(
				path+".allowedCves",
				LeftOut,
				"",
				"%s is blocked, or not allowed by another check of the set",
				quote(id),
			)
			continue
		}

		if cve, ok := d.cve(path+".allowedCves", id); ok {
			d.allowed = append(d.allowed, cve)
		}
	}
}
