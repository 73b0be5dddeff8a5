package corpus_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// What a test of the service relies on: names that tell cases apart, codes that
// exist, answers that can be, and something to send.
func TestCases(t *testing.T) {
	known := map[attestor.Code]bool{}
	for _, c := range attestor.Codes() {
		known[c.Code] = true
	}

	all := corpus.All()
	if len(all) < 400 {
		t.Errorf("%d cases", len(all))
	}

	names, slugs := map[string]bool{}, map[string]string{}
	for _, c := range all {
		if names[c.Name] {
			t.Errorf("%s stands twice", c.Name)
		}

		names[c.Name] = true
		slug := corpus.Slug(c.Name)
		if other, ok := slugs[slug]; ok {
			t.Errorf("%s and %s are both %s", c.Name, other, slug)
		}

		slugs[slug] = c.Name
		if group, what, ok := strings.Cut(c.Name, "/"); !ok || group == "" || what == "" || c.Group() != group {
			t.Errorf("%q is not GROUP/WHAT", c.Name)
		}

		for _, code := range slices.Concat(c.Want.Codes, c.Want.Advice) {
			if !known[code] {
				t.Errorf("%s: there is no code %s", c.Name, code)
			}
		}

		// Before its day, what would be refused is a warning.
		dated := strings.Contains(c.Policy, "effectiveFrom")
		for _, code := range c.Want.Advice {
			if code.Severity() == attestor.Refuses && !dated {
				t.Errorf("%s: %s is no advice", c.Name, code)
			}
		}

		if !slices.IsSorted(c.Want.Codes) {
			t.Errorf("%s: %v are not sorted", c.Name, c.Want.Codes)
		}

		want := statusOf(c.Want)
		if strings.HasPrefix(c.Name, "outages/429 for the base") {
			want = http.StatusServiceUnavailable // the reason has the registry's own time to come again
		}
		if want != 0 && c.Want.Status != want {
			t.Errorf("%s: %s with status %d", c.Name, c.Want.Verdict, c.Want.Status)
		}

		if (c.Want.Verdict == attestor.Pass || c.Want.Verdict == "") != (len(c.Want.Codes) == 0) {
			t.Errorf("%s: %q with codes %v", c.Name, c.Want.Verdict, c.Want.Codes)
		}
	}
}

// Each refused case names the reason that must be given, by codes or, where the
// answer is no Decision, by its words: a case that is refused for something
// else would test nothing.
func TestRefusedCasesNameTheReason(t *testing.T) {
	for _, c := range corpus.All() {
		if c.Refuses() && len(c.Want.Codes) == 0 && c.Want.Says == "" {
			t.Errorf("%s is refused, and does not name the reason", c.Name)
		}
	}
}

// Twins differ from a refused case in the one thing that its name says, and are
// allowed: TestCorpus of internal/engine asks for both.
func TestTwinsOfRefusedCases(t *testing.T) {
	refused := map[string]bool{}
	for _, c := range corpus.All() {
		refused[c.Name] = c.Refuses() || c.Group() == "events" // whose refusals are that nothing comes
	}

	groups := map[string]int{}
	for _, c := range corpus.All() {
		if c.Mends == "" {
			continue
		}

		groups[c.Group()]++
		if !refused[c.Mends] || c.Refuses() {
			t.Errorf("%s, which refuses: %t, is the twin of %s, which is a refused case: %t", c.Name, c.Refuses(), c.Mends, refused[c.Mends])
		}

		if mended, _, _ := strings.Cut(c.Mends, "/"); mended != c.Group() {
			t.Errorf("%s is the twin of %s, of another group", c.Name, c.Mends)
		}
	}

	for _, group := range []string{
		"events", "findings", "manifests", "platforms", "policies", "reviews", "sboms", "scans", "secrets", "systems",
		"tokens", "users", "vex",
	} {
		if groups[group] == 0 {
			t.Errorf("no refused case of the group %s has an allowed twin", group)
		}
	}
}

// Cases take a share each of the documents with parts left out, by numbers: in another order each time, parts would be
// in no share, and their case would test nothing.
func TestPrunedIsInOneOrder(t *testing.T) {
	doc := func() map[string]any {
		return map[string]any{
			"a": map[string]any{"b": 1, "c": []any{"d", map[string]any{"e": true, "f": nil}}, "g": "h", "i": 2},
			"j": 3, "k": map[string]any{"l": 4, "m": 5}, "n": "o",
		}
	}
	first := corpus.Pruned(doc())

	// Of each of the 12 members five documents: without it, and with four things in its place; of each of the two
	// elements of the list one.
	if len(first) != 12*5+2 {
		t.Errorf("%d documents", len(first))
	}
	for range 20 {
		if again := corpus.Pruned(doc()); !slices.EqualFunc(first, again, bytes.Equal) {
			t.Fatal("the same document is pruned in another order")
		}
	}
}

func statusOf(w corpus.Want) int {
	switch w.Verdict {
	case attestor.Pass:
		return http.StatusOK
	case attestor.Deny:
		return http.StatusUnprocessableEntity
	case attestor.Undecided:
		// What could not be read because the registry is busy carries its time to ask again.
		busy := slices.Contains(w.Codes, attestor.CodeRegistryBusy)
		for _, c := range w.Codes {
			if !c.Retry() && (!busy || c != attestor.CodeUserLookupFailed) {
				return http.StatusBadGateway
			}
		}
		return http.StatusServiceUnavailable
	}
	return 0
}

// Every case can be put up and asked about, in repositories of its own.
func TestCasesCanBeArranged(t *testing.T) {
	issuer := corpus.NewIssuer()
	for _, c := range corpus.All() {
		p := corpus.NewPlace(c, "registry.example", "/nowhere")
		p.Issuer, p.Victim, p.Sign = issuer, "127.0.0.1:1", corpus.NewKey().Sign
		c.Arrange(p)
		if len(p.Requests(c)) == 0 {
			t.Errorf("%s sends nothing", c.Name)
		}

		for _, repo := range p.Repositories() {
			if repo != p.Repo && !strings.HasPrefix(repo, p.Repo+"/") {
				t.Errorf("%s pushes to %s", c.Name, repo)
			}
		}
	}
}
