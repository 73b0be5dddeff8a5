package corpus

import (
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
)

const teamRule = `
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  rules: [{name: team, expression: '"team" in image.labels && image.labels["team"] != ""', message: "image label team is missing"}]`

const debugRule = `
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  rules: [{name: no-debug, expression: '!("debug" in image.labels)', message: "the image is for debugging"}]`

// provenanced asks for a statement about the image that the key signed.
const provenanced = `
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  provenance: {%s signedBy: {key: $DIR/key.pub}}`

// rules are what policies ask beyond base, user and scan: CEL, scope,
// provenance, exceptions; and images that no policy governs.
func rules() []Case {
	labelled := func(labels string) func(p *Place) {
		return func(p *Place) {
			i := p.Good()
			i.ConfigExtra = `"config":{"User":"65532:65532","Labels":` + labels + `}`
			p.Push(i)
		}
	}

	plain := func(p *Place) { p.Push(p.Good()) }
	const names = "base: {required: false}\n  user: {nonRoot: true}\n  vulnerabilities: {maximumFixableSeverity: " +
		"MEDIUM, maximumUnfixableSeverity: HIGH}"
	out := []Case{
		{Name: "rules/satisfied", Policy: teamRule, Want: admitted(), Arrange: labelled(`{"team":"payments"}`)},
		{Name: "rules/violated", Policy: teamRule, Want: denied(attestor.CodeRuleViolated), Arrange: plain},
		{Name: "rules/a label in another case", Policy: teamRule, Want: denied(attestor.CodeRuleViolated),
			Arrange: labelled(`{"Team":"payments"}`)},
		{Name: "rules/a label that is longer than is read", Policy: teamRule, Want: undecided(attestor.CodeRuleFailed),
			Arrange: labelled(`{"team":"` + strings.Repeat("x", 70_000) + `"}`)},
		{Name: "rules/that cannot be evaluated", Policy: "\n  " + names + `
  rules: [{name: missing, expression: 'image.labels["missing"] == "x"', message: m}]`, Want: undecided(attestor.CodeRuleFailed), Arrange: plain},
		{Name: "rules/out of scope", Policy: "\n  scope: {trustedDirectories: [\"us-docker.pkg.dev/acme/**\"]}\n  " +
			names, Want: denied(attestor.CodeOutOfScope), Arrange: plain},
		{Name: "rules/a directory whose name begins the same", Policy: "\n  scope: {trustedDirectories: [\"" +
			"$REPO-other/**\"]}\n  " + names, Want: denied(attestor.CodeOutOfScope), Arrange: plain},
		{Name: "rules/upload time that nobody knows", Policy: "\n  scope: {maxUploadAge: 30d}\n  " + names,
			Want: undecided(attestor.CodeUploadTimeUnknown), Arrange: plain},
		{Name: "rules/an exception that expired", Policy: "\n  " + names + `
  exceptions: [{check: user, subject: USER_NOT_SET, owner: o, reason: r, expires: 2020-01-01}]`,
			Want: withAdvice(denied(attestor.CodeUserNotSet), attestor.CodeExceptionExpired), Arrange: rootImage},
		{Name: "rules/an exception that ends too far away", Policy: "\n  " + names + `
  exceptionMaxLifetime: 30d
  exceptions: [{check: user, subject: USER_NOT_SET, owner: o, reason: r, expires: 2099-01-01}]`,
			Want: withAdvice(denied(attestor.CodeUserNotSet), attestor.CodeExceptionTooLong), Arrange: rootImage},
		{Name: "rules/an exception for a user named like its subject", Policy: "\n  " + names + `
  exceptions: [{check: user, subject: app, owner: o, reason: r, expires: 2099-01-01}]`, Want: denied(attestor.CodeUserNotSet), Arrange: rootImage},
		{Name: "rules/refused from a later day on", Policy: "\n  base: {required: false}\n" +
			"  user: {nonRoot: {value: true, effectiveFrom: {date: 2999-03-01, owner: platform}}}\n" +
			"  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}",
			Want: withAdvice(admitted(), attestor.CodeUserNotSet), Arrange: rootImage},
		{Name: "rules/refused since an earlier day", Policy: "\n  base: {required: false}\n" +
			"  user: {nonRoot: {value: true, effectiveFrom: {date: 2020-03-01, owner: platform}}}\n" +
			"  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}",
			Want: denied(attestor.CodeUserNotSet), Arrange: rootImage},
		{Name: "rules/a whole policy of a later day",
			Policy: "\n  effectiveFrom: {date: 2999-03-01, owner: platform}\n  " + names,
			Want:   withAdvice(admitted(), attestor.CodeUserNotSet), Arrange: rootImage},
		{Name: "rules/a whole policy of a later day, and a rule that cannot be evaluated",
			Policy: "\n  effectiveFrom: {date: 2999-03-01, owner: platform}\n  " + names + `
  rules: [{name: missing, expression: 'image.labels["missing"] == "x"', message: m}]`, Want: undecided(attestor.CodeRuleFailed), Arrange: plain},
		{Name: "rules/no policy governs", Want: denied(attestor.CodeNoPolicy), Arrange: func(*Place) {}, Send: func(p *Place) []Request {
			return []Request{Attest(p.Host + "/ungoverned/" + p.Name + ":1")}
		}},
		{Name: "rules/no provenance", Policy: fmt.Sprintf(provenanced, "slsaLevel: 1,"), Want: denied(attestor.CodeProvenanceMissing), Arrange: func(p *Place) {
			p.Files["key.pub"] = NewKey().PublicPEM()
			p.Push(p.Good())
		}},
	}
	return append(out, provenance()...)
}

func rootImage(p *Place) {
	i := p.Good()
	i.ConfigExtra = `"config":{}`
	p.Push(i)
}

// provenance are statements that are attached to the image with cosign.
func provenance() []Case {
	key, other := NewKey(), NewKey()
	const builder, source = "https://builder.example/v1", "https://github.com/acme/api"
	statement := func(d attestor.Digest) []byte {
		return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1",`+
			`"predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"x","digest":{"sha256":%q}}],`+
			`"predicate":{"buildDefinition":{"externalParameters":{"workflow":{"repository":%q,`+
			`"ref":"refs/heads/main"}}},"runDetails":{"builder":{"id":%q}}}}`, d.Hex(), source, builder)
	}

	var out []Case
	for _, tt := range []struct {
		name, asks string
		by         Key
		about      func(p *Place, d attestor.Digest) attestor.Digest
		want       Want
	}{
		{"good", "builders: [\"" + builder + "\"], sources: [\"" + source + "\"],", key, nil, admitted()},
		{"another builder", "builders: [\"https://builder.example/v2\"],", key, nil,
			denied(attestor.CodeProvenanceBuilder)},
		{"another source", "sources: [\"https://github.com/acme/web\"],", key, nil,
			denied(attestor.CodeProvenanceSource)},
		{"too low a level", "slsaLevel: 3,", key, nil, denied(attestor.CodeProvenanceLevel)},
		{"by another key", "builders: [\"" + builder + "\"],", other, nil, denied(attestor.CodeProvenanceMissing)},
		{"about another image", "builders: [\"" + builder + "\"],", key, func(*Place, attestor.Digest) attestor.Digest {
			return Sum([]byte("another"))
		}, denied(attestor.CodeProvenanceMissing)},
	} {
		out = append(out, Case{Name: "rules/provenance: " + tt.name, Policy: fmt.Sprintf(provenanced, tt.asks), Want: tt.want, Arrange: func(p *Place) {
			p.Files["key.pub"] = key.PublicPEM()
			i := p.Good()
			m, _ := i.Bytes()
			d := p.Push(i)
			about := d
			if tt.about != nil {
				about = tt.about(p, d)
			}
			s := &signing{p: p, repo: p.Repo, base: d, size: len(m)}
			s.attach("att", tt.by.Envelope(statement(about)))
		}})
	}
	return out
}
