package corpus

import (
	"fmt"

	"github.com/attestor-gate/attestor"
)

// A BaseCase is an image's layers, what they prove about [Base], and what is
// wrong with them.
type BaseCase struct {
	Name   string
	Layers []Layer
	Least  attestor.Level // that the policy accepts
	Level  attestor.Level // that is proven; "": none
	N      int            // of the base's layers
	Codes  []attestor.Code
}

// Bases are images that are built on [Base], or claim to be.
func Bases() []BaseCase {
	a, b, c, d := LayerOf("a"), LayerOf("b"), LayerOf("c"), LayerOf("d")
	return []BaseCase{
		{Name: "built on it", Layers: []Layer{a, b, c}, Level: attestor.LayersExact, N: 2},
		{Name: "is it", Layers: []Layer{a, b}, Level: attestor.LayersExact, N: 2},
		{Name: "compressed again", Layers: []Layer{a.Recompressed("a"), b.Recompressed("b"), c},
			Level: attestor.DiffIDsVerified, N: 2},
		{Name: "one layer compressed again", Layers: []Layer{a, b.Recompressed("b"), c},
			Level: attestor.DiffIDsVerified, N: 2},
		{Name: "compressed again, but layers-exact is asked for", Layers: []Layer{a.Recompressed("a"), b, c},
			Least: attestor.LayersExact},
		{Name: "claims a base it has not", Layers: []Layer{c, d}},
		{Name: "layers reordered", Layers: []Layer{b, a, c}},
		{Name: "a layer dropped", Layers: []Layer{b, c}},
		{Name: "the upper layer dropped", Layers: []Layer{a, c}},
		{Name: "a layer slipped between", Layers: []Layer{a, c, b}},
		{Name: "a layer slipped beneath", Layers: []Layer{c, a, b}},
		{Name: "squashed", Layers: LayersOf("squashed")},
		{Name: "from scratch", Layers: []Layer{d}},
		{Name: "no layers", Layers: []Layer{}},
		{Name: "forged diffIDs", Layers: []Layer{c.Forged(a.DiffID), d.Forged(b.DiffID), d},
			Codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{Name: "forged diffID of one layer", Layers: []Layer{a, d.Forged(b.DiffID), d},
			Codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{Name: "forged diffIDs, but layers-exact is asked for", Layers: []Layer{c.Forged(a.DiffID), d.Forged(b.DiffID),
			d}, Least: attestor.LayersExact},
		{Name: "layers that cannot be unpacked",
			Layers: []Layer{{Blob: []byte{0x1f, 0x8b, 8, 0}, MediaType: OCILayer + "+gzip", DiffID: a.DiffID}, b},
			Codes:  []attestor.Code{attestor.CodeLayersMismatch}},
		{Name: "bytes after the packed ones", Layers: []Layer{{Blob: append(a.Blob[:len(a.Blob):len(a.Blob)],
			"more"...), MediaType: OCILayer + "+gzip", DiffID: a.DiffID}, b},
			Codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{Name: "compressed again by pzstd", Layers: []Layer{a.Pzstded("a"), b.Pzstded("b"), c},
			Level: attestor.DiffIDsVerified, N: 2},
		{Name: "compressed again in two members", Layers: []Layer{a.InMembers("a"), b, c},
			Level: attestor.DiffIDsVerified, N: 2},
		{Name: "a tar with the base's layer in a skippable frame", Layers: []Layer{{Blob: Polyglot(
			[]File{{"a", "content of a"}}, Tar(File{"x", "y"})), MediaType: zstdLayer, DiffID: a.DiffID}, b},
			Codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{Name: "compressed again, with another media type", Layers: []Layer{a.As("a", gzipLayer), b, c},
			Codes: []attestor.Code{attestor.CodeLayerContradictory}},
		{Name: "compressed again, with a plain tar's media type", Layers: []Layer{a.As("a", OCILayer), b, c},
			Codes: []attestor.Code{attestor.CodeLayerContradictory}},
		{Name: "compressed again, by xz", Layers: []Layer{{Blob: EmptyXz(), MediaType: gzipLayer, DiffID: a.DiffID},
			b, c}, Codes: []attestor.Code{attestor.CodeLayerContradictory}},
		{Name: "the base's layers with diffIDs of their own", Layers: []Layer{a.Forged(c.DiffID), b.Forged(d.DiffID),
			c}, Codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{Name: "the base's layers, and one of them with another's diffID", Layers: []Layer{a, b.Forged(c.DiffID),
			c.Forged(b.DiffID)}, Codes: []attestor.Code{attestor.CodeLayersMismatch}},
	}
}

// claim is the annotations by which an author claims a base.
func claim(repository string, d attestor.Digest) string {
	return fmt.Sprintf(
		`"annotations":{"org.opencontainers.image.base.name":"%s:1","org.opencontainers.image.base.digest":%q}`,
		repository, d)
}

const layersExact = `
  base:
    required: true
    evidence: layers-exact
    approved: [{name: debian, repository: $BASE, tags: ["1"]}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

// ownBase approves a base that is the case's own.
const ownBase = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"]}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

func bases() []Case {
	var out []Case
	for _, tt := range Bases() {
		c := Case{Name: "bases/" + tt.Name, Want: judged(tt.Codes...), Arrange: func(p *Place) {
			p.Push(Image{Layers: tt.Layers, Extra: claim(p.Host+"/"+BaseRepository, Base().Digest())})
		}}
		if tt.Least == attestor.LayersExact {
			c.Policy = layersExact
		}

		if tt.Level == "" && tt.Codes == nil {
			c.Want = denied(attestor.CodeBaseNotApproved)
		}
		out = append(out, c)
	}

	for name, nothing := range map[string]Image{
		"a base without layers":  {Layers: []Layer{}},
		"a base of empty layers": {Layers: []Layer{{Blob: make([]byte, 1024)}, {Blob: make([]byte, 10240)}}},
		"a base of a gzipped empty tar": {Layers: []Layer{{Blob: Gzip(make([]byte, 1024)),
			MediaType: OCILayer + "+gzip", DiffID: Sum(make([]byte, 1024))}}},
		"a base that cannot be an image": {MediaType: "application/vnd.example"},
	} {
		out = append(out, Case{Name: "bases/" + name, Policy: ownBase, Want: undecided(attestor.CodeBaseUnresolved), Arrange: func(p *Place) {
			p.PushTo(p.Repo+"/base", "1", nothing)
			i := p.Good()
			i.Layers = append(append([]Layer{}, nothing.Layers...), i.Layers...)
			p.Push(i)
		}})
	}

	sortCases(out)
	return append(out,
		Case{Name: "bases/a base that is not there", Policy: ownBase, Want: undecided(attestor.CodeBaseUnresolved),
			Arrange: func(p *Place) { p.Push(p.Good()) }},
		Case{Name: "bases/another platform's base", Want: denied(attestor.CodeBaseNotApproved), Arrange: func(p *Place) {
			i := p.Good()
			i.Arch = "arm64"
			p.Push(i)
		}},
		Case{Name: "bases/a base that its tag left", Policy: ownBase, Want: denied(attestor.CodeBaseNotApproved),
			Arrange: leftBehind},
		newSigners().signed("bases/a signed base that its tag left", signedByKey, denied(attestor.CodeBaseOutdated),
			leftBehindSigned),
		newSigners().signed("bases/a signed base that its tag left, some time ago at most", signedByKeyBehind,
			undecided(attestor.CodeBaseAgeUnknown), leftBehindSigned),
		Case{Name: "bases/a base of a repository that is not approved", Want: denied(attestor.CodeBaseNotApproved), Arrange: func(p *Place) {
			mirror := Image{Layers: LayersOf("mirror")}
			p.PushTo(p.Repo+"/mirror", "1", mirror)
			p.Push(Image{Layers: LayersOf("mirror", "app"), Extra: claim(p.Host+"/"+p.Repo+"/mirror", mirror.Digest())})
		}},
		Case{Name: "bases/a base claimed by label and unsigned provenance", Want: denied(attestor.CodeBaseNotApproved),
			Arrange: unsignedProvenance},
	)
}

// unsignedProvenance is an image whose label and BuildKit's attestation, both
// by whoever pushed, say that it was built on the approved base.
func unsignedProvenance(p *Place) {
	base, d := p.Host+"/"+BaseRepository, Base().Digest()
	i := Image{Layers: LayersOf("elsewhere"), ConfigExtra: fmt.Sprintf(`"config":{"User":"65532:65532",`+
		`"Labels":{"org.opencontainers.image.base.name":"%s:1","org.opencontainers.image.base.digest":%q}}`, base, d)}
	p.PushTo(p.Repo, "child", i)
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1",`+
		`"predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"x","digest":{"sha256":%q}}],`+
		`"predicate":{"buildDefinition":{"resolvedDependencies":[{"uri":"pkg:docker/%s@1","digest":{"sha256":%q}}]}}}`,
		i.Digest().Hex(), base, d.Hex())

	att := Attestation(InToto)
	att.Layers = []Layer{{Blob: statement, MediaType: InToto,
		Extra: `"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1"}`}}
	p.PushTo(p.Repo, "attestation", att)
	m, _ := att.Bytes()
	p.Manifest("1", OCIIndex, Index(i.Entry(), AttestationEntry(i.Digest(), m)))
}

// leftBehind is an image on what the tag of an approved base named before, as
// nobody but the image's author says.
func leftBehind(p *Place) {
	old := Image{Layers: LayersOf("old")}
	p.PushTo(p.Repo+"/base", "0", old)
	p.PushTo(p.Repo+"/base", "1", Image{Layers: LayersOf("new")})
	p.Push(Image{Layers: LayersOf("old", "app"), Extra: claim(p.Host+"/"+p.Repo+"/base", old.Digest())})
}

// leftBehindSigned is an image on a base that its publisher signed, and that the
// gate never saw under its tag.
func leftBehindSigned(s *signing) {
	s.attach("sig", NewKey().Entry(s.simple())) // beside the one that counts
	k := NewKey()
	s.p.Files["key.pub"] = k.PublicPEM()
	s.refer(k.Bundle(s.statement()))
	old := s.base
	s.p.PushTo(s.repo, "1", Image{Layers: LayersOf("new")})
	s.p.Push(Image{Layers: LayersOf(s.p.Name, "app"), Extra: claim(s.p.Host+"/"+s.repo, old)})
}
