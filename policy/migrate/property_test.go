package migrate_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/policy/migrate"
)

// verdicts reads lines that an original program wrote.
func verdicts[T any](t *testing.T, name string) []T {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	for line := range strings.Lines(string(text)) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if len(out) < 300 {
		t.Fatalf("%s has %d verdicts", name, len(out))
	}
	return out
}

// A tally counts what a source and the imported policy say, so that a comparison which compares nothing fails.
type tally struct{ both, stricter, neither, lost int }

// count fails where the import passes what its source does not.
func (c *tally) count(t *testing.T, p *policy.Policy, i image, sourcePasses bool) {
	t.Helper()
	v := p.Judge(i.evidence(p))
	switch {
	case v.Outcome() == attestor.Pass && !sourcePasses:
		t.Errorf("the import passes what its source refuses: %+v\n%s", i, p.Text())
	case v.Outcome() == attestor.Pass:
		c.both++
	case sourcePasses:
		c.stricter++
	default:
		c.neither++
	}
}

func (c *tally) enough(t *testing.T, both int) {
	t.Helper()
	if c.both < both || c.neither < 50 {
		t.Errorf("the comparison shows little: %+v", *c)
	}
}

// TestNotLaxerThanVoucher compares with verdicts that Voucher's own checks gave.
func TestNotLaxerThanVoucher(t *testing.T) {
	type verdict struct {
		FailOn        string   `json:"failon"`
		ValidRepos    []string `json:"validRepos"`
		Checks        []string `json:"checks"`
		Repository    string   `json:"repository"`
		User          string   `json:"user"`
		ContainerUser string   `json:"containerUser"`
		Found         []string `json:"found"`
		Passes        bool     `json:"passes"`
	}
	var c tally
	wrongField := 0
	for _, v := range verdicts[verdict](t, "voucher.ndjson") {
		// The check reads another user than the one that the image runs as: it does not judge this image.
		if v.User != v.ContainerUser {
			wrongField++
			continue
		}

		repos, err := json.Marshal(v.ValidRepos)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("failon = %q\nscanner = \"metadata\"\nvalid_repos = %s\n[checks]\n", v.FailOn, repos)
		for _, name := range v.Checks {
			text += name + " = true\n"
		}
		result, err := migrate.Import([]policy.Source{{Name: "voucher.toml", Text: []byte(text)}}, options())
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if result.Policy == nil {
			c.lost++
			continue
		}

		i := image{repository: v.Repository, user: v.User}
		for n, severity := range v.Found {
			i.found = append(i.found, cve(fmt.Sprintf("CVE-1-%d", n), severity, n%2 == 0))
		}
		c.count(t, loaded(t, result.Policy), i, v.Passes)
	}
	c.enough(t, 40)
	if wrongField != 4 || c.stricter == 0 {
		t.Errorf("%d images of two users, %+v", wrongField, c)
	}
}

// TestWhatVoucherLetsThrough holds docs/migrate.md to Voucher's own verdicts: a user of root passes where container_config
// has another one, and a user that is not root is refused where container_config has none.
func TestWhatVoucherLetsThrough(t *testing.T) {
	type verdict struct {
		Checks        []string `json:"checks"`
		User          string   `json:"user"`
		ContainerUser string   `json:"containerUser"`
		Passes        bool     `json:"passes"`
	}
	got := map[string]bool{}
	for _, v := range verdicts[verdict](t, "voucher.ndjson") {
		if slices.Equal(v.Checks, []string{"nobody"}) {
			got[v.User+"|"+v.ContainerUser] = v.Passes
		}
	}
	for users, want := range map[string]bool{"root|nobody": true, "|1000": true, "1000|": false, "65532:65532|root": false} {
		if passes, known := got[users]; !known || passes != want {
			t.Errorf("%s: passes %t, known %t", users, passes, known)
		}
	}
}

// TestNotLaxerThanKritis compares with verdicts that Kritis' own validators gave.
func TestNotLaxerThanKritis(t *testing.T) {
	type verdict struct {
		Kind      string   `json:"kind"`
		Fixable   string   `json:"fixable"`
		Unfixable string   `json:"unfixable"`
		Allowed   []string `json:"allowed"`
		Found     []struct {
			Note     string `json:"note"`
			Severity string `json:"severity"`
			Packages []struct {
				Severity string `json:"severity"`
				Fixable  bool   `json:"fixable"`
			} `json:"packages"`
		} `json:"found"`
		Passes bool `json:"passes"`
	}
	fields := map[string][4]string{
		"ImageSecurityPolicy": {"packageVulnerabilityRequirements", "maximumSeverity", "maximumFixUnavailableSeverity"},
		"VulnzSigningPolicy":  {"imageVulnerabilityRequirements", "maximumFixableSeverity", "maximumUnfixableSeverity"},
	}

	var c tally
	for _, v := range verdicts[verdict](t, "kritis.ndjson") {
		f, limits := fields[v.Kind], map[string]any{"allowlistCVEs": append([]string{}, v.Allowed...)}
		if v.Fixable != "" {
			limits[f[1]] = v.Fixable
		}
		if v.Unfixable != "" {
			limits[f[2]] = v.Unfixable
		}
		text, err := json.Marshal(map[string]any{
			"apiVersion": "kritis.grafeas.io/v1beta1", "kind": v.Kind, "metadata": map[string]any{"name": "p"}, "spec": map[string]any{f[0]: limits},
		})
		if err != nil {
			t.Fatal(err)
		}

		p, _ := imported(t, options(), policy.Source{Name: "kritis.json", Text: text})
		i := image{repository: "gcr.io/acme/api", user: "1000"}
		for _, o := range v.Found {
			next := finding{note: o.Note, severity: o.Severity}
			for _, a := range o.Packages {
				next.packages = append(next.packages, affected{a.Severity, a.Fixable})
			}
			i.found = append(i.found, next)
		}
		c.count(t, p, i, v.Passes)
	}
	c.enough(t, 60)
}

// A platformSet is a check set as the test draws it, evaluated as the reference of the API describes it.
type platformSet struct {
	fixable, unfixable string
	allowed, blocked   []string
	directories        []string
	days               int
	sources            []string
	attested, signed   bool // an attestation or a signature by a key is demanded
}

// json is the set as gcloud exports it.
func (s platformSet) json(t *testing.T) []byte {
	t.Helper()
	var checks []any
	if s.fixable != "" {
		checks = append(checks, map[string]any{"vulnerabilityCheck": map[string]any{
			"maximumFixableSeverity": s.fixable, "maximumUnfixableSeverity": s.unfixable, "allowedCves": s.allowed, "blockedCves": s.blocked,
		}})
	}
	if len(s.directories) > 0 {
		checks = append(checks, map[string]any{"trustedDirectoryCheck": map[string]any{"trustedDirPatterns": s.directories}})
	}
	if s.days > 0 {
		checks = append(checks, map[string]any{"imageFreshnessCheck": map[string]any{"maxUploadAgeDays": s.days}})
	}
	if len(s.sources) > 0 {
		checks = append(checks, map[string]any{"slsaCheck": map[string]any{"rules": []any{
			map[string]any{"trustedBuilder": "GOOGLE_CLOUD_BUILD", "trustedSourceRepoPatterns": s.sources},
		}}})
	}
	keys := []any{map[string]any{"pkixPublicKeySet": map[string]any{"pkixPublicKeys": []any{map[string]any{"publicKeyPem": "a key"}}}}}
	if s.attested {
		checks = append(checks, map[string]any{"simpleSigningAttestationCheck": map[string]any{"attestationAuthenticators": keys}})
	}
	if s.signed {
		checks = append(checks, map[string]any{"sigstoreSignatureCheck": map[string]any{"sigstoreAuthorities": keys}})
	}
	text, err := json.Marshal(map[string]any{"gkePolicy": map[string]any{"checkSets": []any{map[string]any{"checks": checks}}}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// passes evaluates the set: "allow if and only if every check evaluates to allow".
func (s platformSet) passes(i image) bool {
	return s.vulnerabilities(i) && s.directory(i) && (s.days == 0 || i.age <= s.days) && s.built(i) &&
		(!s.attested || i.attested) && (!s.signed || i.signed)
}

// vulnerabilities: blockedCves "even if the vulnerability level meets" the limits, allowedCves "even if it violates"
// them, ALLOW_ALL "even vulnerability with unspecified severity". The images of the test have one package for each
// finding, since the reference does not say which limit is for several of which some have a fix.
func (s platformSet) vulnerabilities(i image) bool {
	order := []string{"BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"}
	for _, f := range i.found {
		id := strings.TrimPrefix(f.note, "projects/goog-vulnz/notes/")
		limit := s.unfixable
		if f.packages[0].fixable {
			limit = s.fixable
		}
		switch {
		case s.fixable == "":
		case slices.Contains(s.blocked, id):
			return false
		case slices.Contains(s.allowed, id) || limit == "ALLOW_ALL":
		case f.severity == "SEVERITY_UNSPECIFIED" || slices.Index(order, f.severity) > slices.Index(order, limit):
			return false
		}
	}
	return true
}

// directory: a pattern without a wildcard matches "a single directory", a trailing * "all direct directories", a
// trailing ** "all directories", a leading * "varying prefixes" of the registry.
func (s platformSet) directory(i image) bool {
	directory := i.repository[:strings.LastIndex(i.repository, "/")]
	return len(s.directories) == 0 || slices.ContainsFunc(s.directories, func(p string) bool {
		d := directory
		if rest, ok := strings.CutPrefix(p, "*"); ok {
			host, path, _ := strings.Cut(rest, "/")
			registry, in, _ := strings.Cut(d, "/")
			if !strings.HasSuffix(registry, host) {
				return false
			}
			p, d = path, in
		}
		return endsIn(p, d)
	})
}

// endsIn matches a pattern whose wildcards stand at its end.
func endsIn(pattern, s string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "**"); ok {
		return len(s) > len(prefix) && strings.HasPrefix(s, prefix)
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		rest, matches := strings.CutPrefix(s, prefix)
		return matches && rest != "" && !strings.Contains(rest, "/")
	}
	return pattern == s
}

// built: "these patterns match the full repository URL without its scheme".
func (s platformSet) built(i image) bool {
	_, repository, _ := strings.Cut(i.from, "://")
	return len(s.sources) == 0 ||
		i.builder == "" && slices.ContainsFunc(s.sources, func(p string) bool { return endsIn(p, repository) })
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func draw(r *rand.Rand) (platformSet, image) {
	words := []string{"BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "ALLOW_ALL"}
	s := platformSet{allowed: []string{}, blocked: []string{}}
	if r.IntN(4) > 0 {
		s.fixable, s.unfixable = pick(r, words...), pick(r, words...)
	}
	for range r.IntN(2) {
		s.allowed = append(s.allowed, pick(r, "CVE-1-1", "CVE-1-2"))
		s.blocked = append(s.blocked, pick(r, "CVE-1-2", "CVE-1-3"))
	}
	for range r.IntN(3) {
		s.directories = append(
			s.directories,
			pick(r, "gcr.io/acme", "gcr.io/acme/*", "gcr.io/acme/**", "*.gcr.io/acme", "us-docker.pkg.dev/acme/prod",
				"*-docker.pkg.dev/acme/**", "us-docker.pkg.dev/ac*", "us-docker.pkg.dev/acme/p**", "us-docker.pkg.dev/**"),
		)
	}
	if s.days = r.IntN(3) * 20; s.fixable == "" && len(s.directories) == 0 {
		s.days = 20
	}
	for range r.IntN(2) {
		s.sources = append(s.sources, pick(r, "github.com/acme/api", "github.com/acme/*", "github.com/acme/**", "github.com/**"))
	}

	i := image{
		repository: pick(
			r,
			"gcr.io/acme/api",
			"gcr.io/acme/sub/api",
			"gcr.io/acme/sub/more/api",
			"eu.gcr.io/acme/api",
			"us-docker.pkg.dev/acme/prod/api",
			"us-docker.pkg.dev/acme/prod/sub/api",
			"eu-docker.pkg.dev/acme/prod/api",
			"us-docker.pkg.dev/acme-evil/prod/api",
			"gcr.io/acme-evil/api",
		),
		user: "1000", age: r.IntN(50), from: pick(r, "https://github.com/acme/api", "https://github.com/acme/sub/api", "https://github.com/acme-evil/api"),
		builder: pick(r, "", "", "", "https://builder.example/1"),
	}
	for range r.IntN(3) {
		severity := pick(r, "SEVERITY_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
		i.found = append(i.found, cve(fmt.Sprintf("CVE-1-%d", 1+r.IntN(5)), severity, r.IntN(2) == 0))
	}
	s.attested, s.signed = r.IntN(6) == 0, r.IntN(6) == 0
	i.attested, i.signed = r.IntN(2) == 0, r.IntN(2) == 0
	return s, i
}

// TestNotLaxerThanPlatformPolicies draws check sets and images. Whether somebody else has attested to an image or signed
// it, this gate does not ask: such a set has no import, and with placeholders one that passes nothing.
func TestNotLaxerThanPlatformPolicies(t *testing.T) {
	var c tally
	for seed := range uint64(1500) {
		s, i := draw(rand.New(rand.NewPCG(seed, 25)))
		o := options(func(o *migrate.Options) { o.Images = append(o.Images, "eu.gcr.io/**", "eu-docker.pkg.dev/**") })
		result, err := migrate.Import([]policy.Source{{Name: "platform.json", Text: s.json(t)}}, o)
		if err == nil && result.Policy == nil && (s.attested || s.signed) {
			c.lost++
			o.Placeholders = true
			p, _ := imported(t, o, policy.Source{Name: "platform.json", Text: s.json(t)})
			if v := p.Judge(i.evidence(p)); v.Outcome() == attestor.Pass {
				t.Errorf("seed %d: the placeholder passes %+v", seed, i)
			}
			continue
		}
		if err != nil || result.Policy == nil {
			t.Fatalf("seed %d: %v %+v\n%s", seed, err, result.LostFields(), s.json(t))
		}
		c.count(t, loaded(t, result.Policy), i, s.passes(i))
	}
	if c.enough(t, 100); c.lost < 200 {
		t.Errorf("the comparison shows little: %+v", c)
	}
}
