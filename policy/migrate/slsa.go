package migrate

import (
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// googleBuilder is the builder of Cloud Build, by its id in statements.
const googleBuilder = "https://cloudbuild.googleapis.com/GoogleHostedWorker"

// apply carries a check with one rule. Several rules are alternatives: they are one only if they differ in their
// sources alone.
func (c *slsaCheck) apply(d *draft, path string) {
	if len(c.Rules) == 0 || len(d.builders) > 0 {
		d.note(
			path,
			Lost,
			"",
			"%s, beside another check of provenance: a policy has one list of builders and sources",
			describe.Plural(len(c.Rules), "rule"),
		)
		return
	}

	var sources []said[string]
	for i := range c.Rules {
		r, at := &c.Rules[i], fmt.Sprintf("%s.rules[%d]", path, i)
		if !r.alike(&c.Rules[0]) {
			d.note(
				at,
				Lost,
				"",
				"the rules are alternatives that differ in more than their sources: make a policy for each",
			)
			return
		}

		own, ok := r.sources(d, at)
		if !ok {
			return
		}
		sources = append(sources, own...)
	}

	// All rules agree: their sources together are the list.
	d.builders, d.sources = []said[string]{set(d, path+".rules[0].trustedBuilder", googleBuilder)}, distinct(sources)
	d.note(
		path+".trustedBuilder",
		Stricter,
		"spec.provenance.builders",
		"the builder %s; other builders of Cloud Build are refused",
		googleBuilder,
	)

	d.note(
		path+".configBasedBuildRequired",
		Stricter,
		"spec.provenance.sources",
		"a build without a configuration from a repository is always refused",
	)

	d.note(
		path+".trustedSourceRepoPatterns",
		Stricter,
		"spec.provenance.sources",
		"the repository that the build was configured from, by https only",
	)
}

// alike reports whether two rules demand the same, whatever their sources.
func (r *slsaRule) alike(o *slsaRule) bool {
	return r.TrustedBuilder == o.TrustedBuilder && r.Constraints == o.Constraints &&
		strings.Join(r.Attestations.Projects, " ") == strings.Join(o.Attestations.Projects, " ")
}

// sources are the patterns of one rule; ok is false where the rule demands what a policy cannot.
func (r *slsaRule) sources(d *draft, path string) (out []said[string], ok bool) {
	switch {
	case r.TrustedBuilder != "GOOGLE_CLOUD_BUILD":
		d.fail("%s: %s.trustedBuilder: %s is not known", d.source, path, quote(r.TrustedBuilder))
		return nil, false
	case r.Constraints != "":
		d.note(
			path+".customConstraints",
			Lost,
			"",
			"a CEL expression over the statement: rewrite it as a rule over provenance: %s",
			quote(r.Constraints),
		)
		return nil, false
	case len(r.Sources) == 0:
		d.note(path, Lost, "", "no trusted source repositories, so that the rule refuses every image, or none")
		return nil, false
	}

	// Statements are read from the project of the image only.
	if projects := r.Attestations.Projects; len(projects) > 0 {
		if _, within := d.elsewhere(projects); !within {
			d.note(
				path+".attestationSource",
				Lost,
				"",
				"statements count only in %s, and here those in the image's own project: name images of these "+
					"projects only (--images us-docker.pkg.dev/PROJECT/**)",
				clipList(projects),
			)
			return nil, false
		}
		d.note(path+".attestationSource", Stricter, "", "statements are read from the project of the image")
	}

	// A source that cannot be carried over is left out, which refuses its builds.
	for i, pattern := range r.Sources {
		at := fmt.Sprintf("%s.trustedSourceRepoPatterns[%d]", path, i)
		p, err := sourcePattern(pattern)
		if err != nil {
			d.note(at, LeftOut, "", "%s cannot be carried over: %v", quote(pattern), err)
			continue
		}
		out = append(out, set(d, at, p))
	}

	if len(out) == 0 {
		d.note(
			path+".trustedSourceRepoPatterns",
			Lost,
			"",
			"no source could be carried over, so that the rule refuses every image",
		)
		return nil, false
	}
	return out, true
}

// sourcePattern is a pattern of repositories with the scheme that statements of Cloud Build have. "*" and "**" stand
// only at the end, after a slash.
func sourcePattern(pattern string) (string, error) {
	body := strings.TrimSuffix(strings.TrimSuffix(pattern, "/**"), "/*")
	if strings.Contains(body, "*") || body == "" {
		return "", invalid("a wildcard stands only at the end, after a slash")
	}
	if strings.Contains(pattern, "://") {
		return "", invalid("a pattern has no scheme")
	}

	// "**" matches at least one segment there, and none as well here.
	out := pattern
	if rest, ok := strings.CutSuffix(pattern, "/**"); ok {
		out = rest + "/*/**"
	}
	_, err := attestor.ParsePattern(out)
	return "https://" + out, err
}

// imagesIn turns a pattern of directories into one of the images that lie in them. A directory is all of a name but
// its last segment.
func imagesIn(pattern string) (attestor.Pattern, error) {
	host, rest, ok := strings.Cut(pattern, "/")
	domain := strings.TrimPrefix(host, "*")
	switch {
	case !ok || rest == "":
		return attestor.Pattern{}, invalid("it has no path")
	case strings.Contains(domain, "*") || host != domain && !strings.HasPrefix(domain, ".") &&
		!strings.HasPrefix(domain, "-"):
		return attestor.Pattern{}, invalid(
			"a wildcard in the registry stands only at its beginning, before a dot or a hyphen",
		)
	case !strings.Contains(strings.Trim(domain, "."), "."):
		return attestor.Pattern{}, invalid("the registry has fewer than two words")
	}

	body := strings.TrimRight(rest, "*")
	stars := len(rest) - len(body)
	if strings.Contains(body, "*") || stars > 2 {
		return attestor.Pattern{}, invalid("a wildcard in the path stands only at its end")
	}

	// "**" crosses slashes. After a slash it stands for one segment at least.
	if stars < 2 {
		return attestor.ParsePattern(pattern + "/*")
	}
	return attestor.ParsePattern(host + "/" + body + "*/**/*")
}
