package policy_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// many are n policies that differ, of which every other uses fragments.
func many(n int) []policy.Source {
	out := []policy.Source{source("fragments/baseline.yaml", sharedBase), source("fragments/rules.yaml", sharedRules)}
	for i := range n {
		r := strings.NewReplacer("name: pay", fmt.Sprintf("name: pay-%d", i), "subject: own", fmt.Sprintf("subject: CVE-2026-%d", i))
		text := usesBoth
		if i%2 == 1 {
			text = strict
			r = strings.NewReplacer("name: "+named(strict), fmt.Sprintf("name: strict-%d", i))
		}
		text = r.Replace(text)
		// Teams' names in a segment of their own, beside a star, and above a fixed name.
		images := []string{fmt.Sprintf(`"us-docker.pkg.dev/acme/team-%05d/**"`, i), fmt.Sprintf(`"us-docker.pkg.dev/acme/t-%05d-*/**"`, i),
			fmt.Sprintf(`"us-docker.pkg.dev/acme/%05d/*/api"`, i)}
		out = append(out, source(fmt.Sprintf("p%05d.yaml", i), withImages(text, images[i%3])))
	}
	return out
}

func named(text string) string {
	_, rest, _ := strings.Cut(text, "name: ")
	return rest[:strings.IndexAny(rest, "}\n")]
}

// withImages replaces the line of images.
func withImages(text, image string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "images:") {
			lines[i] = "  images: [" + image + "]"
		}
	}
	return strings.Join(lines, "\n")
}

// Ten times as many policies are compared ten times as often, not a hundred times.
func TestManyPoliciesLoadInLinearTime(t *testing.T) {
	compared := func(n int) int {
		set, err := policy.Parse(many(n)...)
		if err != nil {
			t.Fatal(err)
		}
		if len(set.All()) != n {
			t.Fatalf("%d policies", len(set.All()))
		}
		return policy.ComparedForTest(set)
	}
	few, more := compared(100), compared(1000)
	if more > 10*few+1000 {
		t.Errorf("100 policies take %d comparisons, 1,000 take %d", few, more)
	}
}

// Patterns that tie are found as comparing each with each finds them.
func TestTiesAreThoseOfEachPair(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	segment := func() string {
		return []string{"a", "b", "ab", "a*", "*a", "*", "*b", "a*b", "**", "ba*"}[random.IntN(10)]
	}
	tied := 0
	for range 150 {
		var patterns []attestor.Pattern
		var sources []policy.Source
		for i := range 4 {
			text := "r.example"
			for range 1 + random.IntN(3) {
				text += "/" + segment()
			}
			p, err := attestor.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			patterns = append(patterns, p)
			one := strings.Replace(withImages(strict, `"`+text+`"`), "name: "+named(strict), fmt.Sprintf("name: p%d", i), 1)
			sources = append(sources, source(fmt.Sprintf("p%d.yaml", i), one))
		}

		want := false
		for i, p := range patterns {
			for _, q := range patterns[:i] {
				want = want || p.Compare(q) == 0 && p.Overlaps(q)
			}
		}
		if want {
			tied++
		}
		set, err := policy.Parse(sources...)
		if (err != nil) != want {
			t.Fatalf("%v: %v, want a tie: %v", patterns, err, want)
		}
		if err != nil {
			continue
		}

		// And the most specific governs, as looking at every pattern finds it.
		repository := strings.NewReplacer("**", "a/b", "*", "a").Replace(patterns[random.IntN(4)].String())
		best := -1
		for i, p := range patterns {
			if p.Match(repository) && (best < 0 || p.Compare(patterns[best]) > 0) {
				best = i
			}
		}
		got, governed := set.Govern(repository)
		if governed != (best >= 0) || governed && got.Ref().Name != fmt.Sprintf("p%d", best) {
			t.Fatalf("%v: %s is governed by %v, want p%d", patterns, repository, got, best)
		}
	}
	if tied < 10 || tied > 140 {
		t.Errorf("%d of 150 tie: this proves little", tied)
	}
}

// A thousand policies for the same images are an error that ends.
func TestManyTiesAreToldInPart(t *testing.T) {
	sources := many(1000)
	for i := range sources[2:] {
		sources[i+2].Text = []byte(withImages(string(sources[i+2].Text), `"r.example/**"`))
	}
	_, err := policy.Parse(sources...)
	if n := strings.Count(fmt.Sprint(err), "equally specific"); n < 100 || n > 1000 {
		t.Errorf("%d ties are told", n)
	}
}

// A change of one file of many parses that one, and the policies of a fragment that changed. Meanwhile, and where the change
// does not load, the former ones answer.
func TestAChangeOfOneOfManyParsesOne(t *testing.T) {
	dir := t.TempDir()
	write := func(s policy.Source) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.Name)), s.Text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sources := many(100)
	for _, s := range sources {
		write(s)
	}

	var w *policy.Watcher
	asked := 0
	w, err := policy.NewWatcher(policy.WatcherConfig{Paths: []string{dir}, Check: func(next *policy.Set) error {
		// What is in force answers while the next is loaded.
		if before := w.Set(); before != nil && before.Digest() != next.Digest() {
			asked++
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	parsed := policy.ParsedForTest(w)
	if parsed != 102 {
		t.Errorf("%d files were parsed at first, want 102", parsed)
	}

	step := func(name string, s policy.Source, want int, loads bool) {
		t.Helper()
		before := w.Set().Digest()
		write(s)
		w.Reload(t.Context())
		if w.Reload(t.Context()) != loads || (w.Set().Digest() != before) != loads {
			t.Errorf("%s: in force is %s, before %s, %v", name, w.Set().Digest(), before, w.Err())
		}
		if got := policy.ParsedForTest(w) - parsed; got != want {
			t.Errorf("%s: %d files were parsed, want %d", name, got, want)
		}
		parsed = policy.ParsedForTest(w)
	}
	change := func(s policy.Source, from, to string) policy.Source {
		return source(s.Name, strings.ReplaceAll(string(s.Text), from, to))
	}
	step("a policy", change(sources[3], "MEDIUM", "LOW"), 1, true)
	step("a policy that does not load", change(sources[5], "nonRoot", "nonRot"), 1, false)
	step("that policy again", change(sources[5], "MEDIUM", "LOW"), 1, true)
	step("a fragment", change(sources[0], "MEDIUM", "LOW"), 1+50, true)
	if asked != 3 {
		t.Errorf("the former policies were asked %d times", asked)
	}

	// A fragment that goes takes no policy along: nothing changes until it is back.
	if err := os.Remove(filepath.Join(dir, "rules.yaml")); err != nil {
		t.Fatal(err)
	}
	before := w.Set().Digest()
	w.Reload(t.Context())
	if w.Reload(t.Context()) || w.Set().Digest() != before || w.Err() == nil || !strings.Contains(w.Err().Error(), `no fragment "rules"`) {
		t.Errorf("without a fragment: %v", w.Err())
	}
}

// A set by the cache is the one that a fresh load makes.
func TestTheCacheForgetsNothingThatCounts(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(7, 8))
	write := func(s policy.Source) {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.Name)), s.Text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sources := many(6)
	for _, s := range sources {
		write(s)
	}
	w, err := policy.NewWatcher(policy.WatcherConfig{Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		s := sources[random.IntN(len(sources))]
		write(source(s.Name, strings.ReplaceAll(string(s.Text), "MEDIUM", []string{"MEDIUM", "LOW", "HIGH", "nothing"}[random.IntN(4)])))
		w.Reload(t.Context())
		w.Reload(t.Context())
		fresh, err := policy.Load(dir)
		if (err == nil) != (w.Err() == nil) || err != nil && err.Error() != w.Err().Error() {
			t.Fatalf("fresh %v, watched %v", err, w.Err())
		}
		if err == nil && fresh.Digest() != w.Set().Digest() {
			t.Fatal("the watched set is another than a fresh one")
		}
		texts := func(s *policy.Set) (out []string) {
			for _, p := range s.All() {
				out = append(out, string(p.Text()))
			}
			return out
		}
		if err == nil && !slices.Equal(texts(fresh), texts(w.Set())) {
			t.Fatal("the watched policies are others than fresh ones")
		}
	}
}

// BenchmarkLoadTenThousand loads 10,000 policies that differ, and then one of them again.
func BenchmarkLoadTenThousand(b *testing.B) {
	sources := many(10_000)
	for b.Loop() {
		begun := time.Now()
		if _, err := policy.Parse(sources...); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "s/load")
	}
}

// BenchmarkReloadOneOfTenThousand changes one of 10,000 files until it is in force.
func BenchmarkReloadOneOfTenThousand(b *testing.B) {
	dir := b.TempDir()
	for _, s := range many(10_000) {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(s.Name)), s.Text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	w, err := policy.NewWatcher(policy.WatcherConfig{Paths: []string{dir}})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		text := withImages(strict, fmt.Sprintf(`"r.example/x-%d/**"`, n))
		if err := os.WriteFile(filepath.Join(dir, "p00001.yaml"), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		w.Glance(b.Context())
		if !w.Glance(b.Context()) {
			b.Fatal(w.Err())
		}
	}
}

// BenchmarkGovernAmongTenThousand is an answer's part of finding its policy.
func BenchmarkGovernAmongTenThousand(b *testing.B) {
	set, err := policy.Parse(many(10_000)...)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, ok := set.Govern("us-docker.pkg.dev/acme/t-07777-web/api"); !ok {
			b.Fatal("not governed")
		}
	}
}
