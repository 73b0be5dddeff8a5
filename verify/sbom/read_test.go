package sbom_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/sbom"
)

// moduleFile reads a file of a module that this one depends on.
func moduleFile(t testing.TB, module, file string) []byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Documents that others wrote, which other modules carry: those of SQLite's port, and the examples of the libraries.
func realDocuments(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"sqlite.spdx":   moduleFile(t, "modernc.org/sqlite", "sbom.spdx.json"),
		"sqlite.cdx":    moduleFile(t, "modernc.org/sqlite", "sbom.cdx.json"),
		"example2.spdx": moduleFile(t, "github.com/spdx/tools-golang", "examples/sample-docs/json/SPDXJSONExample-v2.2.spdx.json"),
		"example.spdx":  moduleFile(t, "github.com/spdx/tools-golang", "examples/sample-docs/json/SPDXJSONExample-v2.3.spdx.json"),
		"example.cdx":   moduleFile(t, "github.com/CycloneDX/cyclonedx-go", "testdata/valid-bom.json"),
	}
}

// named is what the libraries and the reader agree on: a package's name and version, and its licenses as far as they
// are stated.
type named struct {
	Name, Version string
	Licenses      []string
}

func TestReaderAgreesWithTheLibraries(t *testing.T) {
	for file, doc := range realDocuments(t) {
		t.Run(file, func(t *testing.T) {
			got, err := sbom.Read(doc, sbom.MaxPackages)
			if err != nil {
				t.Fatal(err)
			}
			var read []named
			for _, p := range got.Packages {
				read = append(read, named{strings.ToLower(p.Bare()), p.Version, p.Licenses})
			}

			want := bySPDX
			if strings.HasSuffix(file, ".cdx") {
				want = byCycloneDX
			}
			packages := want(t, doc)
			if len(packages) == 0 {
				t.Fatal("the library finds no package: this would prove nothing")
			}
			order := func(a, b named) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
			slices.SortFunc(read, order)
			slices.SortFunc(packages, order)
			if diff := gocmp.Diff(packages, read, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-library +reader):\n%s", diff)
			}
		})
	}
}

// by names a package by its package URL, if it has one.
func (n *named) by(purl string) {
	if u, err := packageurl.FromString(purl); err == nil {
		n.Name = strings.ToLower(u.Name)
		n.Version = cmp.Or(u.Version, n.Version)
	}
}

// bare is the last part of a name, which package URLs have in lower case for some types.
func bare(name string) string { return strings.ToLower(name[strings.LastIndexByte(name, '/')+1:]) }

func bySPDX(t *testing.T, doc []byte) (out []named) {
	d, err := spdxjson.Read(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, r := range d.Relationships {
		if r.Relationship == "DESCRIBES" && r.RefA.ElementRefID == "DOCUMENT" {
			described[string(r.RefB.ElementRefID)] = true
		}
	}

	for _, p := range d.Packages {
		if len(described) == 1 && described[string(p.PackageSPDXIdentifier)] {
			continue // the document's own subject
		}
		n := named{Name: bare(p.PackageName), Version: p.PackageVersion}
		for _, ref := range p.PackageExternalReferences {
			if ref.RefType == "purl" {
				n.by(ref.Locator)
			}
		}
		for _, l := range []string{p.PackageLicenseConcluded, p.PackageLicenseDeclared} {
			if l != "" && l != "NOASSERTION" && l != "NONE" && !slices.Contains(n.Licenses, l) {
				n.Licenses = append(n.Licenses, l)
			}
		}
		out = append(out, n)
	}
	return out
}

func byCycloneDX(t *testing.T, doc []byte) (out []named) {
	var b cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(doc), cdx.BOMFileFormatJSON).Decode(&b); err != nil {
		t.Fatal(err)
	}
	var walk func(list *[]cdx.Component)
	walk = func(list *[]cdx.Component) {
		if list == nil {
			return
		}
		for _, c := range *list {
			n := named{Name: bare(c.Name), Version: c.Version}
			n.by(c.PackageURL)
			if c.Licenses != nil {
				for _, l := range *c.Licenses {
					id := l.Expression
					if l.License != nil {
						id = l.License.ID + l.License.Name
					}
					if !slices.Contains(n.Licenses, id) {
						n.Licenses = append(n.Licenses, id)
					}
				}
			}
			out = append(out, n)
			walk(c.Components)
		}
	}
	walk(b.Components)
	return out
}

const subject = attestor.Digest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")

func TestDocuments(t *testing.T) {
	const ok = sbom.Fault(-1)
	spdx := func(rest string) string { return `{"spdxVersion":"SPDX-2.3",` + rest + `}` }
	cyclone := func(rest string) string { return `{"bomFormat":"CycloneDX","specVersion":"1.6",` + rest + `}` }
	nested := strings.Repeat(`{"type":"library","name":"x","components":[`, 40) + strings.Repeat(`]}`, 40)
	for name, tt := range map[string]struct {
		doc   string
		fault sbom.Fault
		names []string
	}{
		"SPDX": {spdx(`"packages":[{"name":"a","versionInfo":"1"}]`), ok, []string{"a@1"}},
		"a package URL wins": {spdx(`"packages":[{"name":"x","externalRefs":[{"referenceType":"purl",` +
			`"referenceLocator":"pkg:deb/debian/a@1?arch=amd64"}]}]`), ok, []string{"pkg:deb/debian/a@1"}},
		"two package URLs": {spdx(`"packages":[{"name":"x","externalRefs":[{"referenceType":"purl",` +
			`"referenceLocator":"pkg:npm/b@2"},{"referenceType":"purl","referenceLocator":"pkg:npm/%40a/a@1"}]}]`),
			ok, []string{"pkg:npm/@a/a@1", "pkg:npm/b@2"}},
		"an invalid package URL": {spdx(`"packages":[{"name":"x","externalRefs":[{"referenceType":"purl",` +
			`"referenceLocator":"deb:a"}]}]`), ok, []string{"x"}},
		"what is described is left": {spdx(`"packages":[{"SPDXID":"SPDXRef-i","name":"image"},` +
			`{"SPDXID":"SPDXRef-a","name":"a"}],"relationships":[{"spdxElementId":"SPDXRef-DOCUMENT",` +
			`"relationshipType":"DESCRIBES","relatedSpdxElement":"SPDXRef-i"}]`), ok, []string{"a"}},
		"described before": {spdx(`"documentDescribes":["SPDXRef-i"],"packages":[{"SPDXID":"SPDXRef-i",` +
			`"name":"image"},{"SPDXID":"SPDXRef-a","name":"a"}]`), ok, []string{"a"}},
		"everything is described": {spdx(`"documentDescribes":["SPDXRef-i","SPDXRef-a"],` +
			`"packages":[{"SPDXID":"SPDXRef-i","name":"i"},{"SPDXID":"SPDXRef-a","name":"a"}]`),
			ok, []string{"i", "a"}},
		"CycloneDX": {cyclone(`"components":[{"type":"library","group":"g","name":"a","version":"1"}]`), ok, []string{"g/a@1"}},
		"nested components": {cyclone(`"components":[{"type":"application","name":"a",` +
			`"components":[{"type":"library","name":"b"}]}]`), ok, []string{"b", "a"}},
		"components of the subject": {cyclone(`"metadata":{"component":{"type":"container","name":"image",` +
			`"components":[{"type":"library","name":"b"}]}}`), ok, []string{"b"}},
		"files and systems are none": {cyclone(`"components":[{"type":"file","name":"/a"},` +
			`{"type":"operating-system","name":"debian"},{"type":"library","name":"b"}]`), ok, []string{"b"}},
		"a file that is a package": {cyclone(`"components":[{"type":"file","name":"/a","purl":"pkg:maven/g/a@1"}]`), ok, []string{"pkg:maven/g/a@1"}},
		"a package URL by its address": {spdx(`"packages":[{"name":"x","externalRefs":[{"referenceType":` +
			`"http://spdx.org/rdf/references/purl","referenceLocator":"pkg:maven/g/a@1"}]}]`), ok, []string{"pkg:maven/g/a@1"}},
		"another reference by its address": {spdx(`"packages":[{"name":"x","externalRefs":[{"referenceType":` +
			`"http://spdx.org/rdf/references/cpe23Type","referenceLocator":"pkg:maven/g/a@1"}]}]`), ok, []string{"x"}},
		"null lists":                  {cyclone(`"components":null`), ok, nil},
		"no members":                  {`{}`, sbom.Unsupported, nil},
		"SPDX 3":                      {`{"@context":"x","@graph":[]}`, sbom.Unsupported, nil},
		"SPDX 2 with a context":       {spdx(`"@context":"x","packages":[]`), sbom.Unsupported, nil},
		"SPDX of no version":          {`{"packages":[]}`, sbom.Unsupported, nil},
		"CycloneDX 2":                 {`{"bomFormat":"CycloneDX","specVersion":"2.0","components":[]}`, sbom.Unsupported, nil},
		"another BOM":                 {`{"bomFormat":"cyclonedx","specVersion":"1.6"}`, sbom.Unsupported, nil},
		"a text":                      {`"SPDXVersion: SPDX-2.3"`, sbom.Unsupported, nil},
		"both":                        {`{"spdxVersion":"SPDX-2.3","packages":[],"components":[]}`, sbom.Malformed, nil},
		"packages twice":              {spdx(`"packages":[{"name":"evil"}],"packages":[]`), sbom.Malformed, nil},
		"a name twice":                {spdx(`"packages":[{"name":"evil","name":"fine"}]`), sbom.Malformed, nil},
		"names in another case":       {spdx(`"Packages":[{"name":"evil"}]`), ok, nil}, // no member of SPDX
		"a package without a name":    {spdx(`"packages":[{"versionInfo":"1"}]`), sbom.Malformed, nil},
		"a number for a name":         {spdx(`"packages":[{"name":1}]`), sbom.Malformed, nil},
		"an object for packages":      {spdx(`"packages":{}`), sbom.Malformed, nil},
		"invalid UTF-8":               {spdx("\"packages\":[{\"name\":\"\xff\"}]"), sbom.Malformed, nil},
		"text behind":                 {spdx(`"packages":[]`) + `{}`, sbom.Malformed, nil},
		"cut short":                   {spdx(`"packages":[{"name":"a"}]`)[:40], sbom.Malformed, nil},
		"nested too deep":             {cyclone(`"components":[` + nested + `]`), sbom.Malformed, nil},
		"arrays within arrays":        {spdx(`"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)), sbom.Malformed, nil},
		"a long name":                 {spdx(`"packages":[{"name":"` + strings.Repeat("a", 2000) + `"}]`), sbom.Malformed, nil},
		"more packages than allowed":  {spdx(`"packages":[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"}]`), sbom.TooLarge, nil},
		"more nested than allowed":    {cyclone(`"components":[{"name":"a","components":[{"name":"b"},{"name":"c"},{"name":"d"}]}]`), sbom.TooLarge, nil},
		"as many packages as allowed": {spdx(`"packages":[{"name":"a"},{"name":"b"},{"name":"c"}]`), ok, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sbom.Read([]byte(tt.doc), 3)
			e, failed := errors.AsType[*sbom.Error](err)
			if failed != (tt.fault != ok) || failed && e.Fault != tt.fault || err != nil && !failed {
				t.Fatalf("%v, want fault %d", err, tt.fault)
			}
			var names []string
			for _, p := range got.Packages {
				names = append(names, p.String())
			}
			if diff := gocmp.Diff(tt.names, names); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSubjects: what a document is about is the image, or a package, which is kept apart: it is no package beside others,
// and a denied one is denied.
func TestSubjects(t *testing.T) {
	spdx := func(subject string) string {
		return `{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"SPDXRef-s",` + subject + `},{"name":"a","SPDXID":"SPDXRef-a"}],` +
			`"relationships":[{"spdxElementId":"SPDXRef-DOCUMENT","relationshipType":"DESCRIBES","relatedSpdxElement":"SPDXRef-s"}]}`
	}
	purl := func(p string) string {
		return `"name":"s","externalRefs":[{"referenceType":"purl","referenceLocator":"` + p + `"}]`
	}
	alone := func(doc string) string { return strings.Replace(doc, `,{"name":"a","SPDXID":"SPDXRef-a"}`, "", 1) }
	cyclone := func(subject string) string {
		return `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{` + subject + `}},"components":[{"type":"library","name":"a"}]}`
	}
	for name, tt := range map[string]struct {
		doc   string
		about []string
	}{
		"an image":                 {spdx(purl("pkg:oci/s@sha256%3Aabc?repository_url=x.example/s")), nil},
		"an image of Docker's":     {spdx(purl("pkg:docker/acme/s@1")), nil},
		"without a package URL":    {spdx(`"name":"s"`), nil},
		"a package":                {spdx(purl("pkg:maven/g/s@1")), []string{"pkg:maven/g/s@1"}},
		"a package, by itself":     {alone(spdx(purl("pkg:npm/s@1"))), []string{"pkg:npm/s@1"}},
		"a name, by itself":        {alone(spdx(`"name":"s","versionInfo":"2","licenseDeclared":"MIT"`)), []string{"s@2"}},
		"a container, by itself":   {alone(spdx(`"name":"s","primaryPackagePurpose":"CONTAINER"`)), nil},
		"CycloneDX of an image":    {cyclone(`"type":"container","name":"s","purl":"pkg:oci/s@sha256%3Aabc"`), nil},
		"CycloneDX of a container": {cyclone(`"type":"container","name":"s","version":"sha256:abc"`), nil},
		"CycloneDX of an application": {cyclone(`"type":"application","name":"s","licenses":[{"license":{"id":"MIT"}}],` +
			`"purl":"pkg:golang/g/s@v1"`), []string{"pkg:golang/g/s@v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sbom.Read([]byte(tt.doc), 3)
			if err != nil {
				t.Fatal(err)
			}
			var about []string
			for _, p := range got.About {
				about = append(about, p.String())
				if len(p.Licenses) > 0 {
					t.Errorf("%s has licenses", p.String())
				}
			}
			if diff := gocmp.Diff(tt.about, about); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if slices.ContainsFunc(got.Packages, func(p attestor.Package) bool { return p.Bare() == "s" }) {
				t.Errorf("it is among the packages: %+v", got.Packages)
			}
		})
	}

	// No number of package URLs makes a record of any size.
	var many strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, `,{"referenceType":"purl","referenceLocator":"pkg:npm/s%d@1"}`, i)
	}
	_, err := sbom.Read([]byte(alone(spdx(`"name":"s","externalRefs":[`+many.String()[1:]+`]`))), 100)
	if e, ok := errors.AsType[*sbom.Error](err); !ok || e.Fault != sbom.Malformed {
		t.Errorf("a subject with 65 package URLs: %v", err)
	}
}

// TestWhatIsNoPackage: the operating system, files, and what Trivy groups packages by are no packages in either format,
// unless they say which one. The members are as Trivy 0.50, 0.58 and 0.67 write them.
func TestWhatIsNoPackage(t *testing.T) {
	class := func(value string) string {
		return `"annotations":[{"annotator":"Tool: trivy-0.58.0","annotationDate":"2025-02-13T12:22:22Z","annotationType":"OTHER",` +
			`"comment":"Class: ` + value + `"},{"annotator":"Tool: trivy-0.58.0","annotationType":"OTHER","comment":"Type: gobinary"}]`
	}
	property := func(value string) string {
		return `"properties":[{"name":"aquasecurity:trivy:Type","value":"gobinary"},{"name":"aquasecurity:trivy:Class","value":"` + value + `"}]`
	}
	const located = `,"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:golang/g/p@v1"}]`
	for entry, isPackage := range map[string]bool{
		`"name":"p","primaryPackagePurpose":"OPERATING-SYSTEM"`:           false,
		`"name":"p","primaryPackagePurpose":"OPERATING_SYSTEM"`:           false,
		`"name":"p","primaryPackagePurpose":"FILE"`:                       false,
		`"name":"p","primaryPackagePurpose":"OPERATING-SYSTEM"` + located: true,
		`"name":"p","primaryPackagePurpose":"LIBRARY"`:                    true,
		`"name":"p"`: true,
		`"name":"p","primaryPackagePurpose":"APPLICATION"`:                                           true,
		`"name":"p","primaryPackagePurpose":"APPLICATION",` + class("lang-pkgs"):                     false,
		`"name":"p","primaryPackagePurpose":"APPLICATION",` + class("lang-pkgs") + located:           true,
		`"name":"p","primaryPackagePurpose":"APPLICATION",` + class("os-pkgs"):                       true,
		`"name":"p","primaryPackagePurpose":"LIBRARY",` + class("lang-pkgs"):                         true,
		`"name":"p","primaryPackagePurpose":"APPLICATION","attributionTexts":["Class: lang-pkgs"]`:   false,
		`"type":"application","name":"p"`:                                                            true,
		`"type":"application","name":"p",` + property("lang-pkgs"):                                   false,
		`"type":"application","name":"p","purl":"pkg:golang/g/p@v1",` + property("lang-pkgs"):        true,
		`"type":"library","name":"p",` + property("lang-pkgs"):                                       true,
		`"type":"application","name":"p",` + property("os-pkgs"):                                     true,
		`"type":"application","name":"p",` + strings.ReplaceAll(property("lang-pkgs"), "trivy", "x"): true,
	} {
		doc := `{"spdxVersion":"SPDX-2.3","packages":[{` + entry + `}]}`
		if strings.HasPrefix(entry, `"type"`) {
			doc = `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{` + entry + `}]}`
		}
		got, err := sbom.Read([]byte(doc), 3)
		if err != nil || (len(got.Packages) == 1) != isPackage {
			t.Errorf("%s: %+v, %v, want a package: %t", entry, got.Packages, err, isPackage)
		}
	}
}

// TestManyLicenses: a package under as many licenses as Debian's largest copyright files name is read whole, and a
// document is not cut short where there are more.
func TestManyLicenses(t *testing.T) {
	for n, want := range map[int]int{65: 65, 256: 256, 257: 0} {
		var list strings.Builder
		for i := range n {
			fmt.Fprintf(&list, `,{"license":{"name":"L-%d"}}`, i)
		}
		got, err := sbom.Read([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"a","licenses":[`+list.String()[1:]+`]}]}`), 3)
		switch {
		case want == 0:
			if e, ok := errors.AsType[*sbom.Error](err); !ok || e.Fault != sbom.Malformed {
				t.Errorf("%d licenses: %v", n, err)
			}
		case err != nil || len(got.Packages[0].Licenses) != want:
			t.Errorf("%d licenses: %+v, %v", n, got.Packages, err)
		}
	}
}

// A statement counts by its own subject, whatever it is attached to.
func TestStatements(t *testing.T) {
	const ok = sbom.Fault(-1)
	statement := func(change ...string) string {
		return strings.NewReplacer(change...).Replace(`{"_type":"https://in-toto.io/Statement/v1",` +
			`"predicate":{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"}]},` +
			`"predicateType":"https://spdx.dev/Document","subject":[{"name":"x","digest":{"sha256":"` + subject.Hex() + `"}}]}`)
	}
	other := strings.Repeat("b", 64)
	for name, tt := range map[string]struct {
		doc   string
		fault sbom.Fault
	}{
		"about the image":          {statement(), ok},
		"about it and another":     {statement(`"subject":[`, `"subject":[{"digest":{"sha256":"`+other+`"}},`), ok},
		"about another":            {statement(subject.Hex(), other), sbom.OtherDigest},
		"about nothing":            {statement(`{"name":"x","digest":{"sha256":"`+subject.Hex()+`"}}`, ""), sbom.OtherDigest},
		"without a subject":        {statement(`"subject"`, `"subjects"`), sbom.OtherDigest},
		"by another algorithm":     {statement(`"sha256"`, `"sha512"`), sbom.OtherDigest},
		"in the name only":         {statement(`"name":"x","digest":{"sha256"`, `"digest":{},"name":{"sha256"`), sbom.OtherDigest},
		"two subjects lists":       {statement(`"subject":[`, `"subject":[],"subject":[`), sbom.Malformed},
		"two predicates":           {statement(`"predicate":`, `"predicate":{},"predicate":`), sbom.Malformed},
		"of another kind":          {statement("https://spdx.dev/Document", "https://slsa.dev/provenance/v1"), sbom.NotSBOM},
		"of a version":             {statement("https://spdx.dev/Document", "https://spdx.dev/Document/v2.3"), ok},
		"of a version to come":     {statement("https://spdx.dev/Document", "https://spdx.dev/Document/v2.4"), ok},
		"of a type that begins so": {statement("https://spdx.dev/Document", "https://spdx.dev/Documentation"), sbom.NotSBOM},
		"in SPDX 3": {statement("https://spdx.dev/Document", "https://spdx.dev/Document/v3",
			`{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"}]}`, `{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}`),
			sbom.Unsupported},
		"in syft's own form": {statement("https://spdx.dev/Document", "https://syft.dev/bom",
			`{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"}]}`, `{"artifacts":[],"schema":{"version":"16.0.0"}}`), sbom.Unsupported},
		"no in-toto statement":    {statement("in-toto.io", "example.com"), sbom.Malformed},
		"of no predicate":         {statement(`"predicate":`, `"predicates":`), sbom.Unsupported},
		"a predicate that is bad": {statement(`{"name":"a"}`, `{"name":"a","name":"b"}`), sbom.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sbom.ReadStatement([]byte(tt.doc), subject, 3)
			e, failed := errors.AsType[*sbom.Error](err)
			if failed != (tt.fault != ok) || failed && e.Fault != tt.fault {
				t.Fatalf("%v, want fault %d", err, tt.fault)
			}
			if !failed && len(got.Packages) != 1 {
				t.Errorf("%d packages", len(got.Packages))
			}
		})
	}
}

// Whatever is read is within the bounds, reads the same again, and is about the digest.
func FuzzRead(f *testing.F) {
	for _, doc := range realDocuments(f) {
		if len(doc) < 32<<10 {
			f.Add(doc)
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := sbom.Read(bytes.Clone(doc), 100)
		if err != nil {
			if len(got.Packages) > 0 {
				t.Error("packages of a document that was refused")
			}
			return
		}
		if len(got.Packages) > 100 || got.Format != attestor.FormatSPDX && got.Format != attestor.FormatCycloneDX {
			t.Errorf("%s with %d packages", got.Format, len(got.Packages))
		}
		for _, p := range got.Packages {
			if p.Name == "" {
				t.Error("a package without a name")
			}
		}
		again, err := sbom.Read(doc, 100)
		if diff := gocmp.Diff(got, again); diff != "" || err != nil {
			t.Errorf("read again: %v\n%s", err, diff)
		}
	})
}

func FuzzReadStatement(f *testing.F) {
	f.Fuzz(func(t *testing.T, statement []byte) {
		_, err := sbom.ReadStatement(statement, subject, 100)
		if err == nil && !bytes.Contains(statement, []byte(subject.Hex())) && !bytes.Contains(statement, []byte(`\u`)) {
			t.Error("a statement that does not name the digest is about it")
		}
	})
}
