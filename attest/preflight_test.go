package attest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// TestPreflight: each thing that would keep the gate from attesting is said in
// words, with the role that is missing.
func TestPreflight(t *testing.T) {
	const version = "projects/sec/locations/global/keyRings/gate/cryptoKeys/k/cryptoKeyVersions/1"
	deny := func(permission string) func(w *world) {
		return func(w *world) {
			w.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: permission}}})
		}
	}

	tests := []struct {
		name  string
		do    func(w *world)
		code  attestor.Code
		words []string
	}{
		{"all is well", func(*world) {}, "", nil},
		{"may not sign", deny("cloudkms.cryptoKeyVersions.useToSign"), attestor.CodeSigningFailed,
			[]string{"roles/cloudkms.signer", version[:strings.Index(version, "/cryptoKeyVersions")]}},
		{"may not read the key", deny("cloudkms.cryptoKeyVersions.viewPublicKey"), attestor.CodeSigningFailed, []string{"roles/cloudkms.publicKeyViewer"}},
		{"may not read the attestor", deny("binaryauthorization.attestors.get"), attestor.CodeAttestorDenied,
			[]string{"roles/binaryauthorization.attestorsViewer"}},
		{"may not read the note", deny("containeranalysis.notes.get"), attestor.CodeAttestorDenied,
			[]string{"roles/containeranalysis.notes.attacher", noteName}},
		{"may not attach", deny("containeranalysis.notes.attachOccurrence"), attestor.CodeAttestorDenied,
			[]string{"may not attach", "roles/containeranalysis.notes.attacher"}},
		{"may not list", deny("containeranalysis.notes.listOccurrences"), attestor.CodeAttestorDenied,
			[]string{"may not list", "roles/containeranalysis.notes.occurrences.viewer"}},
		{"attestor is gone", func(w *world) {
			must(w.t, w.Binauthz.DeleteAttestor(w.t.Context(), &binaryauthorizationpb.DeleteAttestorRequest{Name: attestorName}))
		}, attestor.CodeAttestorUnavailable, []string{"does not exist", "attestors create"}},
		{"note is gone", func(w *world) {
			must(w.t, w.Grafeas.DeleteNote(w.t.Context(), &grafeaspb.DeleteNoteRequest{Name: noteName}))
		}, attestor.CodeAttestorUnavailable, []string{noteName, "does not exist"}},
		{"note is of another kind", func(w *world) {
			w.Inject(emulator.Fault{Method: "GetNote", Mutate: func(_, m proto.Message) {
				m.(*grafeaspb.Note).Type = &grafeaspb.Note_Build{} //nolint:errcheck // nothing else comes here
			}})
		}, attestor.CodeAttestorUnavailable, []string{"not an attestation note"}},
		{"attestor has no keys", func(w *world) { w.keys(attestorName) }, attestor.CodeKeyNotOfAttestor,
			[]string{"has no key with the id", "public-keys add", version}},
		{"key under another id", func(w *world) {
			e := w.kmsEntry(version, p256)
			e.Id = "//127.0.0.1:9090/v1/" + version
			w.keys(attestorName, e)
		}, attestor.CodeKeyNotOfAttestor, []string{"has no key with the id"}},
		{"key of another version", func(w *world) {
			e := w.kmsEntry(version, p256)
			e.Id = strings.TrimSuffix(e.GetId(), "1") + "2"
			w.keys(attestorName, e)
		}, attestor.CodeKeyNotOfAttestor, []string{"has no key with the id"}},
		{"another key under the id", func(w *world) {
			w.keys(attestorName, pkix(w.t, "//cloudkms.googleapis.com/v1/"+version, newKey(w.t).Public(), p256))
		}, attestor.CodeKeyNotOfAttestor, []string{"another public key under the id"}},
		{"another algorithm under the id", func(w *world) {
			w.Inject(emulator.Fault{Method: "GetAttestor", Mutate: func(_, m proto.Message) {
				k := m.(*binaryauthorizationpb.Attestor).GetUserOwnedGrafeasNote().GetPublicKeys()[0] //nolint:errcheck // nothing else comes here
				k.GetPkixPublicKey().SignatureAlgorithm = binaryauthorizationpb.PkixPublicKey_RSA_PSS_2048_SHA256
			}})
		}, attestor.CodeKeyNotOfAttestor, []string{"RSA_PSS_2048_SHA256", "does not fit"}},
		{"Cloud KMS is down", func(w *world) {
			w.Inject(emulator.Fault{Method: "GetPublicKey", Code: codes.Internal})
		}, attestor.CodeSigningFailed, []string{"Cloud KMS could not"}},
		{"rights are not told", func(w *world) {
			w.Inject(emulator.Fault{Method: "google.devtools.containeranalysis.v1.ContainerAnalysis/TestIamPermissions", Code: codes.Unimplemented})
		}, attestor.CodeAttestorUnavailable, []string{"could not be read"}},
		{"rights on the key are not told", func(w *world) {
			w.Inject(emulator.Fault{Method: "google.iam.v1.IAMPolicy/TestIamPermissions", Code: codes.Unimplemented})
		}, attestor.CodeSigningFailed, []string{"ask who may use it"}},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, emulator.Behaviour{})
			a := w.kmsGate()
			tt.do(w)
			err := a.Preflight(t.Context())
			if tt.code == "" {
				must(t, err)
				return
			}

			wantError(t, err, tt.code, tt.words...)
			if attestor.KindOf(err) != attestor.Unavailable || strings.Contains(asError(err).Msg, "rpc error") {
				t.Errorf("%v", err)
			}
			if n := len(w.Calls("AsymmetricSign", "CreateOccurrence")); n != 0 {
				t.Errorf("preflight signed or stored %d times", n)
			}
		})
	}
}

// TestPreflightSaysItAll: two attestors, each with its own trouble, one error.
func TestPreflightSaysItAll(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	w.attestor(attestorName)
	version := w.kmsKey("k", kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256)
	a := w.newAttester(
		attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(version)},
		attest.AttestorConfig{Name: "projects/sec/attestors/none", Signer: keyFile(t, newKey(t))},
	)

	w.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: "containeranalysis.notes.attachOccurrence"}}})
	wantError(t, a.Preflight(t.Context()), attestor.CodeKeyNotOfAttestor, "has no key", "may not attach", "projects/sec/attestors/none does not exist")
}

func TestPreflightEndsWithItsContext(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	w.Inject(emulator.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := a.Preflight(ctx)
	if e := asError(err); e == nil || e.Kind != attestor.Unavailable || e.Msg == "" {
		t.Errorf("%v", err)
	}
}

// TestNew names all that is missing at once.
func TestNew(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	s := keyFile(t, newKey(t))
	_, err := attest.New(attest.Config{})

	for _, want := range []string{"client is missing", "journal", "no attestor is configured"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}

	_, err = attest.New(w.config(
		attest.AttestorConfig{Name: "gate", Signer: s}, attest.AttestorConfig{Name: attestorName}, attest.AttestorConfig{},
		attest.AttestorConfig{Name: "projects/p/attestors/a", Signer: s}, attest.AttestorConfig{Name: "projects/p/attestors/a", Signer: s},
	))

	for _, want := range []string{`"gate"`, "has no signer", "twice", `""`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}

	if _, err := attest.NewVerifier(attest.VerifierConfig{}); err == nil {
		t.Error("a verifier of nothing")
	}
}
