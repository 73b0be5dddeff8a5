package vex_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify/signed"
	"github.com/attestor-gate/attestor/verify/vex"
)

const (
	digestHex = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	otherHex  = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	exactly   = "pkg:oci/app@sha256%3A" + digestHex
)

func images(t testing.TB) []attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/app@sha256:" + digestHex)
	if err != nil {
		t.Fatal(err)
	}
	return []attestor.Image{img}
}

func open(statement string) string {
	return `{"@context":"https://openvex.dev/ns/v0.2.0","timestamp":"2026-11-01T10:00:00Z","statements":[` + statement + `]}`
}

func cyclone(root, components, vulnerability string) string {
	return `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":"2026-11-01T10:00:00Z","component":` + root +
		`},"components":[` + components + `],"vulnerabilities":[` + vulnerability + `]}`
}

// Both formats say the same in the same words.
func TestDocuments(t *testing.T) {
	at := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	st := func(change ...func(*attestor.VEXStatement)) []attestor.VEXStatement {
		s := attestor.VEXStatement{IDs: []string{"CVE-2026-1"}, Status: "not_affected", Justification: "j", Exact: true, Time: at}
		for _, c := range change {
			c(&s)
		}
		return []attestor.VEXStatement{s}
	}
	loose := func(s *attestor.VEXStatement) { s.Exact = false }
	pkg := func(list ...attestor.VEXPackage) func(*attestor.VEXStatement) {
		return func(s *attestor.VEXStatement) { s.Packages = list }
	}
	status := func(to string) func(*attestor.VEXStatement) {
		return func(s *attestor.VEXStatement) { s.Status = to }
	}
	product := func(p string) string {
		return open(`{"vulnerability":{"name":"CVE-2026-1"},"products":[` + p + `],"status":"not_affected","justification":"j"}`)
	}
	analysis := func(state string) string {
		return `{"id":"CVE-2026-1","analysis":{"state":"` + state + `","justification":"j"},"affects":[{"ref":"i"}]}`
	}
	root := `{"bom-ref":"i","purl":"` + exactly + `"}`

	for name, tt := range map[string]struct {
		doc  string
		want []attestor.VEXStatement
	}{
		"OpenVEX, by digest":             {product(`{"@id":"` + exactly + `"}`), st()},
		"OpenVEX, by an identifier":      {product(`{"@id":"x","identifiers":{"purl":"` + exactly + `"}}`), st()},
		"OpenVEX, by a hash":             {product(`{"@id":"x","hashes":{"sha-256":"` + digestHex + `"}}`), st()},
		"OpenVEX, by a hash in capitals": {product(`{"@id":"x","hashes":{"sha-256":"` + strings.ToUpper(digestHex) + `"}}`), st()},
		"OpenVEX, by two hashes": {product(`{"@id":"x","hashes":{"sha-256":"` + digestHex + `","sha256":"` + otherHex + `"}}`),
			st(loose)},
		"OpenVEX, by two hashes, the other way": {
			product(`{"@id":"x","hashes":{"sha-256":"` + otherHex + `","sha256":"` + digestHex + `"}}`), st(loose)},
		"OpenVEX, by reference":            {product(`{"@id":"us-docker.pkg.dev/acme/prod/app@sha256:` + digestHex + `"}`), st()},
		"OpenVEX, by the whole repository": {product(`{"@id":"pkg:oci/app?repository_url=us-docker.pkg.dev/acme/prod/app"}`), st()},
		"OpenVEX, by another repository":   {product(`{"@id":"pkg:oci/app?repository_url=us-docker.pkg.dev/acme/dev/app"}`), nil},
		"OpenVEX, by name":                 {product(`{"@id":"pkg:oci/app"}`), st(loose)},
		"OpenVEX, by tag":                  {product(`{"@id":"pkg:oci/app@latest?repository_url=us-docker.pkg.dev/acme/prod/app"}`), st(loose)},
		"OpenVEX, another digest":          {product(`{"@id":"pkg:oci/app@sha256:` + otherHex + `?repository_url=us-docker.pkg.dev/acme/prod/app"}`), nil},
		"OpenVEX, a hash against the id":   {product(`{"@id":"` + exactly + `","hashes":{"sha-256":"` + otherHex + `"}}`), nil},
		"OpenVEX, a package as product":    {product(`{"@id":"pkg:deb/debian/openssl@3.0.11"}`), st(loose)},
		"OpenVEX, no product":              {product(``), st(loose)},
		"OpenVEX, a part": {product(`{"@id":"` + exactly +
			`","subcomponents":[{"@id":"pkg:deb/debian/openssl@3.0.11-1%2Bdeb12u2?arch=amd64"}]}`),
			st(pkg(attestor.VEXPackage{Type: "deb", Name: "openssl", Version: "3.0.11-1+deb12u2"}))},
		"OpenVEX, a Go module": {
			product(`{"@id":"` + exactly + `","subcomponents":[{"@id":"pkg:golang/golang.org/x/net@v0.1.0"}]}`),
			st(pkg(attestor.VEXPackage{Type: "golang", Name: "golang.org/x/net", Version: "v0.1.0"}))},
		"OpenVEX, a scoped npm package": {
			product(`{"@id":"` + exactly + `","subcomponents":[{"@id":"pkg:npm/%40acme/ui@1.0.0"}]}`),
			st(pkg(attestor.VEXPackage{Type: "npm", Name: "@acme/ui", Version: "1.0.0"}))},
		"OpenVEX, a Maven artifact": {
			product(`{"@id":"` + exactly + `","subcomponents":[{"@id":"pkg:maven/org.x/y@1"}]}`),
			st(pkg(attestor.VEXPackage{Type: "maven", Name: "org.x:y", Version: "1"}))},
		"OpenVEX, a part in another form": {product(`{"@id":"` + exactly + `","subcomponents":[{"@id":"openssl"}]}`), st(pkg(attestor.VEXPackage{}))},
		"OpenVEX, without justification": {open(`{"vulnerability":{"name":"CVE-2026-1"},"products":[{"@id":"` +
			exactly + `"}],"status":"not_affected"}`), nil},
		"OpenVEX, the statement's own time": {
			open(`{"timestamp":"2026-11-02T10:00:00+01:00","vulnerability":{"name":"CVE-2026-1"},` +
				`"products":[{"@id":"` + exactly + `"}],"status":"fixed","impact_statement":"j"}`),
			st(status("fixed"), func(s *attestor.VEXStatement) { s.Time = at.Add(23 * time.Hour) })},
		"OpenVEX 0.0.1": {`{"@context":"https://openvex.dev/ns",` +
			`"timestamp":"2026-11-01T10:00:00Z","statements":[{"vulnerability":"CVE-2026-1","products":["` +
			exactly + `"],"subcomponents":["pkg:apk/alpine/git@2"],"status":"affected","justification":"j"}]}`,
			st(status("affected"), pkg(attestor.VEXPackage{Type: "apk", Name: "git", Version: "2"}))},
		"OpenVEX, aliases": {open(`{"vulnerability":{"name":"CVE-2026-1","aliases":["GHSA-1"]},` +
			`"products":[{"@id":"` + exactly + `"}],"status":"under_investigation","justification":"j"}`),
			st(status("under_investigation"),
				func(s *attestor.VEXStatement) { s.IDs = []string{"CVE-2026-1", "GHSA-1"} })},
		"CycloneDX, not_affected":              {cyclone(root, "", analysis("not_affected")), st()},
		"CycloneDX, false_positive":            {cyclone(root, "", analysis("false_positive")), st()},
		"CycloneDX, resolved":                  {cyclone(root, "", analysis("resolved")), st(status("fixed"))},
		"CycloneDX, resolved_with_pedigree":    {cyclone(root, "", analysis("resolved_with_pedigree")), st(status("fixed"))},
		"CycloneDX, in_triage":                 {cyclone(root, "", analysis("in_triage")), st(status("under_investigation"))},
		"CycloneDX, exploitable":               {cyclone(root, "", analysis("exploitable")), st(status("affected"))},
		"CycloneDX, a state of later versions": {cyclone(root, "", analysis("harmless")), st(status("affected"))},
		"CycloneDX, no state":                  {cyclone(root, "", `{"id":"CVE-2026-1","affects":[{"ref":"i"}]}`), nil},
		"CycloneDX, by the version":            {cyclone(`{"bom-ref":"i","version":"sha256:`+digestHex+`"}`, "", analysis("not_affected")), st()},
		"CycloneDX, by a hash": {cyclone(`{"bom-ref":"i","hashes":[{"alg":"SHA-256","content":"`+
			digestHex+`"}]}`, "", analysis("not_affected")), st()},
		"CycloneDX, of another image": {cyclone(`{"bom-ref":"i","version":"sha256:`+otherHex+`"}`, "", analysis("not_affected")), nil},
		"CycloneDX, of no image":      {cyclone(`{"bom-ref":"i"}`, "", analysis("not_affected")), st(loose)},
		"CycloneDX, a component": {cyclone(root, `{"bom-ref":"c","purl":"pkg:deb/debian/openssl@3"}`,
			strings.Replace(analysis("not_affected"), `"i"`, `"c"`, 1)),
			st(pkg(attestor.VEXPackage{Type: "deb", Name: "openssl", Version: "3"}))},
		"CycloneDX, a link elsewhere": {cyclone(root, "", strings.Replace(analysis("not_affected"), `"i"`,
			`"urn:cdx:x/1#c"`, 1)), st(pkg(attestor.VEXPackage{}))},
		"CycloneDX, nothing affected": {cyclone(root, "", `{"id":"CVE-2026-1","analysis":{"state":"not_affected","justification":"j"}}`), st(loose)},
	} {
		got, err := vex.Document([]byte(tt.doc), images(t))
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// What could be read in two ways, or in none, is an error.
func TestMalformedDocuments(t *testing.T) {
	whole := open(`{"vulnerability":{"name":"CVE-2026-1"},"products":[{"@id":"` + exactly + `"}],"status":"fixed"}`)
	for name, doc := range map[string]string{
		"nothing":         "",
		"null":            "null",
		"a list":          "[]",
		"neither":         `{}`,
		"an SBOM of SPDX": `{"spdxVersion":"SPDX-2.3"}`,
		"both":            strings.Replace(whole, `{"@context"`, `{"bomFormat":"CycloneDX","@context"`, 1),
		"a name twice":    strings.Replace(whole, `"status"`, `"status":"affected","status"`, 1),
		"a part":          whole[:len(whole)-1],
		"two documents":   whole + whole,
		"another status":  strings.Replace(whole, `"fixed"`, `"harmless"`, 1),
		"no status":       strings.Replace(whole, `"status":"fixed"`, `"x":1`, 1),
		"another time":    strings.Replace(whole, "2026-11-01T", "yesterday ", 1),
		"too many names":  strings.Replace(whole, `"name":"CVE-2026-1"`, `"aliases":["a"`+strings.Repeat(`,"a"`, 64)+`]`, 1),
		"too many parts":  strings.Replace(whole, exactly+`"`, exactly+`","subcomponents":["a"`+strings.Repeat(`,"a"`, 600)+`]`, 1),
		"nested too deep": strings.Replace(whole, `"fixed"`, `"fixed","x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100), 1),
		"invalid UTF-8":   strings.Replace(whole, "CVE", "\xff", 1),
	} {
		if got, err := vex.Document([]byte(doc), images(t)); err == nil || len(got) != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A file counts if its signer signed these bytes, and is an error otherwise.
func TestFiles(t *testing.T) {
	key, mallory := corpus.NewKey(), corpus.NewKey()
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rule := attestor.SignedBy{Key: write("key.pub", key.PublicPEM())}
	doc := corpus.OpenVEX(exactly, "CVE-2026-1", "not_affected", time.Now())
	checker, err := signed.New(signed.Config{})
	if err != nil {
		t.Fatal(err)
	}
	source := vex.New(func() *signed.Checker { return checker })

	for name, tt := range map[string]struct {
		doc, bundle []byte // nil: no file
		want        string // of the problem; "": none
	}{
		"signed":           {doc, key.FileBundle(doc), ""},
		"by another key":   {doc, mallory.FileBundle(doc), "does not satisfy"},
		"of other bytes":   {doc, key.FileBundle([]byte("x")), "does not satisfy"},
		"not signed":       {doc, nil, "cannot be read"},
		"missing":          {nil, key.FileBundle(doc), "cannot be read"},
		"a bundle of none": {doc, []byte("{}"), "does not satisfy"},
		"a statement": {doc,
			key.Bundle(corpus.Predicate(attestor.Digest("sha256:"+digestHex), "https://openvex.dev/ns", doc)), "not a signature of a file"},
		"malformed, signed": {[]byte("{}"), key.FileBundle([]byte("{}")), "is malformed"},
		"too large":         {make([]byte, 8<<20+1), key.FileBundle(doc), "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if tt.doc != nil {
				write(filepath.Base(path), tt.doc)
			}
			if tt.bundle != nil {
				write(filepath.Base(path)+".sigstore.json", tt.bundle)
			}
			needs := attestor.VEXNeeds{Sources: []attestor.VEXSource{{SignedBy: rule, File: path}}}
			got, problems := source.Statements(t.Context(), images(t), needs)
			if tt.want == "" {
				if len(got) != 1 || len(problems) != 0 || got[0].Source != needs.Sources[0].Text() || !strings.HasPrefix(got[0].Signer, "key sha256:") {
					t.Errorf("got %+v, problems %+v", got, problems)
				}
				return
			}
			if len(got) != 0 || len(problems) != 1 || problems[0].Code != attestor.CodeVEXUnavailable || !strings.Contains(problems[0].Message, tt.want) {
				t.Errorf("got %+v, problems %+v; want %q", got, problems, tt.want)
			}
		})
	}
}

// FuzzDocument: no bytes make a panic, or a statement that is exactly about an image
// which they name neither by digest nor by repository.
func FuzzDocument(f *testing.F) {
	f.Add(corpus.OpenVEX(exactly, "CVE-2026-1", "not_affected", time.Unix(0, 0)))
	f.Add(corpus.CycloneDXVEX(exactly, "CVE-2026-1", "resolved", time.Unix(0, 0)))
	list := images(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := vex.Document(b, list)
		if err != nil && len(got) != 0 {
			t.Errorf("%+v with %v", got, err)
		}
		text := strings.ToLower(string(b))
		for _, st := range got {
			if !json.Valid(b) {
				t.Errorf("%+v of what is no JSON: %q", st, b)
			}
			if st.Exact && !strings.ContainsAny(text, `%\`) && !strings.Contains(text, digestHex) && !strings.Contains(text, "acme/prod/app") {
				t.Errorf("%+v of %q", st, b)
			}
			if st.Status != "affected" && st.Status != "not_affected" && st.Status != "fixed" && st.Status != "under_investigation" {
				t.Errorf("status %q", st.Status)
			}
		}
	})
}
