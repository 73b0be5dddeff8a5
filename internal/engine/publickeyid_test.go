package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// TestPublicKeyID: the gate signs for an attestor that has its key under an id
// of somebody's choice where the configuration names that id, and only there.
func TestPublicKeyID(t *testing.T) {
	const chosen = "release-key"
	g, file := attestorWithKey(t, chosen)

	for _, tt := range []struct {
		name, publicKeyID string
		code              attestor.Code // "": the attestor can be used
	}{
		{"the id that the attestor has", "publicKeyId: " + chosen, ""},
		{"none, so that the usual one is meant", "", attestor.CodeKeyNotOfAttestor},
		{"another", "publicKeyId: another", attestor.CodeKeyNotOfAttestor},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := leastConfig + "attestors:\n  - name: projects/p/attestors/a\n    keyFile: " + file + "\n"
			if tt.publicKeyID != "" {
				text += "    " + tt.publicKeyID + "\n"
			}

			c, err := loadText(t, text)
			if err != nil {
				t.Fatal(err)
			}

			a, err := engine.NewAttester(c, g, struct{ attest.Journal }{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}

			var code attestor.Code
			if err := a.Preflight(t.Context()); err != nil {
				e, ok := errors.AsType[*attestor.Error](err)
				if !ok {
					t.Fatal(err)
				}
				code = e.Code
			}
			if code != tt.code {
				t.Errorf("code %q, want %q", code, tt.code)
			}
		})
	}
}

// attestorWithKey makes an attestor with one key under an id, and the key's file.
func attestorWithKey(t *testing.T, id string) (*google.Clients, string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}

	ctx, s := t.Context(), standin.StartServices(t, emulator.Options{})
	g := &google.Clients{Grafeas: s.Grafeas, Analysis: s.Analysis, Binauthz: s.Binauthz}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	file := filepath.Join(t.TempDir(), "key.pem")
	must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))

	_, err = g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{
		Parent: "projects/p", NoteId: "n",
		Note: &grafeaspb.Note{Type: &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{
			Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: "gate"},
		}}},
	})

	must(err)
	_, err = g.Binauthz.CreateAttestor(ctx, &binaryauthorizationpb.CreateAttestorRequest{
		Parent: "projects/p", AttestorId: "a",
		Attestor: &binaryauthorizationpb.Attestor{
			Name: "projects/p/attestors/a",
			AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{
				NoteReference: "projects/p/notes/n",
				PublicKeys: []*binaryauthorizationpb.AttestorPublicKey{{
					Id: id,
					PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
						PublicKeyPem:       string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
						SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
					}},
				}},
			}},
		},
	})

	must(err)
	return g, file
}
