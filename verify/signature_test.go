package verify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// signer is a SignatureChecker that knows which digests are signed.
type signer struct {
	mu     sync.Mutex
	signed map[attestor.Digest]bool
	err    error
	fails  map[attestor.Digest]error // of some only
	asked  []attestor.Digest
}

func (s *signer) Check(ctx context.Context, img attestor.Image, rule attestor.SignedBy) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, img.Digest())

	switch {
	case s.err != nil:
		return "", s.err
	case s.fails[img.Digest()] != nil:
		return "", s.fails[img.Digest()]
	case ctx.Err() != nil:
		return "", ctx.Err()
	case s.signed[img.Digest()]:
		return "key " + rule.Key, nil
	}
	return "", &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeBaseUnsigned, Msg: "no signature", Fix: "sign it"}
}

func TestBaseSignature(t *testing.T) {
	rule := &attestor.SignedBy{Key: "/k.pub"}
	amd := rawImage{Layers: layersOf("a")}
	manifest := sumManifest(amd)

	for _, tt := range []struct {
		name    string
		signed  map[attestor.Digest]bool
		checker func(s *signer) verify.SignatureChecker
		code    attestor.Code
	}{
		{"index signed", map[attestor.Digest]bool{"index": true}, nil, ""},
		{"child signed", map[attestor.Digest]bool{manifest: true}, nil, ""},
		{"another digest signed", map[attestor.Digest]bool{sum(nil): true}, nil, attestor.CodeBaseUnsigned},
		{"not signed", nil, nil, attestor.CodeBaseUnsigned},
		{"not known", nil, func(s *signer) verify.SignatureChecker { s.err = errors.New("boom"); return s }, attestor.CodeBaseSignatureUnknown},
		{"registry denied", nil, func(s *signer) verify.SignatureChecker {
			s.err = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryDenied, Msg: "403"}
			return s
		}, attestor.CodeBaseSignatureUnknown},
		{"nobody to ask", nil, func(*signer) verify.SignatureChecker { return nil }, attestor.CodeBaseSignatureUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "c", amd)
			idx := pushIndex(t, host, "base", "1", amd.Entry())
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
			s := &signer{signed: map[attestor.Digest]bool{}}

			for d := range tt.signed {
				if d == "index" {
					d = idx
				}
				s.signed[d] = true
			}

			var checker verify.SignatureChecker = s
			if tt.checker != nil {
				checker = tt.checker(s)
			}

			i := newInspector(t, host, func(c *config) { c.Signatures = checker })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.SignedBy = rule }))
			if tt.code != "" {
				wantCodes(t, ev.Problems, tt.code)
				if ev.Base.SignedBy != "" || ev.Base.Signer != "" {
					t.Errorf("base = %+v", ev.Base)
				}
				return
			}

			wantCodes(t, ev.Problems)
			if ev.Base.SignedBy != rule.Text() || ev.Base.Signer != "key /k.pub" {
				t.Errorf("base = %+v", ev.Base)
			}
		})
	}
}

// On day one nothing is remembered: the digest that the author names is read
// from the approved repository, and is found if it is signed. Nothing says since
// when it is out of date.
func TestHintOnDayOne(t *testing.T) {
	rule := &attestor.SignedBy{Key: "/k.pub"}
	older, old := sumManifest(rawImage{Layers: layersOf("older")}), sumManifest(rawImage{Layers: layersOf("old")})
	packed := []rawLayer{corpus.LayerOf("old").Recompressed("old")}
	forged := []rawLayer{corpus.LayerOf("y").Forged(corpus.LayerOf("old").DiffID)}

	for _, tt := range []struct {
		name   string
		rule   *attestor.SignedBy
		signed bool
		hint   attestor.Digest
		from   string     // repository of the hint
		lowest []rawLayer // of the image; nil: the base's
		level  attestor.Level
		codes  []attestor.Code
	}{
		{name: "named and signed", rule: rule, signed: true, hint: old, from: "/base:1", level: attestor.LayersExact},
		{name: "named by digest alone", rule: rule, signed: true, hint: old, level: attestor.LayersExact},
		{name: "named, not signed", rule: rule, hint: old, from: "/base:1", level: attestor.LayersExact, codes: []attestor.Code{attestor.CodeBaseUnsigned}},
		{name: "named and signed, and packed again", rule: rule, signed: true, hint: old, from: "/base:1", lowest: packed,
			level: attestor.DiffIDsVerified},
		{name: "named, and packed again, not signed", rule: rule, hint: old, from: "/base:1", lowest: packed,
			level: attestor.DiffIDsVerified, codes: []attestor.Code{attestor.CodeBaseUnsigned}},
		{name: "named and signed, and claimed by the config only", rule: rule, signed: true, hint: old, from: "/base:1", lowest: forged,
			codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{name: "named, no signature asked for", hint: old, from: "/base:1"},
		{name: "not named", rule: rule, signed: true},
		{name: "another base named", rule: rule, signed: true, hint: older, from: "/base:1"},
		{name: "another digest named", rule: rule, signed: true, hint: sum(nil), from: "/base:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			for _, layer := range []string{"older", "old", "new"} {
				pushRaw(t, host, "base", "1", rawImage{Layers: layersOf(layer)})
			}
			extra := ""
			if tt.hint != "" {
				extra = fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q`, tt.hint)
				if tt.from != "" {
					extra += fmt.Sprintf(`,"org.opencontainers.image.base.name":%q`, host+tt.from)
				}
				extra += "}"
			}

			lowest := tt.lowest
			if lowest == nil {
				lowest = layersOf("old")
			}
			pushRaw(t, host, "app", "1", rawImage{Layers: slices.Concat(lowest, layersOf("x")), Extra: extra})
			now := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
			i := newInspector(t, host, func(c *config) {
				c.Signatures, c.Now = &signer{signed: map[attestor.Digest]bool{old: tt.signed}}, now.Now
			})

			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.SignedBy = tt.rule }))
			wantCodes(t, ev.Problems, tt.codes...)
			if ev.Base.Evidence != tt.level {
				t.Errorf("base = %+v, want %q", ev.Base, tt.level)
			}
			if tt.level != "" && (ev.Base.Current || ev.Base.Listed || ev.Base.Superseded != nil) {
				t.Errorf("base = %+v, want one that no tag was seen to name", ev.Base)
			}
		})
	}
}

// What a hint had fetched for an entry that wants a signature is not taken for
// one of the same repository that wants none.
func TestHintCountsWithItsSignatureOnly(t *testing.T) {
	host := newRegistry(t, nil)
	old := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x"), Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q}`, old)})
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.Name = "unsigned" })
	signed := needs.Bases[0]
	signed.Name, signed.SignedBy = "signed", &attestor.SignedBy{Key: "/k.pub"}
	needs.Bases = append(needs.Bases, signed)
	i := newInspector(t, host, func(c *config) { c.Signatures = &signer{} })
	ev := inspectOne(t, i, host+"/app:1", needs)
	wantCodes(t, ev.Problems, attestor.CodeBaseUnsigned)
	if ev.Base.Name != "signed" || ev.Base.SignedBy != "" {
		t.Errorf("base = %+v", ev.Base)
	}
}

// A hint is of its image: what it had fetched, or what another policy lists, approves no other image, so that an answer does not depend on what
// was judged before.
func TestHintCountsForItsImageOnly(t *testing.T) {
	host := newRegistry(t, nil)
	old := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x"), Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q}`, old)})
	pushRaw(t, host, "app", "2", rawImage{Layers: layersOf("old", "y")})
	i := newInspector(t, host, func(c *config) { c.Signatures = &signer{signed: map[attestor.Digest]bool{old: true}} })
	signed := basesOf(host, func(ab *attestor.ApprovedBase) { ab.SignedBy = &attestor.SignedBy{Key: "/k.pub"} })
	listed := basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags, ab.Digests = nil, []attestor.Digest{old} })

	for n, tt := range []struct {
		tag   string
		needs attestor.Needs
		want  attestor.Level
	}{
		{"2", signed, ""}, {"1", signed, attestor.LayersExact}, {"2", signed, ""},
		{"2", listed, attestor.LayersExact}, {"2", signed, ""}, {"1", signed, attestor.LayersExact},
	} {
		ev := inspectOne(t, i, host+"/app:"+tt.tag, tt.needs)
		if ev.Base.Evidence != tt.want {
			t.Errorf("%d: app:%s: %+v, want %q", n, tt.tag, ev.Base, tt.want)
		}
	}
}

// A signature stands in for a tag that was seen to name other digests. It approves nothing of an entry whose tags were never seen, or that has none.
func TestHintOfAnEntryWithoutTags(t *testing.T) {
	host := newRegistry(t, nil)
	old := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	listed := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x"), Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q}`, old)})

	for _, tt := range []struct {
		name    string
		tags    []string
		digests []attestor.Digest
		want    attestor.Level
	}{
		{"a tag that was seen", []string{"1"}, nil, attestor.LayersExact},
		{"a tag that was seen, and one that is not there", []string{"gone", "1"}, nil, attestor.LayersExact},
		{"a tag that is not there", []string{"gone"}, nil, ""},
		{"a list of digests", nil, []attestor.Digest{listed}, ""},
	} {
		i := newInspector(t, host, func(c *config) { c.Signatures = &signer{signed: map[attestor.Digest]bool{old: true}} })
		ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) {
			ab.SignedBy, ab.Tags, ab.Digests = &attestor.SignedBy{Key: "/k.pub"}, tt.tags, tt.digests
		}))
		if ev.Base.Evidence != tt.want {
			t.Errorf("%s: %+v, want %q", tt.name, ev.Base, tt.want)
		}
	}
}

// The base to build on is what the first tag of the entry names, whichever tag the image's base is under.
func TestNewestIsOfTheFirstTag(t *testing.T) {
	host := newRegistry(t, nil)
	first := pushRaw(t, host, "base", "2", rawImage{Layers: layersOf("new")})
	second := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x")})
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags = []string{"2", "1"} }))
	wantCodes(t, ev.Problems)
	if ev.Base.Digest != second || !ev.Base.Current || ev.Base.Newest != first {
		t.Errorf("base = %+v, want %s, and %s as the newest", ev.Base, second, first)
	}
}

// statements is a ProvenanceSource of one repository's images.
type statements struct {
	repository string
	list       []attestor.Provenance
}

func (s statements) Provenance(ctx context.Context, images []attestor.Image, _ attestor.ProvenanceNeeds) ([]attestor.Provenance, []attestor.Problem) {
	if ctx.Err() != nil {
		return nil, []attestor.Problem{{Check: attestor.CheckProvenance, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeProvenanceUnavailable, Message: "nobody waits"}}}
	}
	for _, img := range images {
		if img.Repository() == s.repository {
			return s.list, nil
		}
	}
	return nil, nil
}

// A squashed image shows nothing in its layers; a pinned builder's signed word
// counts where the policy lets it.
func TestAttestedBase(t *testing.T) {
	const builder = "https://builder.example"
	host := newRegistry(t, nil)
	base := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "base", "debug", rawImage{Layers: layersOf("debug")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("squashed")})
	says := func(builder string, repo string, d attestor.Digest) statements {
		return statements{host + "/app", []attestor.Provenance{{Builder: builder, Materials: map[string]attestor.Digest{repo: d}}}}
	}

	for _, tt := range []struct {
		name  string
		says  statements
		least attestor.Level
		want  attestor.Level
	}{
		{"named by a pinned builder", says(builder, host+"/base", base), attestor.Attested, attestor.Attested},
		{"where the policy wants layers", says(builder, host+"/base", base), attestor.DiffIDsVerified, ""},
		{"where the policy does not say", says(builder, host+"/base", base), "", ""},
		{"by another builder", says("https://mallory.example", host+"/base", base), attestor.Attested, ""},
		{"another repository", says(builder, host+"/other", base), attestor.Attested, ""},
		{"another digest", says(builder, host+"/base", sum(nil)), attestor.Attested, ""},
		{"a digest under another tag", says(builder, host+"/base", sumManifest(rawImage{Layers: layersOf("debug")})), attestor.Attested, ""},
		{"nobody", statements{}, attestor.Attested, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInspector(t, host, func(c *config) { c.Provenance = tt.says })
			needs := basesOf(host, nil)
			needs.BaseEvidence, needs.Provenance = tt.least, &attestor.ProvenanceNeeds{Builders: []string{builder}}
			ev := inspectOne(t, i, host+"/app:1", needs)
			wantCodes(t, ev.Problems)
			if ev.Base.Evidence != tt.want || ev.Base.Layers != 0 {
				t.Errorf("base = %+v, want %q", ev.Base, tt.want)
			}
		})
	}

	t.Run("for an image that contradicts itself", func(t *testing.T) {
		a := layer("a")
		for tag, tt := range map[string]struct {
			layer rawLayer
			code  attestor.Code
		}{
			"other":       {layer("y").Forged(a.DiffID), attestor.CodeLayersMismatch},
			"itself":      {a.Forged(layer("y").DiffID), attestor.CodeLayersMismatch},
			"mislabelled": {a.As("a", ociLayer), attestor.CodeLayerContradictory},
		} {
			pushRaw(t, host, "app", tag, rawImage{Layers: []rawLayer{tt.layer, layer("x")}})
			i := newInspector(t, host, func(c *config) { c.Provenance = says(builder, host+"/base", base) })
			needs := basesOf(host, nil)
			needs.BaseEvidence, needs.Provenance = attestor.Attested, &attestor.ProvenanceNeeds{Builders: []string{builder}}
			ev := inspectOne(t, i, host+"/app:"+tag, needs)
			wantCodes(t, ev.Problems, tt.code)
			if ev.Base.Evidence != attestor.Attested {
				t.Errorf("%s: base = %+v", tag, ev.Base)
			}
		}
	})

	t.Run("nobody to ask", func(t *testing.T) {
		needs := attestor.Needs{Provenance: &attestor.ProvenanceNeeds{}}
		wantCodes(t, inspectOne(t, newInspector(t, host, nil), host+"/app:1", needs).Problems, attestor.CodeProvenanceUnavailable)
	})
}
