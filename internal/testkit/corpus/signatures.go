package corpus

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/attestor-gate/attestor"
)

// A signing is a base of a case's own, what stands beside it in its
// repository, and an image on it that is otherwise good.
type signing struct {
	p    *Place
	repo string // without registry
	base attestor.Digest
	size int
}

// based has a base and an image on it pushed.
func based(p *Place) *signing {
	i := Image{Layers: LayersOf(p.Name)}
	m, _ := i.Bytes()
	s := &signing{p: p, repo: p.Repo + "/base", base: i.Digest(), size: len(m)}
	p.PushTo(s.repo, "1", i)
	p.Push(Image{Layers: LayersOf(p.Name, "app")})
	return s
}

// other is the digest of another image in the base's repository.
func (s *signing) other() attestor.Digest {
	return s.p.PushTo(s.repo, "other", Image{Layers: LayersOf(s.p.Name, "other")})
}

func (s *signing) simple() []byte { return Simple(s.p.Host+"/"+s.repo, s.base) }

func (s *signing) statement() []byte { return Statement(s.base, SignPredicate) }

// attach writes entries under the base's tag with the suffix sig or att.
func (s *signing) attach(suffix string, entries ...Entry) {
	var layers []string
	for _, e := range entries {
		if e.Media == "" {
			e.Media = SimpleMedia
		}
		s.p.Blobs = append(s.p.Blobs, Blob{s.repo, e.Payload})
		layers = append(layers, Desc(e.Media, e.Payload, `"annotations":`+string(JSON(e.Annotations))))
	}

	config := []byte("{}")
	s.p.Blobs = append(s.p.Blobs, Blob{s.repo, config})
	m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, OCIManifest,
		Desc(OCIConfig, config, ""), strings.Join(layers, ","))
	s.p.Manifests = append(s.p.Manifests, Manifest{s.repo, "sha256-" + s.base.Hex() + "." + suffix, OCIManifest, m})
}

// refer pushes a referrer of the base with one layer, as cosign does bundles.
func (s *signing) refer(bundle []byte) { s.referTo(s.base, bundle) }

func (s *signing) referTo(subject attestor.Digest, blob []byte) {
	config := []byte("{}")
	s.p.Blobs = append(s.p.Blobs, Blob{s.repo, config}, Blob{s.repo, blob})
	m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"subject":%s}`, OCIManifest,
		Desc("application/vnd.oci.empty.v1+json", config, ""), Desc(BundleMedia, blob, ""),
		DescOf(OCIManifest, subject, s.size, ""))
	s.p.Manifests = append(s.p.Manifests, Manifest{s.repo, "", OCIManifest, m})
}

// Policies that ask for the base's signature.
const (
	signedByKey = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"], signedBy: {key: $DIR/key.pub}}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
	signedByKeyBehind = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"], maxBehind: 14d, signedBy: {key: $DIR/key.pub}}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
	signedKeyless = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"], signedBy: {keyless: {issuer: "` + SignerIssuer +
		`", subject: "` + SignerSubject + `"}, trustedRoot: $DIR/root.json}}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
	signedUnlogged = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"], signedBy: {keyless: {issuer: "` + SignerIssuer +
		`", subject: "` + SignerSubject + `"}, transparency: false, trustedRoot: $DIR/root.json}}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
	signedAndLogged = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"], signedBy: {key: $DIR/key.pub, transparency: true, trustedRoot: $DIR/root.json}}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`
)

// signers are who signs bases: a key and a Sigstore that the policies trust,
// and others that they do not.
type signers struct {
	key, otherKey Key
	sig, otherSig Sigstore
}

func newSigners() signers { return signers{NewKey(), NewKey(), NewSigstore(), NewSigstore()} }

// signed is a case about the signature of a base.
func (k signers) signed(name, policy string, want Want, sign func(s *signing)) Case {
	return Case{Name: name, Policy: policy, Want: want, Arrange: func(p *Place) {
		p.Files["key.pub"] = k.key.PublicPEM()
		p.Files["root.json"] = k.sig.Root(strings.Contains(name, "certificate timestamp"))
		sign(based(p))
	}}
}

func signatures() []Case {
	k := newSigners()
	unsigned := denied(attestor.CodeBaseUnsigned)
	byKey := func(name string, want Want, sign func(s *signing)) Case {
		return k.signed("signatures/"+name, signedByKey, want, sign)
	}

	keyless := func(name string, want Want, sign func(s *signing)) Case {
		return k.signed("signatures/"+name, signedKeyless, want, sign)
	}
	without := func(e Entry, annotation string) Entry { delete(e.Annotations, annotation); return e }
	return []Case{
		byKey("by the key", admitted(), func(s *signing) { s.attach("sig", k.key.Entry(s.simple())) }),
		byKey("by the key, in a bundle", admitted(), func(s *signing) { s.refer(k.key.Bundle(s.statement())) }),
		keyless("by the identity", admitted(), func(s *signing) { s.attach("sig", k.sig.Entry(s.simple())) }),
		keyless("by the identity, in a bundle", admitted(),
			func(s *signing) { s.refer(k.sig.Bundle(s.statement(), true)) }),
		byKey("none", unsigned, func(*signing) {}),
		byKey("by another key", unsigned, func(s *signing) { s.attach("sig", k.otherKey.Entry(s.simple())) }),
		byKey("by another key, in a bundle", unsigned, func(s *signing) { s.refer(k.otherKey.Bundle(s.statement())) }),
		byKey("by the key, of another digest", unsigned,
			func(s *signing) { s.attach("sig", k.key.Entry(Simple(s.p.Host+"/"+s.repo, s.other()))) }),
		byKey("by the key, of another digest, in a bundle", unsigned,
			func(s *signing) { s.refer(k.key.Bundle(Statement(s.other(), SignPredicate))) }),
		byKey("by an identity where a key is asked for", unsigned,
			func(s *signing) { s.refer(k.sig.Bundle(s.statement(), true)) }),
		keyless("by a key where an identity is asked for", unsigned,
			func(s *signing) { s.attach("sig", k.key.Entry(s.simple())) }),
		keyless("by another subject", unsigned,
			func(s *signing) { s.attach("sig", k.sig.EntryBy(s.simple(), "mallory@example.com", SignerIssuer)) }),
		keyless("by a subject that ends like ours", unsigned,
			func(s *signing) { s.attach("sig", k.sig.EntryBy(s.simple(), "x"+SignerSubject, SignerIssuer)) }),
		keyless("by another issuer's namesake", unsigned, func(s *signing) {
			s.attach("sig", k.sig.EntryBy(s.simple(), SignerSubject, "https://evil.example"))
		}),
		keyless("by another subject, in a bundle", unsigned, func(s *signing) {
			s.refer(k.sig.BundleBy(s.statement(), "mallory@example.com", SignerIssuer, true))
		}),
		keyless("by another Sigstore", unsigned, func(s *signing) { s.attach("sig", k.otherSig.Entry(s.simple())) }),
		keyless("by another Sigstore, in a bundle", unsigned,
			func(s *signing) { s.refer(k.otherSig.Bundle(s.statement(), true)) }),
		keyless("no log entry", unsigned,
			func(s *signing) { s.attach("sig", without(k.sig.Entry(s.simple()), LogKey)) }),
		keyless("no log entry, in a bundle", unsigned, func(s *signing) {
			s.refer(Edit(k.sig.Bundle(s.statement(), true),
				func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil }))
		}),
		k.signed("signatures/no log entry where a key's is asked for", signedAndLogged, unsigned,
			func(s *signing) { s.attach("sig", k.key.Entry(s.simple())) }),
		keyless("another signature's log entry", unsigned, func(s *signing) {
			e := k.sig.Entry(s.simple())
			e.Annotations[LogKey] = k.sig.Entry(s.simple()).Annotations[LogKey]
			s.attach("sig", e)
		}),
		keyless("a log entry with another time", unsigned, func(s *signing) {
			e := k.sig.Entry(s.simple())
			e.Annotations[LogKey] = strings.Replace(e.Annotations[LogKey], `"integratedTime":`, `"integratedTime":1`, 1)
			s.attach("sig", e)
		}),
		keyless("no certificate timestamp", unsigned, func(s *signing) { s.attach("sig", k.sig.Entry(s.simple())) }),
		keyless("logged after the certificate expired", unsigned,
			func(s *signing) { s.attach("sig", k.sig.LateEntry(s.simple())) }),
		byKey("a payload that was edited", unsigned, func(s *signing) {
			e := k.key.Entry(s.simple())
			e.Payload = append(e.Payload, ' ')
			s.attach("sig", e)
		}),
		byKey("a statement that was edited", unsigned, func(s *signing) {
			s.refer(Edit(k.key.Bundle(Statement(s.other(), SignPredicate)),
				func(b *protobundle.Bundle) { b.GetDsseEnvelope().Payload = s.statement() }))
		}),
		keyless("two certificates", unsigned, func(s *signing) {
			e := k.sig.EntryBy(s.simple(), "mallory@example.com", SignerIssuer)
			e.Annotations[CertificateKey] += k.sig.Entry(s.simple()).Annotations[CertificateKey]
			s.attach("sig", e)
		}),
		byKey("an attestation under the signature's tag", unsigned,
			func(s *signing) { s.attach("sig", k.key.Envelope(s.statement())) }),
		byKey("an attestation only", unsigned, func(s *signing) { s.attach("att", k.key.Envelope(s.statement())) }),
		byKey("behind a hundred others", undecided(attestor.CodeBaseSignatureUnknown), func(s *signing) {
			var flood []Entry
			for i := range 100 {
				flood = append(flood, k.otherKey.Entry(append(s.simple(), strconv.Itoa(i)...)))
			}
			s.attach("sig", append(flood, k.key.Entry(s.simple()))...)
		}),
		{Name: "signatures/a key that is not there", Policy: signedByKey, Want: undecided(attestor.CodeBaseSignatureUnknown), Arrange: func(p *Place) {
			s := based(p)
			s.attach("sig", k.key.Entry(s.simple()))
		}},
		{Name: "signatures/an invalid key", Policy: signedByKey, Want: undecided(attestor.CodeBaseSignatureUnknown), Arrange: func(p *Place) {
			p.Files["key.pub"] = []byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n")
			s := based(p)
			s.attach("sig", k.key.Entry(s.simple()))
		}},
		k.signed("signatures/by an intermediate that is valid", signedUnlogged, admitted(),
			func(s *signing) { s.chained(time.Now().Add(time.Hour)) }),
	}
}

// chained signs the base under an intermediate that ends at end.
func (s *signing) chained(end time.Time) {
	e, trusted := Chained(s.simple(), end)
	s.p.Files["root.json"] = trusted
	s.attach("sig", e)
}
