package posture_test

import (
	"fmt"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestConditionsForStrangers: a condition restricts if no token of a stranger at the same issuer can meet it. A stranger has any name but
// the owner's, any repository, branch, event and environment; what a text ends with or contains is theirs to choose.
func TestConditionsForStrangers(t *testing.T) {
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	for want, conditions := range map[attestor.Status][]string{
		deny: {
			// Everybody but one is everybody.
			"assertion.repository_owner != 'evil'", "!(assertion.repository_owner == 'evil')", "!(assertion.repository in ['evil/x'])",
			"assertion.event_name != 'pull_request'", "!(assertion.event_name == 'pull_request')", "assertion.repository_owner == 'acme' ? false : true",
			// "acme-evil" begins with "acme", and a repository of anybody ends with "/app".
			"assertion.repository.startsWith('acme')", "assertion.repository_owner.startsWith('acme')", "assertion.repository.endsWith('/app')",
			"assertion.repository.contains('acme/app')", "assertion.sub.startsWith('repo:acme')", "assertion.sub.contains('acme/app')",
			"assertion.sub.endsWith(':ref:refs/heads/main')", "assertion.email.endsWith('acme.example')", "assertion.email.contains('@acme.example')",
			// A pattern without an anchor, or with a free owner.
			"assertion.repository.matches('acme/.*')", "assertion.repository.matches('^acme.*')", "assertion.repository.matches('^(acme|.*)/app$')",
			"assertion.repository.matches('^[a-z]+/app$')", "assertion.sub.matches('repo:acme/.*')", "assertion.repository_owner.matches('acme')",
			"assertion.sub.matches('^repo:(acme|other)')", "assertion.repository.matches('(')",
			// Every token has one.
			"has(assertion.repository)", "size(assertion.repository) > 0", "assertion.repository_owner_id > '0'",
			"assertion.repository_owner == assertion.actor",
			// Ids of strangers have the same digits.
			"assertion.repository_owner_id.startsWith('1')", "assertion.repository_owner_id.contains('23')",
			"assertion.repository_owner_id.matches('^[0-9]+$')", "assertion.tid.matches('^[0-9a-f-]{36}$')", "assertion.team.endsWith('er')",
			"assertion.repository.split('/')[1] == 'app'", "attribute.trusted == false", "attribute.ours.endsWith('x')",
		},
		pass: {
			"'acme' == assertion.repository_owner", "assertion.repository in ['acme/a', 'acme/b']",
			"has(assertion.sub) && assertion.repository_owner == 'acme'",
			"assertion.repository_owner == 'acme' ? true : false",
			"assertion.repository_owner.lowerAscii() == 'acme'", "assertion.repository.split('/')[0] == 'acme'",
			"assertion.sub.split(':')[1] == 'acme/app'", "assertion.sub.extract('repo:{owner}/') == 'acme'", "assertion.repository.startsWith('acme/')",
			"assertion.sub.startsWith('repo:acme/')", "assertion.sub.startsWith('organization:acme:')", "assertion.sub.startsWith('system:serviceaccount:ci:')",
			"assertion.repository.matches('^acme/.*$')", "assertion.repository.matches('^(acme|other)/app$')", "assertion.sub.matches('^repo:acme/(a|b):.*')",
			"assertion.email.endsWith('@acme.example')", "assertion.email == 'ci@acme.example'", "'admins' in assertion.groups", "attribute.trusted",
			"attribute.trusted == true",
			"assertion.repository_owner_id.matches('^(9919|1342004)$')", "assertion.arn.startsWith('arn:aws:sts::123456789012:')",
			"assertion.tid.contains('5f3d9c1e-7a42')", "attribute.ours == 'acme/app:main'", "!(assertion.repository_owner != 'acme')",
		},
	} {
		for _, condition := range conditions {
			p := plan(resource("google_iam_workload_identity_pool_provider", "p", fmt.Sprintf(`{"attribute_condition": %q,
			  "oidc": [{"issuer_uri": "https://token.example"}],
  "attribute_mapping": {"attribute.trusted": "assertion.repository_owner == 'acme'",
  "attribute.ours": "assertion.repository + ':' + assertion.ref"}}`, condition)))
			if got := worst(hipaa(t, p), "KEYLESS"); got != want {
				t.Errorf("%s: %s, want %s", condition, got, want)
			}
		}
	}
}
