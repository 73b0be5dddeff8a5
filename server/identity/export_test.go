package identity

import (
	"testing"

	"github.com/go-jose/go-jose/v4/jwt"
)

// MatchValueForTest compares a claim with a pattern.
func MatchValueForTest(pattern, s string) bool { return matchValue(pattern, s) }

func claimsForTest(token map[string]any) claims {
	subject, _ := token["sub"].(string)
	return readClaims(jwt.Claims{Subject: subject}, token)
}

// MatchForTest lists the places of the rules that match a token, by the index and by looking at each rule.
func MatchForTest(rules []Rule, issuer string, token map[string]any) (indexed, each []string) {
	c := claimsForTest(token)
	for _, r := range newIndex(rules).match(issuer, c) {
		indexed = append(indexed, r.Place)
	}
	for _, r := range rules {
		of := r.Issuer
		if of == "" {
			of = Google
		}
		if of == issuer && r.matches(c) {
			each = append(each, r.Place)
		}
	}
	return indexed, each
}

// MetForTest is how many rules are looked at for a token.
func MetForTest(rules []Rule, issuer string, token map[string]any) int {
	met := 0
	newIndex(rules).candidates(issuer, claimsForTest(token), func(*Rule) { met++ })
	return met
}

// MatchOften measures the look-up of a token.
func MatchOften(b *testing.B, rules []Rule, issuer string, token map[string]any) {
	b.Helper()
	x, c := newIndex(rules), claimsForTest(token)
	for b.Loop() {
		if len(x.match(issuer, c)) != 2 {
			b.Fatal("not found")
		}
	}
}
