package corpus

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
)

// FileBundle is a signature of a file in a Sigstore bundle without log entry, as cosign
// sign-blob writes it.
func (k Key) FileBundle(content []byte) []byte {
	sum := sha256.Sum256(content)
	b, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: BundleMedia,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "k"}},
		},
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     k.Sign(content),
		}},
	})

	check(err)
	return b
}

// OpenVEX is a document with one statement about a vulnerability in a product.
func OpenVEX(product, id, status string, at time.Time) []byte {
	return fmt.Appendf(nil, `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex/1","author":"Acme",
		"timestamp":%q,"version":1,"statements":[{"vulnerability":{"name":%q},"products":[{"@id":%q}],"status":%q,
		"justification":"vulnerable_code_not_in_execute_path"}]}`, at.UTC().Format(time.RFC3339), id, product, status)
}

// CycloneDXVEX is a document about an image with one analysis of a vulnerability in it.
func CycloneDXVEX(product, id, state string, at time.Time) []byte {
	return fmt.Appendf(nil, `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":%q,
		"component":{"type":"container","bom-ref":"image","name":"app","purl":%q}},
		"vulnerabilities":[{"id":%q,"analysis":{"state":%q,"justification":"code_not_reachable"},"affects":[{"ref":"image"}]}]}`,
		at.UTC().Format(time.RFC3339), product, id, state)
}

// Predicate puts a document into an in-toto statement about a digest.
func Predicate(d attestor.Digest, predicateType string, document []byte) []byte {
	return fmt.Appendf(nil,
		`{"_type":"https://in-toto.io/Statement/v1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],"predicate":%s}`,
		predicateType, d.Hex(), document)
}

// OCIProduct is an image's package URL.
func OCIProduct(d attestor.Digest) string {
	return "pkg:oci/app@" + strings.Replace(string(d), ":", "%3A", 1)
}

// vexes are documents about a finding that the policy refuses.
func vexes() []Case {
	const (
		group = "vex/"
		id    = "CVE-2026-1"
		open  = "https://openvex.dev/ns/v0.2.0"
		cdx   = "https://cyclonedx.org/bom"
	)
	key, other := NewKey(), NewKey()
	now := time.Now()
	yesterday := now.Add(-24 * time.Hour)
	refused := denied(attestor.CodeFixableSeverityExceeded)
	attached := policyOf(", vex: {accept: [not_affected, fixed], sources: [{name: ours, signedBy: {key: " +
		"$DIR/key.pub}}]}")
	filed := policyOf(", vex: {accept: [not_affected, fixed], sources: [{name: ours, signedBy: {key: $DIR/key.pub}, " +
		"file: $DIR/vex.json}]}")

	claimed := func(name, policy string, want Want, put func(p *Place, s *signing, d attestor.Digest)) Case {
		return Case{Name: group + name, Policy: policy, Want: want, Arrange: func(p *Place) {
			p.Files["key.pub"] = key.PublicPEM()
			image := p.Good()
			m, _ := image.Bytes()
			d := p.Push(image)
			p.Scans[d] = []*grafeaspb.Occurrence{
				Complete(p.Resource(d), now), Finding(p.Resource(d), id, grafeaspb.Severity_CRITICAL),
			}
			put(p, &signing{p: p, repo: p.Repo, base: d, size: len(m)}, d)
		}}
	}
	refer := func(k Key, predicateType string, doc func(d attestor.Digest) []byte) func(*Place, *signing,
		attestor.Digest) {
		return func(_ *Place, s *signing, d attestor.Digest) { s.refer(k.Bundle(Predicate(d, predicateType, doc(d)))) }
	}
	says := func(status string) func(attestor.Digest) []byte {
		return func(d attestor.Digest) []byte { return OpenVEX(OCIProduct(d), id, status, yesterday) }
	}
	about := func(product string) func(attestor.Digest) []byte {
		return func(attestor.Digest) []byte { return OpenVEX(product, id, "not_affected", yesterday) }
	}
	file := func(k Key, doc func(d attestor.Digest) []byte) func(*Place, *signing, attestor.Digest) {
		return func(p *Place, _ *signing, d attestor.Digest) {
			p.Files["vex.json"] = doc(d)
			p.Files["vex.json.sigstore.json"] = k.FileBundle(doc(d))
		}
	}
	const byOther = group + "by another key"
	return []Case{
		claimed("by another key", attached, refused, refer(other, open, says("not_affected"))),
		claimed("OpenVEX by the key", attached, admitted(), refer(key, open, says("not_affected"))).mending(byOther),
		claimed("OpenVEX as cosign types it", attached, admitted(), refer(key, "https://openvex.dev/ns",
			says("fixed"))).mending(byOther),
		claimed("CycloneDX by the key", attached, admitted(), refer(key, cdx, func(d attestor.Digest) []byte {
			return CycloneDXVEX(OCIProduct(d), id, "not_affected", yesterday)
		})).mending(byOther),
		claimed("under cosign's tag", attached, admitted(), func(_ *Place, s *signing, d attestor.Digest) {
			s.attach("att", key.Envelope(Predicate(d, open, says("not_affected")(d))))
		}).mending(byOther),
		claimed("none", attached, refused, func(*Place, *signing, attestor.Digest) {}),
		claimed("unsigned", attached, refused, func(_ *Place, s *signing, d attestor.Digest) {
			s.refer(Edit(key.Bundle(Predicate(d, open, says("not_affected")(d))), func(b *protobundle.Bundle) {
				b.GetDsseEnvelope().Signatures = nil
			}))
		}),
		claimed("affected", attached, refused, refer(key, open, says("affected"))),
		claimed("CycloneDX that says exploitable", attached, refused, refer(key, cdx, func(d attestor.Digest) []byte {
			return CycloneDXVEX(OCIProduct(d), id, "exploitable", yesterday)
		})),
		claimed("of another digest as product", attached, refused,
			refer(key, open, about(OCIProduct(Sum([]byte("another image")))))),
		claimed("of any image of the name", attached, refused, refer(key, open, about("pkg:oci/app"))),
		claimed("of tomorrow", attached, refused, refer(key, open, func(d attestor.Digest) []byte {
			return OpenVEX(OCIProduct(d), id, "not_affected", now.Add(48*time.Hour))
		})),
		claimed("about another digest", attached, refused, func(_ *Place, s *signing, d attestor.Digest) {
			s.refer(key.Bundle(Predicate(Sum([]byte("another image")), open, says("not_affected")(d))))
		}),
		claimed("beside a newer one that says affected", attached, refused, func(_ *Place, s *signing,
			d attestor.Digest) {
			s.refer(key.Bundle(Predicate(d, open, says("not_affected")(d))))
			s.refer(key.Bundle(Predicate(d, open, OpenVEX(OCIProduct(d), id, "affected", now.Add(-time.Hour)))))
		}),
		claimed("beside a newer one of a version to come that says affected", attached, refused, func(_ *Place, s *signing,
			d attestor.Digest) {
			s.refer(key.Bundle(Predicate(d, open, says("not_affected")(d))))
			s.refer(key.Bundle(Predicate(d, "https://openvex.dev/ns/v0.9.0",
				OpenVEX(OCIProduct(d), id, "affected", now.Add(-time.Hour)))))
		}),
		claimed("beside a newer one in an envelope of its own that says affected", attached, refused, func(_ *Place, s *signing,
			d attestor.Digest) {
			s.refer(key.Bundle(Predicate(d, open, says("not_affected")(d))))
			s.referDocument("application/vnd.dsse.envelope.v1+json",
				key.Envelope(Predicate(d, open, OpenVEX(OCIProduct(d), id, "affected", now.Add(-time.Hour)))).Payload)
		}),
		claimed("beside one that is larger than is read", attached, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable), func(_ *Place, s *signing, d attestor.Digest) {
			s.refer(key.Bundle(Predicate(d, open, says("not_affected")(d))))
			s.referDocument(BundleMedia, bytes.Repeat([]byte(" "), 8<<20+1))
		}),
		claimed("signed and malformed", attached, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable),
			refer(key, open, func(attestor.Digest) []byte {
				return []byte(`{"@context":"https://openvex.dev/ns/v0.2.0","statements":5}`)
			})),
		claimed("signed, with a name twice", attached, refused, refer(key, open, func(d attestor.Digest) []byte {
			return []byte(strings.Replace(string(says("affected")(d)), `"status":`, `"status":"not_affected","status":`,
				1))
		})),
		claimed("in a registry that does not answer", attached, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable),
			func(p *Place, _ *signing, _ attestor.Digest) {
				p.Front = func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, "/referrers/") {
						return false
					}
					w.WriteHeader(http.StatusForbidden)
					return true
				}
			}),
		claimed("among too many referrers to be read", attached, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable),
			func(_ *Place, s *signing, d attestor.Digest) {
				s.refer(key.Bundle(Predicate(d, open, says("not_affected")(d))))
				for i := range 70 {
					s.refer(other.Bundle(Predicate(d, fmt.Sprintf("https://example.com/%d", i), []byte("{}"))))
				}
			}),
		claimed("a file by another key", filed, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable), file(other, says("not_affected"))),
		claimed("a file by the key", filed, admitted(), file(key, says("not_affected"))).mending(
			group + "a file by another key"),
		claimed("a file that is missing", filed, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable), func(*Place, *signing, attestor.Digest) {}),
		claimed("a file that was changed after it was signed", filed, undecided(attestor.CodeFixableSeverityExceeded,
			attestor.CodeVEXUnavailable),
			func(p *Place, s *signing, d attestor.Digest) {
				file(key, says("affected"))(p, s, d)
				p.Files["vex.json"] = says("not_affected")(d)
			}),
		claimed("a file that says affected", filed, refused, file(key, says("affected"))),
	}
}
