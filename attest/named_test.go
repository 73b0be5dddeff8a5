package attest_test

import (
	"crypto/ecdsa"
	pkix509 "crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// standing lists image 1 under the usual attestor, as a server that changed the
// stored occurrences shows it.
func (r *rotation) standing(change func(o *grafeaspb.Occurrence), images ...attestor.Image) attestor.Standing {
	r.t.Helper()
	if change != nil {
		remove := r.Inject(emulator.Fault{Method: "ListNoteOccurrences", Mutate: func(_, m proto.Message) {
			for _, o := range m.(*grafeaspb.ListNoteOccurrencesResponse).GetOccurrences() { //nolint:errcheck // it answers nothing else
				change(o)
			}
		}})
		defer remove()
	}

	s, err := r.gate.Standing(r.t.Context(), []string{attestorName}, append(images, image(r.t, 1)))
	must(r.t, err)
	return s
}

// A Decision names the key whose signature admits the image: the gate's own if
// that is one of them, and never one whose signature does not verify.
func TestTheKeyThatIsNamedIsOneThatVerifies(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, true)
	mine := attest.KeyID(r.signer)
	payload := compact(repository, digest(1))
	by := func(key *ecdsa.PrivateKey, id string) *grafeaspb.Signature {
		return signed(t, key, id, image(t, 1).String(), payload).GetAttestation().GetSignatures()[0]
	}

	for name, tt := range map[string]struct {
		signatures []*grafeaspb.Signature
		valid      bool
		want       string
	}{
		"the gate's own last":             {[]*grafeaspb.Signature{by(r.old, "old"), by(r.mine, mine)}, true, mine},
		"the gate's own first":            {[]*grafeaspb.Signature{by(r.mine, mine), by(r.old, "old")}, true, mine},
		"only another, a stranger before": {[]*grafeaspb.Signature{by(r.foreign, "foreign"), by(r.old, "old")}, true, "old"},
		"the gate's id on a forgery":      {[]*grafeaspb.Signature{by(r.foreign, mine), by(r.old, "old")}, true, "old"},
		"a forgery alone":                 {[]*grafeaspb.Signature{by(r.foreign, mine)}, false, mine},
		"no signature":                    {nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			o := r.put(signed(t, r.old, "old", image(t, 1).String(), payload))
			defer func() {
				must(t, r.Grafeas.DeleteOccurrence(t.Context(), &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}))
			}()

			s := r.standing(func(o *grafeaspb.Occurrence) { o.GetAttestation().Signatures = tt.signatures })

			var got []string
			for _, v := range s.Valid {
				got = append(got, "valid "+v.PublicKeyID)
			}

			for _, v := range s.Invalid {
				got = append(got, "invalid "+v.PublicKeyID)
			}

			want := []string{map[bool]string{true: "valid ", false: "invalid "}[tt.valid] + tt.want}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// A stranger's key id is cut before it is shown; the attestor's own, however
// long, is shown whole, since the operator looks it up.
func TestOnlyAStrangersKeyIDIsCut(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	long := strings.Repeat("k", 1000)
	r.keys(attestorName, pkix(t, long, r.old.Public(), p256))
	r.put(signed(t, r.old, long, image(t, 1).String(), compact(repository, digest(1))))
	r.put(signed(t, r.foreign, "x"+long, image(t, 1).String(), compact(repository, digest(1))))

	s := r.standing(nil)

	if len(s.Valid) != 1 || s.Valid[0].PublicKeyID != long {
		t.Errorf("valid: %+v", s.Valid)
	}
	if len(s.Invalid) != 1 || len(s.Invalid[0].PublicKeyID) > 500 || !strings.HasPrefix(s.Invalid[0].PublicKeyID, "xk") {
		t.Errorf("invalid: %+v", s.Invalid)
	}
}

// An attestation whose time the service does not give stands since no time, not
// since 1970.
func TestAnAttestationWithoutATime(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, false)
	r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1))))

	s := r.standing(func(o *grafeaspb.Occurrence) { o.CreateTime = nil })

	if len(s.Valid) != 1 || !s.Valid[0].Since.IsZero() {
		t.Errorf("%+v", s)
	}
}

// Binary Authorization admits by digest: an image that two repositories hold is
// one, and its attestation is listed once.
func TestOneDigestIsListedOnce(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, false)
	r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1))))
	sibling, err := attestor.ParseImage("gcr.io/third/api@" + string(digest(1)))
	must(t, err)

	if s := r.standing(nil, sibling); len(s.Valid) != 1 {
		t.Errorf("%+v", s)
	}
}

// The global location may be spelt out on either side; what is no note's name
// matches nothing, not even itself.
func TestNotesThatAreTheSame(t *testing.T) {
	key := newKey(t)
	const plain, global, eu = "projects/sec/notes/gate", "projects/sec/locations/global/notes/gate", "projects/sec/locations/eu/notes/gate"

	for _, tt := range []struct {
		attestor, occurrence string
		want                 bool
	}{
		{plain, plain, true},
		{plain, global, true},
		{global, plain, true},
		{global, global, true},
		{eu, eu, true},
		{eu, plain, false},
		{plain, eu, false},
		{"", "", false},
		{"gate", "gate", false},
		{"projects/sec/notes/", "projects/sec/notes/", false},
	} {
		att := newProtoAttestor(pkix(t, "k", key.Public(), p256))
		att.GetUserOwnedGrafeasNote().NoteReference = tt.attestor
		o := signed(t, key, "k", repository+"@"+string(digest(1)), compact(repository, digest(1)))
		o.NoteName = tt.occurrence
		if err := attest.VerifyOccurrence(att, o, digest(1), time.Time{}); (err == nil) != tt.want {
			t.Errorf("attestor's note %q, occurrence's %q: %v, want admitted %t", tt.attestor, tt.occurrence, err, tt.want)
		}
	}
}

// dsaKey is a DSA key (RFC 3279, 2.3.2), which Binary Authorization has no
// algorithm for, with numbers too small to be of use to anyone.
func dsaKey(t *testing.T) string {
	t.Helper()
	parameters, err := asn1.Marshal(struct{ P, Q, G int }{23, 11, 4})
	must(t, err)
	y, err := asn1.Marshal(8)
	must(t, err)
	der, err := asn1.Marshal(struct {
		Algorithm pkix509.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix509.AlgorithmIdentifier{
			Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}, Parameters: asn1.RawValue{FullBytes: parameters},
		},
		asn1.BitString{Bytes: y, BitLength: 8 * len(y)},
	})

	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Nothing is signed for an attestor that does not have the signer's very key
// under its id, with an algorithm that fits: admission would accept nothing of it.
// The message says what the attestor has instead.
func TestAnAttestorWithAnotherKeyUnderTheSignersID(t *testing.T) {
	pgp := newPGPGate(t).attestor.GetUserOwnedGrafeasNote().GetPublicKeys()[0]
	for name, tt := range map[string]struct {
		entry func(r *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey
		want  string // "": it is signed
	}{
		"the signer's": {func(r *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{pkix(t, id, r.mine.Public(), p256)}
		}, ""},
		"the signer's after one that cannot be read": {func(r *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{pemKey(id, "x"), pkix(t, id, r.mine.Public(), p256)}
		}, ""},
		"none": {func(*rotation, string) []*binaryauthorizationpb.AttestorPublicKey { return nil }, "has no key with the id"},
		"one that cannot be read": {func(_ *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{pemKey(id, "x")}
		}, "cannot be used"},
		"another": {func(r *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{pkix(t, id, r.old.Public(), p256)}
		}, "another public key"},
		"a PGP key": {func(_ *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{{Id: id, PublicKey: pgp.GetPublicKey()}}
		}, "another public key"},
		"a DSA key": {func(_ *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{pemKey(id, dsaKey(t))}
		}, "another public key"},
		"an algorithm of another curve": {func(r *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			key := pkix(t, id, r.mine.Public(), binaryauthorizationpb.PkixPublicKey_ECDSA_P384_SHA384)
			return []*binaryauthorizationpb.AttestorPublicKey{key}
		}, "does not fit"},
		"no algorithm": {func(r *rotation, id string) []*binaryauthorizationpb.AttestorPublicKey {
			return []*binaryauthorizationpb.AttestorPublicKey{pkix(t, id, r.mine.Public(), 0)}
		}, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{}, false)
			entries := tt.entry(r, attest.KeyID(r.signer))
			r.Inject(emulator.Fault{Method: "GetAttestor", Mutate: func(_, m proto.Message) {
				m.(*binaryauthorizationpb.Attestor).GetUserOwnedGrafeasNote().PublicKeys = entries //nolint:errcheck // it answers nothing else
			}})

			made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)

			if tt.want == "" {
				must(t, err)
				return
			}

			wantError(t, err, attestor.CodeKeyNotOfAttestor, tt.want)
			if len(made) != 0 || len(r.Calls("CreateOccurrence")) != 0 {
				t.Errorf("made %+v after %d creates", made, len(r.Calls("CreateOccurrence")))
			}
		})
	}
}

func pemKey(id, text string) *binaryauthorizationpb.AttestorPublicKey {
	return &binaryauthorizationpb.AttestorPublicKey{Id: id, PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
		PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{PublicKeyPem: text, SignatureAlgorithm: p256},
	}}
}

// However many signatures verify, a bounded number of them is remembered.
func TestVerifiedSignaturesAreBounded(t *testing.T) {
	const bound, occurrences, each = 4096, 80, 60
	key := newKey(t)
	var list []*grafeaspb.Occurrence

	for range occurrences {
		o := signed(t, key, "k", repository+"@"+string(digest(1)), compact(repository, digest(1)))
		for range each - 1 { // ECDSA makes another signature each time
			more := signed(t, key, "k", repository+"@"+string(digest(1)), compact(repository, digest(1)))
			o.GetAttestation().Signatures = append(o.GetAttestation().Signatures, more.GetAttestation().GetSignatures()...)
		}
		list = append(list, o)
	}

	if n := attest.RememberedAfter(newProtoAttestor(pkix(t, "k", key.Public(), p256)), digest(1), time.Time{}, list...); n != bound {
		t.Errorf("%d of %d signatures are remembered, want %d", n, occurrences*each, bound)
	}
}
