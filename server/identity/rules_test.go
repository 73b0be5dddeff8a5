package identity_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

func grants(t testing.TB) []attestor.Grant {
	t.Helper()
	p, err := attestor.ParsePattern("r.example/**")
	if err != nil {
		t.Fatal(err)
	}
	return []attestor.Grant{{Actions: []attestor.Action{attestor.ActionAttest}, Images: []attestor.Pattern{p}}}
}

// A star stands for characters other than / : @, and a rule of patterns matches nobody else.
func TestPatternsOfClaims(t *testing.T) {
	for _, tt := range []struct {
		name     string
		patterns map[string]string
		with     claims
		want     bool
	}{
		{"an email", map[string]string{"email": "*@acme.example"}, claims{"email": "a@acme.example"}, true},
		{"the middle of an email", map[string]string{"email": "ci-*-prod@acme.example"}, claims{"email": "ci-x-prod@acme.example"}, true},
		{"another domain", map[string]string{"email": "*@acme.example"}, claims{"email": "a@acme.example.evil.example"}, false},
		{"two ats", map[string]string{"email": "*@acme.example"}, claims{"email": "a@evil.example@acme.example"}, false},
		{"a subdomain", map[string]string{"email": "*@acme.example"}, claims{"email": "a@sub.acme.example"}, false},
		{"not verified", map[string]string{"email": "*@acme.example"}, claims{"email": "a@acme.example", "email_verified": false}, false},
		{"another case", map[string]string{"email": "*@acme.example"}, claims{"email": "a@ACME.example"}, false},
		{"a repository", map[string]string{"repository": "acme/pay-*"}, claims{"repository": "acme/pay-api"}, true},
		{"an empty star", map[string]string{"repository": "acme/pay-*"}, claims{"repository": "acme/pay-"}, true},
		{"another owner", map[string]string{"repository": "acme/*"}, claims{"repository": "acme-evil/pay"}, false},
		{"a deeper path", map[string]string{"repository": "acme/*"}, claims{"repository": "acme/pay/x"}, false},
		{"a list", map[string]string{"repository": "acme/*"}, claims{"repository": []string{"acme/pay"}}, false},
		{"no such claim", map[string]string{"repository": "acme/*"}, claims{}, false},
		{"two patterns", map[string]string{"repository": "acme/*", "environment": "prod-*"}, claims{"repository": "acme/a", "environment": "prod-1"}, true},
		{"one of two", map[string]string{"repository": "acme/*", "environment": "prod-*"}, claims{"repository": "acme/a", "environment": "test"}, false},
		{"any value, and none", map[string]string{"repository": "acme/*", "ref": "*"}, claims{"repository": "acme/a"}, false},
		{"any value, and one", map[string]string{"repository": "acme/*", "ref": "*"}, claims{"repository": "acme/a", "ref": "main"}, true},
		{"a subject", map[string]string{"sub": "repo:acme/*:environment:prod"}, claims{"sub": "repo:acme/pay:environment:prod"}, true},
		{"a subject's other part", map[string]string{"sub": "repo:acme/*:environment:prod"}, claims{"sub": "repo:acme/pay:ref:x:environment:prod"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, func(c *identity.Config) {
				c.Rules = []identity.Rule{{Patterns: tt.patterns, Grants: grants(t)}}
			})
			c, err := h.verifier.Authenticate(request(sign(t, jose.RS256, h.google, "g1", good(tt.with))))
			if (err == nil) != tt.want || c.MayAnywhere(attestor.ActionAttest) != tt.want {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
}

// TestAnEmailCountsOnlyIfItIsVerified, whichever way a rule asks for it.
func TestAnEmailCountsOnlyIfItIsVerified(t *testing.T) {
	for name, rule := range map[string]identity.Rule{
		"email":              {Email: "boss@acme.example"},
		"claims":             {Claims: map[string]string{"email": "boss@acme.example"}},
		"claims beside hd":   {Claims: map[string]string{"email": "boss@acme.example", "hd": "acme.example"}},
		"patterns":           {Patterns: map[string]string{"email": "b*@acme.example"}},
		"patterns and claim": {Claims: map[string]string{"hd": "acme.example"}, Patterns: map[string]string{"email": "b*@acme.example"}},
	} {
		for _, verified := range []any{true, false, "true", nil} {
			h := newHouse(t, func(c *identity.Config) {
				rule.Grants = grants(t)
				c.Rules = []identity.Rule{rule}
			})
			token := good(claims{"email": "boss@acme.example", "hd": "acme.example", "email_verified": verified})
			c, err := h.verifier.Authenticate(request(sign(t, jose.RS256, h.google, "g1", token)))
			if want := verified == true; (err == nil) != want || c.MayAnywhere(attestor.ActionAttest) != want {
				t.Errorf("%s, verified %v: %v, %v", name, verified, c, err)
			}
		}
	}
}

// What would match everybody of an issuer is refused, and so is a pattern that was meant otherwise.
func TestPatternsThatAreRefused(t *testing.T) {
	h := newHouse(t, nil)
	for _, tt := range []struct {
		name string
		rule identity.Rule
		want string // "": it is accepted
	}{
		{"a repository", identity.Rule{Patterns: map[string]string{"repository": "acme/*"}}, ""},
		{"beside a claim", identity.Rule{Claims: map[string]string{"repository_id": "1"}, Patterns: map[string]string{"ref": "refs/heads/*"}}, ""},
		{"an email", identity.Rule{Patterns: map[string]string{"email": "*@acme.example"}}, ""},
		{"anybody's branches", identity.Rule{Patterns: map[string]string{"ref": "refs/heads/*"}}, "matches everybody"},
		{"anybody's repository", identity.Rule{Patterns: map[string]string{"repository": "*/pay"}}, "matches everybody"},
		{"owners that begin alike", identity.Rule{Patterns: map[string]string{"repository": "acme*/pay"}}, "matches everybody"},
		{"anybody's subject", identity.Rule{Patterns: map[string]string{"sub": "repo:*/pay:ref:refs/heads/main"}}, "matches everybody"},
		{"anybody's environment", identity.Rule{Claims: map[string]string{"environment": "production"}}, "matches everybody"},
		{"anybody's branch and environment", identity.Rule{
			Claims: map[string]string{"environment": "production", "ref": "refs/heads/main", "event_name": "push"},
		}, "matches everybody"},
		{"anybody's branches in an environment", identity.Rule{
			Claims: map[string]string{"environment": "production"}, Patterns: map[string]string{"ref": "refs/heads/*"},
		}, "matches everybody"},
		{"anybody's run that a bot started", identity.Rule{Claims: map[string]string{"actor": "dependabot[bot]"}}, "matches everybody"},
		{"anybody's run that a person started", identity.Rule{Claims: map[string]string{"actor_id": "1", "user_login": "a"}}, "matches everybody"},
		{"a commit, which forks have", identity.Rule{
			Claims: map[string]string{"sha": strings.Repeat("a", 40), "job_workflow_sha": strings.Repeat("b", 40)},
		}, "matches everybody"},
		{"a run of a repository that a bot started", identity.Rule{
			Claims: map[string]string{"actor": "dependabot[bot]", "repository_id": "1"},
		}, ""},
		{"an environment of a repository", identity.Rule{
			Claims: map[string]string{"environment": "production", "repository_id": "1"},
		}, ""},
		{"an environment of one's own issuer", identity.Rule{
			Issuer: github, Claims: map[string]string{"environment": "production"},
		}, ""},
		{"an organisation", identity.Rule{Claims: map[string]string{"hd": "acme.example"}}, ""},
		{"accounts of one project", identity.Rule{Patterns: map[string]string{"email": "*@acme.iam.gserviceaccount.com"}}, ""},
		{"everybody's mail", identity.Rule{Patterns: map[string]string{"email": "*@gmail.com"}}, "everybody has accounts"},
		{"everybody's mail by its other name", identity.Rule{Patterns: map[string]string{"email": "*@googlemail.com"}}, "everybody has accounts"},
		{"everybody's mail in capitals", identity.Rule{Patterns: map[string]string{"email": "*@GMail.com"}}, "everybody has accounts"},
		{"everybody's accounts", identity.Rule{Patterns: map[string]string{"email": "*@gserviceaccount.com"}}, "everybody has accounts"},
		{"a claim that is no email", identity.Rule{Patterns: map[string]string{"sub": "acme/*@gmail.com"}}, ""},
		{"every project's machines", identity.Rule{
			Patterns: map[string]string{"email": "*@developer.gserviceaccount.com"},
		}, "everybody has accounts"},
		{"every project's builds", identity.Rule{
			Patterns: map[string]string{"email": "*@cloudbuild.gserviceaccount.com"},
		}, "everybody has accounts"},
		{"every project's agents", identity.Rule{
			Patterns: map[string]string{"email": "service-*@gcp-sa-cloudbuild.iam.gserviceaccount.com"},
		}, "everybody has accounts"},
		{"any domain", identity.Rule{Patterns: map[string]string{"email": "a@*"}}, "domain must be written out"},
		{"part of a domain", identity.Rule{Patterns: map[string]string{"email": "a@*.example"}}, "domain must be written out"},
		{"no domain", identity.Rule{Patterns: map[string]string{"email": "*"}}, "domain must be written out"},
		{"no star", identity.Rule{Patterns: map[string]string{"repository": "acme/pay"}}, "has no *"},
		{"two stars", identity.Rule{Patterns: map[string]string{"repository": "acme/**"}}, "does not exist here"},
		{"no value", identity.Rule{Patterns: map[string]string{"repository": ""}}, "without name or value"},
		{"no name", identity.Rule{Patterns: map[string]string{"": "acme/*"}}, "without name or value"},
	} {
		tt.rule.Grants = grants(t)
		errs := h.verifier.Check(tt.rule)
		if tt.want == "" && len(errs) > 0 || tt.want != "" && (len(errs) == 0 || !strings.Contains(errs[0].Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, errs, tt.want)
		}
	}
}

// An identity that the proxy vouches for may read and simulate, and nothing else.
func TestProxiedCallersMayRead(t *testing.T) {
	h := newHouse(t, nil)
	for _, a := range attestor.Actions() {
		r := identity.Rule{Issuer: identity.IAP, Email: "auditor@acme.example", Grants: grants(t)}
		r.Grants[0].Actions = []attestor.Action{a}
		want := a == attestor.ActionRead || a == attestor.ActionSimulate
		if errs := h.verifier.Check(r); (len(errs) == 0) != want {
			t.Errorf("%s: %v", a, errs)
		}
	}
}

// Patterns match what a regular expression of the same meaning matches.
func TestPatternsAgainstRegularExpressions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(alphabet string, most int) string {
		var b strings.Builder
		for range random.IntN(most) {
			b.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}

	matched := 0
	for range 20_000 {
		pattern, value := text("ab/:*", 8), text("ab/:@", 8)
		re := regexp.MustCompile(`\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^/:@]*`) + `\z`)
		want := re.MatchString(value)
		if want {
			matched++
		}
		if got := identity.MatchValueForTest(pattern, value); got != want {
			t.Fatalf("%q of %q: %v, want %v", pattern, value, got, want)
		}
	}
	if matched < 100 {
		t.Errorf("only %d matched: this proves little", matched)
	}
}

// The index finds the rules that looking at every one finds, in the same order, and looks at few.
func TestTheIndexFindsWhatASearchFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var rules []identity.Rule
	for n := range 2000 {
		r := identity.Rule{Grants: grants(t), Place: fmt.Sprint(n)}
		switch random.IntN(5) {
		case 0:
			r.Email = pick("a", "b", "c") + "@" + pick("x", "y") + ".example"
		case 1:
			r.Subject = pick("s1", "s2", "s3")
		case 2:
			r.Claims = map[string]string{"environment": "production", "repository": pick("acme/a", "acme/b", "other/a")}
		case 3:
			r.Patterns = map[string]string{"repository": pick("acme/*", "acme/a*", "other/*")}
		case 4:
			r.Patterns = map[string]string{"email": pick("*@x.example", "a*@x.example", "*@y.example")}
		}
		if random.IntN(4) == 0 {
			r.Issuer = "https://token.actions.githubusercontent.com"
		}
		rules = append(rules, r)
	}

	// Forms that chance makes rarely or not at all: each must be found, and once.
	rules = append(rules,
		identity.Rule{
			Claims: map[string]string{"environment": "production"}, Patterns: map[string]string{"repository": "acme/*"}, Place: "both",
		},
		identity.Rule{Patterns: map[string]string{"ref": "*-release"}, Place: "a star first"},
		identity.Rule{Patterns: map[string]string{"email": "*@z.example"}, Place: "an empty name"},
	)
	special := map[string]any{
		"environment": "production", "repository": "acme/zz", "ref": "v1-release", "email": "@z.example", "email_verified": true,
	}
	if got, want := identity.MatchForTest(rules, identity.Google, special); len(want) < 3 || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}

	found := 0
	for range 200 {
		token := map[string]any{"sub": pick("s1", "s4"), "email": pick("a", "b", "z") + "@" + pick("x", "y", "z") + ".example",
			"email_verified": random.IntN(4) > 0, "environment": pick("production", "test"), "repository": pick("acme/a", "acme/b", "nobody/a")}
		issuer := pick(identity.Google, "https://token.actions.githubusercontent.com")
		got, want := identity.MatchForTest(rules, issuer, token)
		found += len(want)
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("%v of %s: %v, want %v", token, issuer, got, want)
		}
	}
	if found == 0 {
		t.Error("nothing matched: this proves nothing")
	}
}

// A rule is filed under its rarest demand, so that a token meets few rules however many there are: 50,000 that ask for the
// same environment, and 50,000 patterns of one owner's repositories.
func TestATokenMeetsFewRules(t *testing.T) {
	var rules []identity.Rule
	for n := range 50_000 {
		rules = append(rules,
			identity.Rule{Claims: map[string]string{"environment": "production", "repository_id": fmt.Sprint(n)}},
			identity.Rule{Patterns: map[string]string{"repository": fmt.Sprintf("acme/team-%05d-*", n)}},
			identity.Rule{Patterns: map[string]string{"email": fmt.Sprintf("*@team-%05d.example", n)}},
			identity.Rule{Patterns: map[string]string{"email": fmt.Sprintf("ci-%05d-*@acme.example", n)}},
			identity.Rule{Patterns: map[string]string{"ref": "v*", "a": "x*", "sub": fmt.Sprintf("repo:acme/%05d-*", n), "z": "x*"}})
	}
	for email, want := range map[string]int{"ci@team-00042.example": 4, "ci-00007-x@acme.example": 4, "ci@other.example": 3} {
		token := map[string]any{
			"environment": "production", "repository_id": "777", "repository": "acme/team-00042-api", "sub": "repo:acme/00042-x",
			"ref": "v1", "a": "x", "z": "x", "email": email, "email_verified": true,
		}
		if met := identity.MetForTest(rules, identity.Google, token); met != want {
			t.Errorf("the token of %s meets %d rules, want the %d that match it", email, met, want)
		}
	}
}

// A caller's team is the one that names it most exactly, whatever another team's pattern covers.
func TestTheTeamOfACaller(t *testing.T) {
	email := identity.Rule{Email: builder, Team: "named"}
	claim := identity.Rule{Claims: map[string]string{"hd": "acme"}, Team: "claimed"}
	like := identity.Rule{Patterns: map[string]string{"email": "*@" + strings.SplitN(builder, "@", 2)[1]}, Team: "alike"}
	subject := identity.Rule{Subject: "113774264463038321964", Team: "numbered"}
	own := identity.Rule{Email: builder}
	for _, tt := range []struct {
		name  string
		rules []identity.Rule
		want  string
	}{
		{"named", []identity.Rule{like, claim, email}, "named"},
		{"claimed", []identity.Rule{like, claim}, "claimed"},
		{"named by the subject", []identity.Rule{like, claim, subject}, "numbered"},
		{"named, of two", []identity.Rule{claim, subject, email}, "numbered"},
		{"alike", []identity.Rule{like}, "alike"},
		{"the configuration's own", []identity.Rule{own}, ""},
		{"of equals the first", []identity.Rule{own, email}, ""},
	} {
		h := newHouse(t, func(c *identity.Config) { c.Rules, c.NoRules = nil, true })
		for i := range tt.rules {
			tt.rules[i].Grants = grants(t)
		}
		h.verifier.SetTeams(tt.rules)
		c, err := h.verifier.Authenticate(request(sign(t, jose.RS256, h.google, "g1", good(claims{"hd": "acme"}))))
		if err != nil || c.Team != tt.want || len(c.Grants) != len(tt.rules) {
			t.Errorf("%s: team %q, %d grants, %v; want %q", tt.name, c.Team, len(c.Grants), err, tt.want)
		}
	}
}

// Teams' rules take the place of those from before, and the configuration's stay.
func TestTeamsAreReplaced(t *testing.T) {
	h := newHouse(t, nil)
	token := func(email string) string { return sign(t, jose.RS256, h.google, "g1", good(claims{"email": email})) }
	team := []identity.Rule{{Email: "pay@acme.example", Grants: grants(t), Team: "pay"}}
	for _, step := range []struct {
		rules []identity.Rule
		may   bool
	}{{nil, false}, {team, true}, {nil, false}} {
		h.verifier.SetTeams(step.rules)
		if _, err := h.verifier.Authenticate(request(token("pay@acme.example"))); (err == nil) != step.may {
			t.Errorf("a team's caller with %d rules: %v", len(step.rules), err)
		}
		if _, err := h.verifier.Authenticate(request(token(builder))); err != nil {
			t.Errorf("the configuration's caller with %d rules: %v", len(step.rules), err)
		}
	}
}

// Who is the same for rules that match the same callers, and for no others.
func TestWhoIsOneName(t *testing.T) {
	different := []identity.Rule{
		{Email: "a"}, {Subject: "a"}, {Email: "a", Issuer: "https://i.example"}, {Claims: map[string]string{"email": "a"}},
		{Patterns: map[string]string{"email": "a"}}, {Claims: map[string]string{"a": "b", "c": "d"}}, {Claims: map[string]string{"a": `b", claim "c" "d`}},
		{Claims: map[string]string{"a": "b"}, Patterns: map[string]string{"c": "d"}},
	}
	seen := map[string]int{}
	for n, r := range different {
		if m, twice := seen[r.Who()]; twice {
			t.Errorf("%d and %d are both %s", n, m, r.Who())
		}
		seen[r.Who()] = n
	}
	if (identity.Rule{Email: "a"}).Who() != (identity.Rule{Email: "a", Issuer: identity.Google, Team: "t"}).Who() {
		t.Error("Google by name and by default are two")
	}
}

// BenchmarkATokenAmongFiftyThousand is an answer's part of matching, with 5,000 teams of ten callers.
func BenchmarkATokenAmongFiftyThousand(b *testing.B) {
	var rules []identity.Rule
	for n := range 50_000 {
		r := identity.Rule{Email: fmt.Sprintf("ci-%d@acme-%d.iam.gserviceaccount.com", n, n%5000)}
		if n%10 == 0 {
			r = identity.Rule{Patterns: map[string]string{"repository": fmt.Sprintf("acme/team-%05d-*", n)}}
		}
		rules = append(rules, r)
	}
	token := map[string]any{"email": "ci-4321@acme-4321.iam.gserviceaccount.com", "email_verified": true, "repository": "acme/team-04320-api"}
	identity.MatchOften(b, rules, identity.Google, token)
}

// TestExplainFindsWhatATokenWould: each thing that is described counts as it does in a token, and nothing else does.
func TestExplainFindsWhatATokenWould(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) { c.Rules, c.NoRules = nil, true })
	h.verifier.SetTeams([]identity.Rule{
		{Email: "a@acme.example", Grants: grants(t), Team: "pay", Place: "email"},
		{Patterns: map[string]string{"email": "*@acme.example"}, Grants: grants(t), Team: "ship", Place: "emails"},
		{Subject: "s1", Grants: grants(t), Team: "ship", Place: "subject"},
		{Patterns: map[string]string{"sub": "repo:acme/*"}, Grants: grants(t), Team: "ship", Place: "subjects"},
		{Claims: map[string]string{"repository_id": "1"}, Grants: grants(t), Team: "pay", Place: "claim"},
		{Issuer: github, Subject: "s1", Grants: grants(t), Team: "pay", Place: "github"},
		{
			Claims: map[string]string{"repository_id": "2"}, Patterns: map[string]string{"sub": "*"}, Grants: grants(t),
			Team: "pay", Place: "any subject",
		},
	})
	for _, tt := range []struct {
		name string
		who  identity.Described
		want []string
		team string
	}{
		{"an email", identity.Described{Email: "a@acme.example"}, []string{"email", "emails"}, "pay"},
		{"another email", identity.Described{Email: "b@acme.example"}, []string{"emails"}, "ship"},
		{"a subject", identity.Described{Subject: "s1"}, []string{"subject"}, "ship"},
		{"a subject by its beginning", identity.Described{Subject: "repo:acme/x"}, []string{"subjects"}, "ship"},
		{"a claim", identity.Described{Claims: map[string]string{"repository_id": "1"}}, []string{"claim"}, "pay"},
		{"another issuer's subject", identity.Described{Issuer: github, Subject: "s1"}, []string{"github"}, "pay"},
		{"a claim, without the subject", identity.Described{Claims: map[string]string{"repository_id": "2"}}, nil, ""},
		{
			"a claim, and a subject", identity.Described{Subject: "x", Claims: map[string]string{"repository_id": "2"}},
			[]string{"any subject"}, "pay",
		},
		{"nothing", identity.Described{}, nil, ""},
		{"an email that a claim is called", identity.Described{Claims: map[string]string{"email": "a@acme.example"}}, nil, ""},
	} {
		matched, team := h.verifier.Explain(tt.who)
		var places []string
		for _, r := range matched {
			places = append(places, r.Place)
		}
		if !slices.Equal(places, tt.want) || team != tt.team {
			t.Errorf("%s: %v of team %q, want %v of %q", tt.name, places, team, tt.want, tt.team)
		}
	}
}
