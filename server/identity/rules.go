package identity

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A Rule gives grants to the callers that it matches. Email and Subject are exact;
// every one of Claims must be equal, and every one of Patterns must match: all that is
// given must hold.
type Rule struct {
	Issuer   string // "": Google
	Email    string // counts only where the token says that it is verified
	Subject  string
	Claims   map[string]string
	Patterns map[string]string // by claim; "*" stands for characters other than / : @
	Grants   []attestor.Grant
	Team     string // whose file it stands in; "": it is the configuration's
	Place    string // where it stands, for explanations

	order int // among all rules
}

// Check says what is wrong with a rule: it would match nobody, or anybody, or grant what cannot be granted.
func (t *Tokens) Check(r Rule) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	issuer := cmp.Or(r.Issuer, Google)
	_, known := t.issuers[issuer]
	switch {
	case issuer == IAP && t.iap == nil:
		bad("%s needs iapAudience", IAP)
	case issuer != IAP && !known:
		bad("%s is not among the issuers", issuer)
	}

	if err := r.selective(); err != nil {
		errs = append(errs, err)
	}

	if len(r.Grants) == 0 {
		bad("has no grants")
	}
	for _, g := range r.Grants {
		if len(g.Actions) == 0 || len(g.Images) == 0 {
			bad("has a grant without actions or images")
		}
		for _, a := range g.Actions {
			if !slices.Contains(attestor.Actions(), a) {
				bad("%q is not an action", a)
			} else if issuer == IAP && a != attestor.ActionRead && a != attestor.ActionSimulate {
				bad("an identity of Identity-Aware Proxy can be granted %s and %s only, not %s",
					attestor.ActionRead, attestor.ActionSimulate, a)
			}
		}
	}
	return errs
}

// selective refuses what would match everybody of an issuer.
func (r Rule) selective() error {
	for _, given := range []map[string]string{r.Claims, r.Patterns} {
		for name, value := range given {
			if name == "" || value == "" {
				return errors.New("has a claim without name or value")
			}
		}
	}

	// A claim that strangers' tokens have as well, such as the branch, identifies nobody. An issuer of one's own
	// has no strangers.
	own := !servesEverybody(cmp.Or(r.Issuer, Google))
	anchored := r.Email != "" || r.Subject != "" || slices.ContainsFunc(slices.Collect(maps.Keys(r.Claims)),
		func(name string) bool { return own || !slices.Contains(everybodys(), name) })

	// Anybody can have an account whose name begins like the right one's, and whose domain is another.
	for name, pattern := range r.Patterns {
		before, _, starred := strings.Cut(pattern, "*")
		switch {
		case !starred:
			return fmt.Errorf("patterns.%s: %q has no *: write it under claims", name, pattern)
		case strings.Contains(pattern, "**"):
			return fmt.Errorf(`patterns.%s: %q: "**" does not exist here, * stands for characters other than / : @`,
				name, pattern)
		case name == emailClaim && (emailDomain(pattern) == "" || strings.Contains(emailDomain(pattern), "*")):
			return fmt.Errorf("patterns.email: %q: the domain must be written out, as in *@acme.example", pattern)
		case name == emailClaim && shared(emailDomain(pattern)):
			return fmt.Errorf("patterns.email: %q: everybody has accounts in %s; write the address out under email",
				pattern, emailDomain(pattern))
		case name == emailClaim, identifies(name) && strings.Contains(before, "/"):
			anchored = true
		}
	}
	if !anchored {
		return errors.New("matches everybody: give email, subject, a claim that says who calls (not ref or " +
			"environment, which strangers' tokens have too), or a pattern of email or, up to the first slash " +
			"written out, of " +
			strings.Join(identifying(), ", "))
	}
	return nil
}

// Names of claims that are compared in a way of their own.
const (
	emailClaim   = "email"
	subjectClaim = "sub"
)

// identifying are the claims of which a pattern alone may say who calls: their values begin with what the issuer gave
// to one owner. Others, such as ref, are the same in everybody's tokens.
func identifying() []string {
	return []string{subjectClaim, "repository", "project_path", "job_workflow_ref", "workflow_ref"}
}

// everybodys are the claims that say what an issuer's token is for, or how it was asked for, and not who asked:
// anybody's token can have them. GitHub, "OpenID Connect reference"; GitLab, "OpenID Connect (OIDC) Authentication
// Using ID Tokens". Forks have the same commits, and people and bots start the workflows of others.
func everybodys() []string {
	return []string{
		"aud", "iss", "azp", "jti", "ref", "ref_type", "ref_path", "ref_protected", "head_ref", "base_ref", "environment",
		"environment_protected", "environment_action", "deployment_tier", "event_name", "workflow", "pipeline_source",
		"run_id", "run_number", "run_attempt", "runner_environment", "repository_visibility", "project_visibility",
		"sha", "workflow_sha", "job_workflow_sha", "ci_config_sha", "actor", "actor_id", "user_login", "user_id",
		"user_email", "user_access_level",
	}
}

// servesEverybody reports whether everybody can have tokens of an issuer.
func servesEverybody(issuer string) bool {
	return slices.Contains([]string{Google, "https://token.actions.githubusercontent.com", "https://gitlab.com"},
		issuer)
}

// shared reports whether everybody has accounts in a domain: Google's mail, and the accounts that Google makes for
// every project. Google Cloud, "Types of service accounts".
func shared(domain string) bool {
	domain = strings.ToLower(domain)
	project, made := strings.CutSuffix(domain, ".gserviceaccount.com")
	switch {
	case domain == "gmail.com", domain == "googlemail.com", domain == "gserviceaccount.com":
		return true
	case !made:
		return false
	}

	// PROJECT.iam.gserviceaccount.com is one project's own; gcp-sa-SERVICE stands for an agent of every project.
	own, iam := strings.CutSuffix(project, ".iam")
	return !iam || strings.HasPrefix(own, "gcp-sa-")
}

func identifies(claim string) bool { return slices.Contains(identifying(), claim) }

// emailDomain is what follows the last @, or "".
func emailDomain(address string) string {
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return address[at+1:]
	}
	return ""
}

// matches reports whether the claims have all that the rule gives. A rule that gives
// nothing matches nobody.
func (r Rule) matches(c claims) bool {
	if r.Email == "" && r.Subject == "" && len(r.Claims) == 0 && len(r.Patterns) == 0 {
		return false
	}

	// An email that the issuer did not verify is the caller's own claim, whichever way a rule asks for it.
	_, patterned := r.Patterns[emailClaim]
	_, claimed := r.Claims[emailClaim]
	if (r.Email != "" || patterned || claimed) && !c.verified {
		return false
	}
	if r.Email != "" && c.email != r.Email {
		return false
	}

	// All that the rule gives must hold; a claim that is missing, or is not text, equals nothing.
	if r.Subject != "" && c.Subject != r.Subject {
		return false
	}
	for name, want := range r.Claims {
		if got, ok := c.all[name].(string); !ok || got != want || want == "" {
			return false
		}
	}
	for name, pattern := range r.Patterns {
		if got, ok := c.all[name].(string); !ok || !matchValue(pattern, got) {
			return false
		}
	}
	return true
}

// separators end what a star stands for, so that a pattern for one owner's repositories matches nobody else's.
const separators = "/:@"

// matchValue compares a claim with a pattern. It goes back to one star at most, so that it costs no more than the
// product of both lengths. A star that met a separator cannot take it in, and neither can one before it.
func matchValue(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0 && !strings.ContainsRune(separators, rune(s[mark])):
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}

	// All of s was met. What is left of the pattern must be stars, which may stand for nothing: a prefix is no match.
	return strings.Trim(pattern[p:], "*") == ""
}

// teamOf is whose share a caller uses: the team of the rule that says most exactly who it is, so that no pattern of
// another team takes a caller that is named. Of equals the first counts; the configuration's own come first.
func teamOf(matched []*Rule) string {
	exactness := func(r *Rule) int {
		switch {
		case r.Email != "" || r.Subject != "":
			return 2
		case len(r.Patterns) == 0:
			return 1
		}
		return 0
	}

	team, best := "", -1
	for _, r := range matched {
		if e := exactness(r); e > best {
			team, best = r.Team, e
		}
	}
	return team
}

// Who names the callers that a rule matches, exactly: two rules with the same name match the same callers.
func (r Rule) Who() string {
	issuer := cmp.Or(r.Issuer, Google)
	var parts []string
	for _, c := range []struct{ name, value string }{{"email", r.Email}, {"subject", r.Subject}} {
		if c.value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", c.name, c.value))
		}
	}

	for _, given := range []struct {
		kind   string
		values map[string]string
	}{{"claim", r.Claims}, {"pattern", r.Patterns}} {
		for _, name := range slices.Sorted(maps.Keys(given.values)) {
			parts = append(parts, fmt.Sprintf("%s %q %q", given.kind, name, given.values[name]))
		}
	}

	return strings.Join(parts, ", ") + " of " + issuer
}
