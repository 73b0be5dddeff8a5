package attest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// signed is an occurrence made without the product's code.
func signed(_ testing.TB, key *ecdsa.PrivateKey, id, resource string, payload []byte) *grafeaspb.Occurrence {
	return corpus.SignedAttestation(noteName, id, resource, payload, corpus.Key{Private: key}.Sign(payload))
}

func compact(repository string, d attestor.Digest) []byte {
	return corpus.SimpleSigning(repository, d)
}

func newProtoAttestor(keys ...*binaryauthorizationpb.AttestorPublicKey) *binaryauthorizationpb.Attestor {
	return &binaryauthorizationpb.Attestor{Name: attestorName, AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
		UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{NoteReference: noteName, PublicKeys: keys},
	}}
}

// TestVerifyOccurrence has one good occurrence, and every way found to make
// it bad.
func TestVerifyOccurrence(t *testing.T) {
	key, other := newKey(t), newKey(t)
	const id = "ni:///sha-256;x"
	d := digest(1)
	resource := repository + "@" + string(d)
	good := func() *grafeaspb.Occurrence { return signed(t, key, id, resource, compact(repository, d)) }
	payload := func(p string) *grafeaspb.Occurrence { return signed(t, key, id, resource, []byte(p)) }
	whole := string(compact(repository, d))
	entry := pkix(t, id, key.Public(), p256)
	tests := []struct {
		name string
		att  *binaryauthorizationpb.Attestor // nil: the usual one
		occ  *grafeaspb.Occurrence
		want string // "": it admits
	}{
		{"good", nil, good(), ""},
		{"with scheme", nil, signed(t, key, id, "https://"+resource, compact(repository, d)), ""},
		{"other repository", nil, signed(t, key, id, "gcr.io/x/y@"+string(d), compact("gcr.io/x/y", d)), ""},
		{"gcloud's payload", nil, signed(t, key, id, resource, attest.Payload(image(t, 1))), ""},
		{"with optional", nil, payload(strings.TrimSuffix(whole, "}") + `,"optional":{"creator":"x"}}`), ""},
		{"second key of that id", newProtoAttestor(pkix(t, id, other.Public(), p256), entry), good(), ""},
		{"global note", nil, change(good(), func(o *grafeaspb.Occurrence) { o.NoteName = "projects/sec/locations/global/notes/gate" }), ""},
		{"one of two signatures", nil, change(good(), func(o *grafeaspb.Occurrence) {
			a := o.GetAttestation()
			a.Signatures = append([]*grafeaspb.Signature{{PublicKeyId: "foreign", Signature: []byte("x")}}, a.GetSignatures()...)
		}), ""},

		{"no attestation", nil, &grafeaspb.Occurrence{NoteName: noteName, ResourceUri: resource}, "not an attestation"},
		{"nil", nil, nil, "not an attestation"},
		{"other note", nil, change(good(), func(o *grafeaspb.Occurrence) { o.NoteName = "projects/evil/notes/gate" }), "note"},
		{"regional note", nil, change(good(), func(o *grafeaspb.Occurrence) { o.NoteName = "projects/sec/locations/us/notes/gate" }), "note"},
		{"no note", nil, change(good(), func(o *grafeaspb.Occurrence) { o.NoteName = "" }), "note"},
		{"resource of another digest", nil, signed(t, key, id, repository+"@"+string(digest(2)), compact(repository, d)), "about"},
		{"resource by tag", nil, signed(t, key, id, repository+":v1", compact(repository, d)), "about"},
		{"no resource", nil, signed(t, key, id, "", compact(repository, d)), "about"},
		{"payload of another digest", nil, signed(t, key, id, resource, compact(repository, digest(2))), "payload is about"},
		{"no keys", newProtoAttestor(), good(), "no keys"},
		{"no signature", nil, change(good(), func(o *grafeaspb.Occurrence) { o.GetAttestation().Signatures = nil }), "no signature"},
		{"empty signature", nil, change(good(), func(o *grafeaspb.Occurrence) { o.GetAttestation().GetSignatures()[0].Signature = nil }), "does not verify"},
		{"flipped signature", nil, change(good(), func(o *grafeaspb.Occurrence) {
			s := o.GetAttestation().GetSignatures()[0].GetSignature()
			s[len(s)-1] ^= 1
		}), "does not verify"},
		{"flipped payload", nil, change(good(), func(o *grafeaspb.Occurrence) {
			a := o.GetAttestation()
			a.SerializedPayload = bytes.Replace(a.GetSerializedPayload(), []byte("acme"), []byte("acne"), 1)
		}), "does not verify"},
		{"unknown id", nil, change(good(), func(o *grafeaspb.Occurrence) {
			o.GetAttestation().GetSignatures()[0].PublicKeyId = "foreign"
		}), "not one of the attestor's"},
		{"empty id", nil, change(good(), func(o *grafeaspb.Occurrence) {
			o.GetAttestation().GetSignatures()[0].PublicKeyId = ""
		}), "not one of the attestor's"},
		{"key without id", newProtoAttestor(pkix(t, "", key.Public(), p256)),
			change(good(), func(o *grafeaspb.Occurrence) { o.GetAttestation().GetSignatures()[0].PublicKeyId = "" }),
			"not one of the attestor's"},
		{"id in capitals", nil, change(good(), func(o *grafeaspb.Occurrence) {
			o.GetAttestation().GetSignatures()[0].PublicKeyId = strings.ToUpper(id)
		}), "not one of the attestor's"},
		{"another key under the id", newProtoAttestor(pkix(t, id, other.Public(), p256)), good(), "does not verify"},
		{"wrong algorithm", newProtoAttestor(pkix(t, id, key.Public(), 10)), good(), "curve P-384"},
		{"RSA by name", newProtoAttestor(pkix(t, id, key.Public(), 5)), good(), "not an RSA key"},
		{"no algorithm", newProtoAttestor(pkix(t, id, key.Public(), 0)), good(), "cannot check"},
		{"unknown algorithm", newProtoAttestor(pkix(t, id, key.Public(), 13)), good(), "cannot check"},
		{"key that is no PEM", newProtoAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: id,
			PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
				PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{PublicKeyPem: "x", SignatureAlgorithm: p256},
			}}), good(), "cannot be used"},
		{"key of no kind", newProtoAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: id}), good(), "cannot be used"},
		{"too many signatures", nil, change(good(), func(o *grafeaspb.Occurrence) {
			a := o.GetAttestation()
			for range 100 {
				a.Signatures = append(a.Signatures, &grafeaspb.Signature{PublicKeyId: "x"})
			}
		}), "more than 64"},
		{"huge payload", nil, payload(whole + strings.Repeat(" ", 1<<17)), "more than"},
		{"over PAE only", nil, paeSigned(t, key, id, resource, compact(repository, d)), "continuous validation only"},

		{"empty payload", nil, payload(""), "not a simple-signing"},
		{"null", nil, payload("null"), "of type"},
		{"array", nil, payload("[" + whole + "]"), "not a simple-signing"},
		{"two documents", nil, payload(whole + whole), "not a simple-signing"},
		{"truncated", nil, payload(whole[:len(whole)-1]), "not a simple-signing"},
		{"other case", nil, payload(strings.Replace(whole, "critical", "Critical", 1)), "not a simple-signing"},
		{"duplicate image", nil, payload(strings.Replace(whole, `"image":`,
			`"image":{"docker-manifest-digest":"`+string(digest(9))+`"},"image":`, 1)), "not a simple-signing"},
		{"duplicate digest", nil, payload(strings.Replace(whole, `"docker-manifest-digest":`,
			`"docker-manifest-digest":"`+string(digest(9))+`","docker-manifest-digest":`, 1)),
			"not a simple-signing"},
		{"unknown member", nil, payload(strings.Replace(whole, `"image":`, `"image2":1,"image":`, 1)), "not a simple-signing"},
		{"Kritis' type", nil, payload(strings.Replace(whole, "Google cloud binauthz", "atomic", 1)), "of type"},
		{"cosign's type", nil, payload(strings.Replace(whole, "Google cloud binauthz container", "cosign container image", 1)), "of type"},
		{"no repository", nil, payload(string(compact("", d))), "no repository"},
		{"digest in capitals", nil, payload(strings.Replace(whole, string(d), strings.ToUpper(string(d)), 1)), "payload is about"},
		{"digest without algorithm", nil, payload(strings.Replace(whole, string(d), d.Hex(), 1)), "payload is about"},
		{"invalid UTF-8", nil, payload(strings.Replace(whole, "acme", "ac\xffe", 1)), "not a simple-signing"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			att := tt.att
			if att == nil {
				att = newProtoAttestor(entry)
			}

			err := attest.VerifyOccurrence(att, tt.occ, d, time.Unix(1_800_000_000, 0))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}

	if err := attest.VerifyOccurrence(newProtoAttestor(entry), good(), "", time.Unix(1_800_000_000, 0)); err == nil {
		t.Error("no digest is admitted")
	}
}

func change(o *grafeaspb.Occurrence, f func(*grafeaspb.Occurrence)) *grafeaspb.Occurrence {
	f(o)
	return o
}

func paeSigned(t testing.TB, key *ecdsa.PrivateKey, id, resource string, payload []byte) *grafeaspb.Occurrence {
	t.Helper()
	o := signed(t, key, id, resource, fmt.Appendf(nil, "DSSEv1 48 application/vnd.dev.cosign.simplesigning.v1+json %d %s", len(payload), payload))
	o.GetAttestation().SerializedPayload = payload
	return o
}

// TestVerifyRSA has each RSA algorithm refuse the other padding, the other
// hash, another salt length and another size.
func TestVerifyRSA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	message := compact(repository, digest(1))
	sum := sha256.Sum256(message)
	pkcs1, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	must(t, err)
	pss, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	must(t, err)
	salt, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 20})
	must(t, err)
	tests := []struct {
		name string
		alg  binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm
		sig  []byte
		ok   bool
	}{
		{"pkcs1", 5, pkcs1, true},
		{"pss", 1, pss, true},
		{"pkcs1 as pss", 1, pkcs1, false},
		{"pss as pkcs1", 5, pss, false},
		{"other salt", 1, salt, false},
		{"3072", 6, pkcs1, false},
		{"sha512", 8, pkcs1, false},
		{"as ecdsa", 9, pkcs1, false},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &grafeaspb.Occurrence{NoteName: noteName, ResourceUri: repository + "@" + string(digest(1)), Details: &grafeaspb.Occurrence_Attestation{
				Attestation: &grafeaspb.AttestationOccurrence{SerializedPayload: message,
					Signatures: []*grafeaspb.Signature{{PublicKeyId: "k", Signature: tt.sig}}},
			}}
			err := attest.VerifyOccurrence(newProtoAttestor(pkix(t, "k", key.Public(), tt.alg)), o, digest(1), time.Time{})
			if (err == nil) != tt.ok {
				t.Errorf("%v, want ok %t", err, tt.ok)
			}
		})
	}
}

// put stores an occurrence past the product.
func (w *world) put(o *grafeaspb.Occurrence) *grafeaspb.Occurrence {
	w.t.Helper()
	out, err := w.Grafeas.CreateOccurrence(w.t.Context(), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/sec", Occurrence: o})
	must(w.t, err)
	return out
}

// TestStanding reports valid ones, and every other with why.
func TestStanding(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone, EmptyPages: 2})
	w.attestor(attestorName)
	w.attestor("projects/sec/attestors/other")
	key, stranger := newKey(t), newKey(t)
	w.keys(attestorName, pkix(t, "k", key.Public(), p256))
	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Now: w.clock.Now, Limit: limit.Call(time.Minute)})
	must(t, err)
	resource := image(t, 1).String()
	good := w.put(signed(t, key, "k", resource, compact(repository, digest(1))))
	foreign := w.put(signed(t, stranger, "s", resource, compact(repository, digest(1))))
	moved := w.put(signed(t, key, "k", resource, compact(repository, digest(2))))
	w.put(signed(t, key, "k", image(t, 2).String(), compact(repository, digest(2))))

	got, err := v.Standing(t.Context(), []string{attestorName, "projects/sec/attestors/other"}, []attestor.Image{image(t, 1)})
	must(t, err)
	if !got.Known || len(got.Valid) != 1 || got.Valid[0].Occurrence != good.GetName() ||
		got.Valid[0].PublicKeyID != "k" || !got.Valid[0].Since.Equal(good.GetCreateTime().AsTime()) {
		t.Errorf("valid: %+v", got.Valid)
	}

	why := map[string]string{}
	for _, i := range got.Invalid {
		why[i.Occurrence] = i.Why
	}

	if len(got.Invalid) != 2 || !strings.Contains(why[foreign.GetName()], "not one of the attestor's") ||
		!strings.Contains(why[moved.GetName()], "payload is about") {
		t.Errorf("invalid: %v", why)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Error(err)
	}

	for _, tt := range []struct {
		name      string
		attestors []string
		images    []attestor.Image
	}{
		{"no attestor", nil, []attestor.Image{image(t, 1)}},
		{"no image", []string{attestorName}, nil},
		{"zero image", []string{attestorName}, []attestor.Image{{}}},
		{"unknown attestor", []string{"projects/sec/attestors/none"}, []attestor.Image{image(t, 1)}},
		{"one unknown of two", []string{attestorName, "projects/sec/attestors/none"}, []attestor.Image{image(t, 1)}},
		{"no attestor's name", []string{"gate"}, []attestor.Image{image(t, 1)}},
	} {
		got, err := v.Standing(t.Context(), tt.attestors, tt.images)
		if err == nil || got.Known || len(got.Valid) != 0 {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// TestStandingPages finds the one valid among many, however they are paged.
func TestStandingPages(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone, EmptyPages: 1})
	a, s := w.gate()
	_ = s
	stranger := newKey(t)

	for range 250 {
		w.put(signed(t, stranger, "s", image(t, 1).String(), compact(repository, digest(1))))
	}

	_, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
	must(t, err)
	got, err := a.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	must(t, err)
	if len(got.Valid) != 1 || len(got.Invalid) != 250 {
		t.Errorf("%d valid, %d invalid", len(got.Valid), len(got.Invalid))
	}

	for range 800 {
		w.put(signed(t, stranger, "s", image(t, 1).String(), compact(repository, digest(1))))
	}

	_, err = a.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	wantError(t, err, attestor.CodeAttestorUnavailable, "more than 1000", "which identity writes to the note")
}

// TestStandingFaults: whatever cannot be read is an error with words.
func TestStandingFaults(t *testing.T) {
	tests := []struct {
		name   string
		fault  emulator.Fault
		denied string
		code   attestor.Code
		words  []string
	}{
		{"attestor denied", emulator.Fault{}, "binaryauthorization.attestors.get", attestor.CodeAttestorDenied,
			[]string{"roles/binaryauthorization.attestorsViewer"}},
		{"list denied", emulator.Fault{}, "containeranalysis.notes.listOccurrences", attestor.CodeAttestorDenied,
			[]string{"roles/containeranalysis.notes.occurrences.viewer"}},
		{"attestor unavailable", emulator.Fault{Method: "GetAttestor", Code: codes.Internal}, "", attestor.CodeAttestorUnavailable, nil},
		{"attestor hangs", emulator.Fault{Method: "GetAttestor", Hang: true}, "", attestor.CodeAttestorUnavailable, []string{"in time"}},
		{"list unavailable for ever", emulator.Fault{Method: "ListNoteOccurrences", Code: codes.Unavailable}, "",
			attestor.CodeAttestorUnavailable, []string{"in time"}},
		{"list hangs", emulator.Fault{Method: "ListNoteOccurrences", Hang: true}, "", attestor.CodeAttestorUnavailable, []string{"in time"}},
		{"note is gone", emulator.Fault{Method: "ListNoteOccurrences", Code: codes.NotFound}, "", attestor.CodeAttestorUnavailable, []string{"does not exist"}},
		{"answered for another", emulator.Fault{Method: "GetAttestor", Mutate: func(_, m proto.Message) {
			m.(*binaryauthorizationpb.Attestor).Name = "projects/evil/attestors/gate" //nolint:errcheck // GetAttestor answers nothing else
		}}, "", attestor.CodeAttestorUnavailable, []string{"answered for"}},
		{"without a note", emulator.Fault{Method: "GetAttestor", Mutate: func(_, m proto.Message) {
			m.(*binaryauthorizationpb.Attestor).GetUserOwnedGrafeasNote().NoteReference = "" //nolint:errcheck // GetAttestor answers nothing else
		}}, "", attestor.CodeAttestorUnavailable, []string{"answered for"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := emulator.Behaviour{}
			if tt.denied != "" {
				b.Denied = []emulator.Denial{{Permission: tt.denied}}
			}

			w := newWorld(t, emulator.Behaviour{})
			w.gate()
			w.SetBehaviour(b)
			if tt.fault.Method != "" {
				w.Inject(tt.fault)
			}

			timeout := time.Minute
			if tt.fault.Hang || tt.fault.Code == codes.Unavailable { // the client repeats what was unavailable
				timeout = 100 * time.Millisecond
			}

			v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Now: w.clock.Now, Limit: limit.Call(timeout)})
			must(t, err)
			got, err := v.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
			wantError(t, err, tt.code, tt.words...)
			if got.Known || attestor.KindOf(err) != attestor.Upstream {
				t.Errorf("%+v, kind %v", got, attestor.KindOf(err))
			}
		})
	}
}

// TestStandingIgnoresAFilterThatIsIgnored: a server that lists everything gets
// nothing past us.
func TestStandingIgnoresAFilterThatIsIgnored(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, _ := w.gate()
	_, err := a.Attest(t.Context(), authorize(t, image(t, 2), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	all := w.stored(noteName)
	w.Inject(emulator.Fault{Method: "ListNoteOccurrences", Mutate: func(_, m proto.Message) {
		m.(*grafeaspb.ListNoteOccurrencesResponse).Occurrences = all //nolint:errcheck // it answers nothing else
	}})

	got, err := a.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	must(t, err)
	if len(got.Valid) != 0 || len(got.Invalid) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestKeysAreReadAgain: cached for a minute at most, and read at once where
// something does not verify.
func TestKeysAreReadAgain(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone})
	w.attestor(attestorName)
	old, young := newKey(t), newKey(t)
	w.keys(attestorName, pkix(t, "old", old.Public(), p256))
	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Now: w.clock.Now, Limit: limit.Call(time.Minute)})
	must(t, err)
	look := func(n int) (valid, reads int) {
		t.Helper()
		w.ResetCalls()
		s, err := v.Standing(context.WithoutCancel(t.Context()), []string{attestorName}, []attestor.Image{image(t, n)})
		must(t, err)
		return len(s.Valid), len(w.Calls("GetAttestor"))
	}

	w.put(signed(t, old, "old", image(t, 1).String(), compact(repository, digest(1))))
	w.put(signed(t, young, "young", image(t, 2).String(), compact(repository, digest(2))))

	for _, step := range []struct {
		name         string
		do           func()
		image        int
		valid, reads int
	}{
		{"first", func() {}, 1, 1, 1},
		{"cached", func() {}, 1, 1, 0},
		{"mismatch", func() {}, 2, 0, 1},
		{"a new key is seen at once", func() { w.keys(attestorName, pkix(t, "young", young.Public(), p256)) }, 2, 1, 1},
		{"and the old one is not, at once", func() {}, 1, 0, 1},
		{"cached again", func() {}, 2, 1, 0},
		{"a key that left is believed for less than a minute", func() {
			w.keys(attestorName, pkix(t, "x", old.Public(), p256))
			w.clock.advance(59 * time.Second)
		}, 2, 1, 0},
		{"and no longer", func() { w.clock.advance(2 * time.Second) }, 2, 0, 1},
	} {
		step.do()
		if valid, reads := look(step.image); valid != step.valid || reads != step.reads {
			t.Errorf("%s: %d valid after %d reads, want %d after %d", step.name, valid, reads, step.valid, step.reads)
		}
	}
}
