package signed_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// The types that cosign gives what it attaches in its mode oci-1-1, and those of signatures of the Notary Project.
const (
	cosignSignature   = "application/vnd.dev.cosign.artifact.sig.v1+json"
	cosignAttestation = "application/vnd.dev.cosign.artifact.att.v1+json"
	notationSignature = "application/vnd.cncf.notary.signature"
	envelopeMedia     = "application/vnd.dsse.envelope.v1+json"
)

// referEntries pushes a referrer of img with entries as they otherwise are under a tag of cosign's, and with a type.
func (s *host) referEntries(img attestor.Image, artifact types.MediaType, entries ...entry) {
	s.t.Helper()
	referrer, ok := mutate.Subject(mutate.ConfigMediaType(s.manifest(entries), artifact), s.Head(img)).(v1.Image)
	if !ok {
		s.t.Fatal("a manifest with a subject is not an image")
	}
	s.Must(remote.Write(s.Repo.Digest(s.Digest(referrer)), referrer))
}

// TestClassicSignaturesAsReferrers: what cosign signs in its mode oci-1-1 counts as it does under a tag, by key and by
// identity, and is refused for the same reasons.
func TestClassicSignaturesAsReferrers(t *testing.T) {
	key, sig := newKey(t), newSigstore(t)
	for _, tt := range []struct {
		name string
		put  func(h *host)
		rule attestor.SignedBy
		want string // of the refusal; "" for a signature that counts
	}{
		{"by the key", func(h *host) { h.referEntries(h.image, cosignSignature, key.entry(simple(h.image))) }, key.rule(), ""},
		{"by the identity", func(h *host) { h.referEntries(h.image, cosignSignature, sig.entry(simple(h.image))) }, sig.rule(), ""},
		{"behind one by a stranger", func(h *host) {
			h.referEntries(h.image, cosignSignature, newKey(t).entry(simple(h.image)), key.entry(simple(h.image)))
		}, key.rule(), ""},
		{"by a stranger", func(h *host) { h.referEntries(h.image, cosignSignature, newKey(t).entry(simple(h.image))) },
			key.rule(), "does not verify"},
		{"by another identity", func(h *host) {
			h.referEntries(h.image, cosignSignature, sig.entryBy(simple(h.image), "mallory@example.com", issuer))
		}, sig.rule(), "by mallory@example.com"},
		{"of another image", func(h *host) { h.referEntries(h.image, cosignSignature, key.entry(simple(h.Push()))) },
			key.rule(), "about another digest"},
		{"referring to another image", func(h *host) {
			h.referEntries(h.Push(), cosignSignature, key.entry(simple(h.image)))
		}, key.rule(), "it has none"},
		{"an attestation", func(h *host) {
			h.referEntries(h.image, cosignAttestation, key.envelope(statement(h.image, signPredicate)))
		}, key.rule(), "it has none"},
		{"of the Notary Project", func(h *host) {
			h.referEntries(h.image, notationSignature, entry{payload: []byte(`{"payload":"e30"}`), media: "application/jose+json"})
		}, key.rule(), "found one: it is a signature of the Notary Project (notation); those of Sigstore are read"},
		{"of the Notary Project, in COSE", func(h *host) {
			h.referEntries(h.image, notationSignature, entry{payload: []byte{0xd2}, media: "application/cose"})
		}, sig.rule(), "a signature of the Notary Project"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := plain(t)
			tt.put(h)
			signer, err := h.check(h.image, tt.rule)
			if tt.want != "" {
				refused(t, signer, err, tt.want)
				return
			}
			if err != nil || signer == "" {
				t.Errorf("signed by %q, %v", signer, err)
			}
		})
	}
}

// TestManySignaturesInReferrers: a referrer with more signatures than are verified leaves the answer open, and one of the
// first that satisfies the rule settles it.
func TestManySignaturesInReferrers(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	for n, at := range map[int]int{64: 63, 65: 64, 66: 0} {
		h := plain(t)
		var entries []entry
		for i := range n {
			by := stranger
			if i == at {
				by = key
			}
			e := by.entry(simple(h.image))
			e.annotations["n"] = fmt.Sprint(i) // the layers of a manifest are told apart
			entries = append(entries, e)
		}
		h.referEntries(h.image, cosignSignature, entries...)

		signer, err := h.check(h.image, key.rule())
		if at == 64 {
			unknown(t, signer, err, "of which 64 were checked")
		} else if err != nil || signer == "" {
			t.Errorf("the %dth of %d: %q, %v", at+1, n, signer, err)
		}
	}
}

// TestEnvelopesAsReferrers: a statement that cosign attaches in its mode oci-1-1 is read: one that speaks against an image
// is not overlooked for its place.
func TestEnvelopesAsReferrers(t *testing.T) {
	key, h := newKey(t), plain(t)
	h.referEntries(h.image, cosignAttestation, key.envelope(statement(h.image, "p")))
	h.referEntries(h.image, envelopeMedia, key.envelope(statement(h.image, "q")))
	h.referEntries(h.image, cosignAttestation, newKey(t).envelope(statement(h.image, "p")))

	for predicate, want := range map[string]int{"p": 1, "q": 1, "r": 0} {
		list, err := checker(t, signed.Config{}).EveryAttestation(t.Context(), h.image, key.rule(), []string{predicate})
		if err != nil || len(list) != want || want > 0 && list[0].PredicateType != predicate {
			t.Errorf("%s: %+v, %v", predicate, list, err)
		}
	}
}

// TestRejectedAttestations: of the types that are asked for, the reason says why what is there does not count, wherever it
// is attached. What claims to be something else is nobody's concern.
func TestRejectedAttestations(t *testing.T) {
	key, sig := newKey(t), newSigstore(t)
	for name, tt := range map[string]struct {
		put  func(h *host)
		rule attestor.SignedBy
		want []string // of each reason
	}{
		"nothing":       {func(*host) {}, key.rule(), nil},
		"the key's own": {func(h *host) { h.refer(h.image, bundleMedia, key.bundle(statement(h.image, "p"))) }, key.rule(), nil},
		"a stranger's bundle": {func(h *host) {
			h.refer(h.image, bundleMedia, newKey(t).bundle(statement(h.image, "p")))
		}, key.rule(), []string{"does not verify"}},
		"a stranger's under a tag": {func(h *host) {
			h.attach(h.image, "att", newKey(t).envelope(statement(h.image, "p")))
		}, key.rule(), []string{"does not verify"}},
		"a stranger's as a referrer": {func(h *host) {
			h.referEntries(h.image, cosignAttestation, newKey(t).envelope(statement(h.image, "p")))
		}, key.rule(), []string{"does not verify"}},
		"another identity's": {func(h *host) {
			h.refer(h.image, bundleMedia, sig.bundleBy(statement(h.image, "p"), "mallory@example.com", issuer, true))
		}, sig.rule(), []string{"it claims to be by mallory@example.com (" + issuer + ")"}},
		"about another image": {func(h *host) {
			h.refer(h.image, bundleMedia, key.bundle(statement(h.Push(), "p")))
		}, key.rule(), []string{""}},
		"of another type": {func(h *host) {
			h.refer(h.image, bundleMedia, newKey(t).bundle(statement(h.image, "q")))
		}, key.rule(), nil},
		"two": {func(h *host) {
			h.attach(h.image, "att", newKey(t).envelope(statement(h.image, "p")), newKey(t).envelope(statement(h.image, "p")))
		}, key.rule(), []string{"does not verify", "does not verify"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := plain(t)
			tt.put(h)
			_, rejected, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, tt.rule, []string{"p"})
			if err != nil || len(rejected) != len(tt.want) {
				t.Fatalf("%q, %v, want %q", rejected, err, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(rejected[i], want) || rejected[i] == "" {
					t.Errorf("%q, want %q", rejected[i], want)
				}
			}
		})
	}
}

// TestStatementsThatAreTooLarge: a statement that is larger than is verified was not read. For those that can speak against
// an image that is an error; where one is enough, only if there is none. One that is said to be of another type is nobody's
// concern.
func TestStatementsThatAreTooLarge(t *testing.T) {
	key := newKey(t)
	large := []byte(strings.Repeat(" ", 8<<20+1))
	as := func(predicate string) entry {
		return entry{payload: large, media: envelopeMedia, annotations: map[string]string{"predicateType": predicate}}
	}
	for _, tt := range []struct {
		name          string
		put           func(h *host)
		every, single bool // whether it is an error for who needs every statement, and one where none verifies
	}{
		{"a bundle", func(h *host) { h.refer(h.image, bundleMedia, large) }, true, true},
		{"under a tag", func(h *host) { h.attach(h.image, "att", as("p")) }, true, true},
		{"under a tag, of a version", func(h *host) { h.attach(h.image, "att", as("p/v2")) }, true, true},
		{"under a tag, of another type", func(h *host) { h.attach(h.image, "att", as("q")) }, false, false},
		{"a referrer", func(h *host) { h.referEntries(h.image, cosignAttestation, as("")) }, true, true},
		{"a referrer of another type", func(h *host) { h.referEntries(h.image, cosignAttestation, as("q")) }, false, false},
	} {
		for _, beside := range []bool{true, false} {
			h := plain(t)
			tt.put(h)
			if beside {
				h.refer(h.image, bundleMedia, key.bundle(statement(h.image, "p")))
			}
			ch := checker(t, signed.Config{})

			list, err := ch.EveryAttestation(t.Context(), h.image, key.rule(), []string{"p"})
			if (err != nil) != tt.every || err == nil && (len(list) == 1) != beside {
				t.Errorf("%s, beside another %t: every: %d, %v", tt.name, beside, len(list), err)
			}
			if err != nil {
				unknown(t, "", err, "was not read: it has 8388609 bytes")
			}
			list, _, err = ch.Attestations(t.Context(), h.image, key.rule(), []string{"p"})
			if (err != nil) != (tt.single && !beside) || err == nil && (len(list) == 1) != beside {
				t.Errorf("%s, beside another %t: any: %d, %v", tt.name, beside, len(list), err)
			}
		}
	}
}
