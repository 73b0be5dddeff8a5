package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// An imageSecurityPolicy is an ImageSecurityPolicy. Kritis' types and its resource definition spell two fields
// differently, and versions before 2020 have others; all mean the same.
type imageSecurityPolicy struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   yaml.Node `yaml:"metadata"`
	Status     yaml.Node `yaml:"status"`
	Spec       struct {
		ImageAllowlist            []string `yaml:"imageAllowlist"`
		ImageAllowList            []string `yaml:"imageAllowList"`
		ImageWhitelist            []string `yaml:"imageWhitelist"`
		AttestationAuthorityName  string   `yaml:"attestationAuthorityName"`
		AttestationAuthorityNames []string `yaml:"attestationAuthorityNames"`
		PrivateKeySecretName      string   `yaml:"privateKeySecretName"`
		Requirements              struct {
			MaximumSeverity               string   `yaml:"maximumSeverity"`
			MaximumFixUnavailableSeverity string   `yaml:"maximumFixUnavailableSeverity"`
			AllowlistCVEs                 []string `yaml:"allowlistCVEs"`
			WhitelistCVEs                 []string `yaml:"whitelistCVEs"`
		} `yaml:"packageVulnerabilityRequirements"`
	} `yaml:"spec"`
}

// A vulnzSigningPolicy is a VulnzSigningPolicy, of Kritis' signer.
type vulnzSigningPolicy struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   yaml.Node `yaml:"metadata"`
	Status     yaml.Node `yaml:"status"`
	Spec       struct {
		Requirements struct {
			MaximumFixableSeverity   string   `yaml:"maximumFixableSeverity"`
			MaximumUnfixableSeverity string   `yaml:"maximumUnfixableSeverity"`
			AllowlistCVEs            []string `yaml:"allowlistCVEs"`
		} `yaml:"imageVulnerabilityRequirements"`
	} `yaml:"spec"`
}

// An attestationAuthority names a note, and the keys of those who attest under it.
type attestationAuthority struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   yaml.Node `yaml:"metadata"`
	Status     yaml.Node `yaml:"status"`
	Spec       struct {
		NoteReference        string    `yaml:"noteReference"`
		PrivateKeySecretName string    `yaml:"privateKeySecretName"`
		PublicKeyData        string    `yaml:"publicKeyData"`
		PolicyType           string    `yaml:"policyType"`
		PublicKeys           yaml.Node `yaml:"publicKeys"`
	} `yaml:"spec"`
}

// readKritis reads one resource by its kind.
func readKritis(source, kind string, n *yaml.Node) ([]document, error) {
	if err := bounded(source, n); err != nil {
		return nil, err
	}

	// Kritis has had two groups of its API.
	group, _, _ := strings.Cut(textAt(n, "apiVersion"), "/")
	if group != "kritis.grafeas.io" && group != "kritis.github.com" {
		return nil, invalid(
			"%s:%d: %s of %s is not read; what is read: %s",
			source,
			n.Line,
			quote(kind),
			quote(group),
			formats,
		)
	}

	name := cmp.Or(textAt(at(n, "metadata"), "name"), "without a name")
	doc := document{source: source, format: "Kritis " + kind + " " + plain.Clip(name, 100)}
	switch kind {
	case "ImageSecurityPolicy":
		var p imageSecurityPolicy
		if err := strict(source, n, &p); err != nil {
			return nil, err
		}
		doc.parts = []part{{names: []string{name}, apply: p.apply}}
	case "VulnzSigningPolicy":
		var p vulnzSigningPolicy
		if err := strict(source, n, &p); err != nil {
			return nil, err
		}
		doc.parts = []part{{names: []string{name}, apply: p.apply}}
	case "AttestationAuthority":
		var a attestationAuthority
		if err := strict(source, n, &a); err != nil {
			return nil, err
		}
		doc.always = func(d *draft) { a.apply(d, name) }
	default:
		return nil, invalid("%s:%d: Kritis' %s judges admission, and is not read", source, n.Line, quote(kind))
	}
	return []document{doc}, nil
}

func (p *imageSecurityPolicy) apply(d *draft) {
	const path = "spec.packageVulnerabilityRequirements"
	s := &p.Spec

	// An image that the authority has attested is admitted without a look at its findings: the authority exempts, and
	// refuses nothing.
	d.exemption("spec.imageAllowlist", slices.Concat(s.ImageAllowlist, s.ImageAllowList, s.ImageWhitelist))
	if names := append([]string{s.AttestationAuthorityName}, s.AttestationAuthorityNames...); strings.Join(
		names,
		"",
	) != "" {
		d.note(
			"spec.attestationAuthorityName",
			LeftOut,
			"",
			"%s: an attestor of Binary Authorization takes its place; name it with --attestor",
			clipList(slices.DeleteFunc(names, func(n string) bool { return n == "" })),
		)
	}

	if s.PrivateKeySecretName != "" {
		d.note(
			"spec.privateKeySecretName",
			LeftOut,
			"",
			"this gate signs with Cloud KMS or a key file, which attestor.yaml names",
		)
	}

	r := &s.Requirements
	kritisLimits(d, threshold{path + ".maximumSeverity", r.MaximumSeverity},
		threshold{path + ".maximumFixUnavailableSeverity", r.MaximumFixUnavailableSeverity})
	kritisCVEs(d, path+".allowlistCVEs", r.AllowlistCVEs)
	if len(r.WhitelistCVEs) > 0 {
		d.note(
			path+".whitelistCVEs",
			LeftOut,
			"",
			"Kritis has not read the field since 2020: %s; write allowlistCVEs if they are meant",
			clipList(r.WhitelistCVEs),
		)
	}
}

func (p *vulnzSigningPolicy) apply(d *draft) {
	const path = "spec.imageVulnerabilityRequirements"
	r := &p.Spec.Requirements
	kritisLimits(d, threshold{path + ".maximumFixableSeverity", r.MaximumFixableSeverity},
		threshold{path + ".maximumUnfixableSeverity", r.MaximumUnfixableSeverity})
	kritisCVEs(d, path+".allowlistCVEs", r.AllowlistCVEs)
}

func (a *attestationAuthority) apply(d *draft, name string) {
	d.note(
		"spec",
		LeftOut,
		"",
		"the authority %s with the note %s: an attestor of Binary Authorization takes its place; name it "+
			"with --attestor",
		quote(name),
		quote(a.Spec.NoteReference),
	)
}

// A threshold is one limit of Kritis with its field.
type threshold struct{ path, word string }

// ceiling is the limit in the words of this gate. An absent one has Kritis' default.
func (t threshold) ceiling(d *draft, absent attestor.Ceiling) said[attestor.Ceiling] {
	if t.word == "" {
		return set(d, t.path+" is absent", absent)
	}

	// A maximum of the severity 0 lets findings without a severity pass, and no others.
	if t.word == "SEVERITY_UNSPECIFIED" {
		return set(d, t.path, attestor.BlockAll)
	}
	limit, err := attestor.ParseCeiling(t.word)
	if err != nil {
		d.fail("%s: %s: %v", d.source, t.path, err)
		return set(d, t.path, attestor.BlockAll)
	}
	return set(d, t.path, limit)
}

// kritisLimits maps both limits. Kritis has one fixable mark for all packages of a finding, set only if each has a fix,
// and the severity of the worst: a package with a fix is judged by the limit for no fix if another package has none.
// Where that limit is the lower one, it has to hold for both.
func kritisLimits(d *draft, fix, noFix threshold) {
	// Kritis' defaults: up to CRITICAL with a fix, everything without.
	fixable, unfixable := fix.ceiling(d, attestor.Ceiling(attestor.Critical)), noFix.ceiling(d, attestor.AllowAll)
	lower := stricter(fixable.value, unfixable.value)
	if lower != fixable.value {
		d.note(
			fix.path,
			Stricter,
			"spec.vulnerabilities.maximumFixableSeverity",
			"%s, not %s: Kritis judges a package with a fix by the limit for "+
				"no fix if another package of the same CVE has none",
			lower,
			fixable.value,
		)
		fixable = unfixable
	} else {
		d.note(fix.path, Carried, "spec.vulnerabilities.maximumFixableSeverity", "up to %s passes", fixable.value)
	}

	d.note(noFix.path, Carried, "spec.vulnerabilities.maximumUnfixableSeverity", "up to %s passes", unfixable.value)
	d.note(
		"spec",
		Stricter,
		"spec.vulnerabilities",
		"findings without a severity pass every limit of Kritis but BLOCK_ALL, and are refused here; "+
			"a scan must be kept up to date, and not only be finished",
	)
	d.limit(fixable, unfixable)
}

// kritisCVEs carries over what can have had an effect: Kritis compares whole names of notes, and an exception is about
// the id. It is only written for an owner and until a day that somebody gave for it, and is said in the output.
func kritisCVEs(d *draft, path string, names []string) {
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		id, ok := strings.CutPrefix(name, "projects/goog-vulnz/notes/")
		switch {
		case !strings.HasPrefix(name, "projects/"):
			d.note(at, LeftOut, "", "%s matches nothing in Kritis: names of notes begin with projects/", quote(name))
		case !ok:
			d.note(
				at,
				LeftOut,
				"",
				"%s is a note of another project; an exception of this gate would excuse the CVE under every note",
				quote(name),
			)
		default:
			if cve, ok := d.cve(at, id); ok {
				d.allowed = append(d.allowed, cve)
			}
		}
	}
}
