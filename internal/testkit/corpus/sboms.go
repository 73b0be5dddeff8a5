package corpus

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// The predicate types of bills of materials, and the media types of those by themselves.
const (
	SPDXPredicate      = "https://spdx.dev/Document"
	CycloneDXPredicate = "https://cyclonedx.org/bom"
	SPDXMedia          = "application/spdx+json"
)

// SPDX is a document that lists packages, each as name@version with its type: pkg:deb/debian/openssl@3.0.15.
func SPDX(licence string, purls ...string) []byte {
	var packages []map[string]any
	for i, purl := range purls {
		name, version, _ := strings.Cut(purl[strings.LastIndexByte(purl, '/')+1:], "@")
		packages = append(packages, map[string]any{
			"SPDXID": fmt.Sprintf("SPDXRef-%d", i), "name": name, "versionInfo": version,
			"downloadLocation": "NOASSERTION",
			"licenseConcluded": "NOASSERTION", "licenseDeclared": licence,
			"externalRefs": []map[string]string{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
				"referenceLocator": purl}},
		})
	}

	return JSON(map[string]any{
		"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "dataLicense": "CC0-1.0", "name": "app",
		"documentNamespace": "https://example.com/app", "packages": packages,
	})
}

// CycloneDX is a document that lists components by their package URLs.
func CycloneDX(purls ...string) []byte {
	var components []map[string]any
	for _, purl := range purls {
		name, version, _ := strings.Cut(purl[strings.LastIndexByte(purl, '/')+1:], "@")
		components = append(components, map[string]any{"type": "library", "name": name,
			"version": version, "purl": purl})
	}
	return JSON(map[string]any{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components})
}

// Stated is an in-toto statement about an image that holds a document.
func Stated(d attestor.Digest, predicateType string, document []byte) []byte {
	return fmt.Appendf(nil,
		`{"_type":"https://in-toto.io/Statement/v1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],"predicate":%s}`,
		predicateType, d.Hex(), document)
}

// referDocument pushes a referrer with a document that nobody signed.
func (s *signing) referDocument(media string, document []byte) {
	config := []byte("{}")
	s.p.Blobs = append(s.p.Blobs, Blob{s.repo, config}, Blob{s.repo, document})
	m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":%s,"layers":[%s],"subject":%s}`,
		OCIManifest, media,
		Desc("application/vnd.oci.empty.v1+json", config, ""), Desc(media, document, ""),
		DescOf(OCIManifest, s.base, s.size, ""))
	s.p.Manifests = append(s.p.Manifests, Manifest{s.repo, "", OCIManifest, m})
}

// buildAttested pushes, in place of the image, an index with the image and the attestation that BuildKit makes of it.
func buildAttested(key Key, signed bool) func(*signing) {
	return func(s *signing) {
		image := s.p.Good()
		statement := Stated(s.base, SPDXPredicate, SPDX("MIT", "pkg:deb/debian/openssl@3.0.15"))
		config := []byte(
			`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":["` +
				string(Sum(statement)) + `"]}}`)
		s.p.Blobs = append(s.p.Blobs, Blob{s.repo, config}, Blob{s.repo, statement})
		m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, OCIManifest,
			Desc(OCIConfig, config, ""),
			Desc("application/vnd.in-toto+json", statement, `"annotations":{"in-toto.io/predicate-type":"`+
				SPDXPredicate+`"}`))
		s.p.Manifests = append(s.p.Manifests, Manifest{s.repo, string(Sum(m)), OCIManifest, m})
		index := Index(image.Entry(),
			DescOf(OCIManifest, Sum(m), len(m), `"platform":{"os":"unknown","architecture":"unknown"},`+
				`"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"`+
				string(s.base)+`"}`))
		s.p.Manifest("1", OCIIndex, index)

		of := &signing{p: s.p, repo: s.repo, base: Sum([]byte(index)), size: len(index)}
		if signed {
			of.refer(key.Bundle(Statement(of.base, SignPredicate)))
		}
	}
}

// sboms are bills of materials that are attached to an image that is otherwise good.
func sboms() []Case {
	const openssl, curl = "pkg:deb/debian/openssl@3.0.15", "pkg:deb/debian/curl@8.5.0"
	key, other, sig := NewKey(), NewKey(), NewSigstore()
	asked := func(more string) string {
		return policyOf("") + "\n  sbom: {required: true, signedBy: {key: $DIR/key.pub}}" + more
	}
	named := func(name, policy string, want Want, attach func(s *signing)) Case {
		return Case{Name: "sboms/" + name, Policy: policy, Want: want, Arrange: func(p *Place) {
			p.Files["key.pub"], p.Files["root.json"] = key.PublicPEM(), sig.Root(false)
			i := p.Good()
			m, _ := i.Bytes()
			attach(&signing{p: p, repo: p.Repo, base: p.Push(i), size: len(m)})
		}}
	}
	document := func(name string, want Want, attach func(s *signing)) Case {
		return named(name, asked(""), want, attach)
	}
	stated := func(predicateType string, document []byte) func(*signing) {
		return func(s *signing) { s.refer(key.Bundle(Stated(s.base, predicateType, document))) }
	}
	signed := func(document []byte) func(*signing) { return stated(SPDXPredicate, document) }
	spdx3 := []byte(`{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[` +
		`{"type":"software_Package","name":"curl","software_packageUrl":"pkg:deb/debian/curl@8.5.0"}]}`)

	unsigned, invalid := denied(attestor.CodeSBOMUnsigned), denied(attestor.CodeSBOMInvalid, attestor.CodeSBOMMissing)
	fine := SPDX("MIT", openssl)
	return []Case{
		document("none", denied(attestor.CodeSBOMMissing), func(*signing) {}),
		document("signed, in SPDX", admitted(), signed(fine)).mending("sboms/none"),
		document("signed by another key", unsigned,
			func(s *signing) { s.refer(other.Bundle(Stated(s.base, SPDXPredicate, fine))) }),
		document("signed, in CycloneDX", admitted(), func(s *signing) {
			s.refer(key.Bundle(Stated(s.base, CycloneDXPredicate, CycloneDX(openssl))))
		}).mending("sboms/signed by another key"),
		document("by itself, signed by nobody", unsigned, func(s *signing) { s.referDocument(SPDXMedia, fine) }),
		document("under cosign's tag, signed", admitted(), func(s *signing) {
			s.attach("att", key.Envelope(Stated(s.base, SPDXPredicate, fine)))
		}).mending("sboms/under cosign's tag, by another key"),
		document("under cosign's tag, by another key", unsigned, func(s *signing) {
			s.attach("att", other.Envelope(Stated(s.base, SPDXPredicate, fine)))
		}),
		document("about another digest", denied(attestor.CodeSBOMOtherDigest, attestor.CodeSBOMMissing), func(s *signing) {
			s.refer(key.Bundle(Stated(s.other(), SPDXPredicate, fine)))
		}),
		document("about another digest, under cosign's tag", denied(attestor.CodeSBOMOtherDigest, attestor.CodeSBOMMissing), func(s *signing) {
			s.attach("att", key.Envelope(Stated(s.other(), SPDXPredicate, fine)))
		}),
		document("with one member twice", invalid,
			signed([]byte(strings.Replace(string(fine), `"name":"app"`, `"packages":[],"name":"app"`, 1)))),
		document("of no JSON", invalid, signed([]byte(`"}`))),
		document("in SPDX 3", denied(attestor.CodeSBOMFormat, attestor.CodeSBOMMissing),
			signed(spdx3)),
		document("in SPDX 3, as in-toto calls it", denied(attestor.CodeSBOMFormat, attestor.CodeSBOMMissing),
			stated("https://spdx.dev/Document/v3", spdx3)),
		named("in SPDX 3, beside one that is read", asked("\n  packages: {deny: [{name: curl}]}"),
			denied(attestor.CodeSBOMFormat), func(s *signing) {
				signed(fine)(s)
				stated("https://spdx.dev/Document/v3", spdx3)(s)
			}),
		named("in SPDX 3 by another key, beside one that is read", asked("\n  packages: {deny: [{name: curl}]}"),
			admitted(), func(s *signing) {
				signed(fine)(s)
				s.refer(other.Bundle(Stated(s.base, "https://spdx.dev/Document/v3", spdx3)))
			}).mending("sboms/in SPDX 3, beside one that is read"),
		document("in syft's own form", denied(attestor.CodeSBOMFormat, attestor.CodeSBOMMissing),
			stated("https://syft.dev/bom", []byte(`{"artifacts":[],"schema":{"version":"16.0.0"}}`))),
		document("in the tag-value form", denied(attestor.CodeSBOMFormat, attestor.CodeSBOMMissing),
			signed([]byte(`"SPDXVersion: SPDX-2.3"`))),
		document("another statement by the signer", denied(attestor.CodeSBOMMissing), func(s *signing) {
			s.refer(key.Bundle(Stated(s.base, "https://slsa.dev/provenance/v1", fine)))
		}),
		named("in a format that the policy leaves out", strings.Replace(asked(""), "required: true, signedBy",
			"required: true, formats: [cyclonedx], signedBy", 1),
			denied(attestor.CodeSBOMFormat, attestor.CodeSBOMMissing), signed(fine)),
		document("nine documents", undecided(attestor.CodeSBOMTooMany), func(s *signing) {
			for i := range 9 {
				s.refer(key.Bundle(Stated(s.base, SPDXPredicate, SPDX("MIT", fmt.Sprint(openssl, i)))))
			}
		}),
		document("more packages than are read", undecided(attestor.CodeSBOMTooLarge), func(s *signing) {
			var packages strings.Builder
			for i := range 100_001 {
				fmt.Fprintf(&packages, `,{"name":"p%d"}`, i)
			}
			s.refer(
				key.Bundle(Stated(s.base, SPDXPredicate,
					[]byte(`{"spdxVersion":"SPDX-2.3","packages":[`+packages.String()[1:]+`]}`))))
		}),
		named("under an exception for documents that are malformed", asked("\n  exceptions: [{check: packages, "+
			"subject: SBOM_INVALID, owner: o, reason: r, expires: 2099-01-01}]"),
			denied(attestor.CodeSBOMMissing), signed([]byte(`"}`))),
		document("larger than is read", undecided(attestor.CodeSBOMTooLarge), func(s *signing) {
			s.referDocument(SPDXMedia, append(slices.Clone(fine), bytes.Repeat([]byte(" "), 33<<20)...))
		}),
		document("a thousand referrers", undecided(attestor.CodeSBOMTooMany), func(s *signing) {
			signed(fine)(s)
			s.referrers(func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", OCIIndex)
				list := strings.Repeat(","+DescOf(OCIManifest, s.base, s.size,
					`"artifactType":"application/vnd.example"`), 1000)
				_, _ = fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, OCIIndex, list[1:])
			})
		}),
		document("by the signer of the index, from the build", admitted(), buildAttested(key, true)).
			mending("sboms/from the build, of an index that nobody signed"),
		document("from the build, of an index that nobody signed", unsigned, buildAttested(key, false)),
		named("a denied package, from the build", asked("\n  packages: {deny: [{name: openssl}]}"),
			denied(attestor.CodePackageDenied, attestor.CodeSBOMUnsigned), buildAttested(key, false)),
		named("a denied package",
			asked("\n  packages: {deny: [{name: openssl, type: deb, reason: \"use the base's\"}]}"),
			denied(attestor.CodePackageDenied), signed(fine)),
		named("a denied package of another version",
			asked("\n  packages: {deny: [{name: openssl, type: deb, versions: [\"3.0.14\"]}]}"),
			admitted(), signed(fine)).mending("sboms/a denied package"),
		named("a denied package, as what the document is about",
			asked("\n  packages: {deny: [{name: openssl, type: deb}]}"), denied(attestor.CodePackageDenied),
			signed([]byte(strings.Replace(string(fine), `"name":"app"`, `"name":"app","documentDescribes":["SPDXRef-0"]`, 1)))),
		named("a package that is not allowed, as what the document is about",
			asked("\n  packages: {allow: [{name: curl, type: deb}]}"), admitted(),
			signed([]byte(strings.Replace(string(fine), `"name":"app"`, `"name":"app","documentDescribes":["SPDXRef-0"]`, 1)))).
			mending("sboms/a package that is not allowed"),
		named("a denied package, in a document that nobody signed", asked("\n  packages: {deny: [{name: openssl}]}"),
			denied(attestor.CodePackageDenied), func(s *signing) {
				signed(SPDX("MIT", curl))(s)
				s.referDocument(SPDXMedia, fine)
			}),
		{Name: "sboms/a denied package, in the scan", Policy: asked(
			"\n  packages: {deny: [{name: openssl, type: deb}]}"), Want: denied(attestor.CodePackageDenied),
			Arrange: func(p *Place) {
				p.Files["key.pub"] = key.PublicPEM()
				i := p.Good()
				m, _ := i.Bytes()
				s := &signing{p: p, repo: p.Repo, base: p.Push(i), size: len(m)}
				signed(SPDX("MIT", curl))(s)
				uri := p.Resource(s.base)
				p.Scans[s.base] = []*grafeaspb.Occurrence{Complete(uri, time.Now()),
					Finding(uri, "CVE-2026-1", grafeaspb.Severity_LOW)}
			}},
		named("a package that is not allowed", asked("\n  packages: {allow: [{name: curl, type: deb}]}"),
			denied(attestor.CodePackageNotAllowed), signed(SPDX("MIT", curl, openssl))),
		named("allowed packages only",
			asked("\n  packages: {allow: [{name: curl, type: deb}, {name: debian/openssl, type: deb}]}"),
			admitted(), signed(SPDX("MIT", curl, openssl))).mending("sboms/a package that is not allowed"),
		named("a denied license", asked("\n  packages: {licenses: {deny: [AGPL-3.0-only]}}"),
			denied(attestor.CodeLicenseDenied), signed(SPDX("MIT AND AGPL-3.0-only", openssl))),
		named("a choice of a denied license", asked("\n  packages: {licenses: {deny: [AGPL-3.0-only]}}"),
			admitted(), signed(SPDX("MIT OR AGPL-3.0-only", openssl))).mending("sboms/a denied license"),
		named("a license that is not stated", asked("\n  packages: {licenses: {deny: [AGPL-3.0-only]}}"),
			denied(attestor.CodeLicenseUnknown), signed(SPDX("NOASSERTION", openssl))),
		{Name: "sboms/referrers that cannot be listed", Policy: asked(""), Want: undecided(attestor.CodeSBOMUnavailable), Arrange: func(p *Place) {
			p.Files["key.pub"] = key.PublicPEM()
			p.Push(p.Good())
			p.Front = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
		}},
	}
}
