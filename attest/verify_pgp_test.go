package attest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/attest"
)

func TestVerifyPGP(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	config := &packet.Config{Time: func() time.Time { return now.Add(-time.Hour) }, Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256}
	entity, err := openpgp.NewEntity("gate", "", "gate@example.com", config)
	must(t, err)
	stranger, err := openpgp.NewEntity("stranger", "", "stranger@example.com", config)
	must(t, err)
	public := armoured(t, openpgp.PublicKeyType, func(b *bytes.Buffer) { must(t, entity.Serialize(b)) })
	id := fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint)
	att := newProtoAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: id,
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_AsciiArmoredPgpPublicKey{
			AsciiArmoredPgpPublicKey: string(public)}})
	payload := attest.Payload(image(t, 1))
	attached := func(e *openpgp.Entity, body []byte) []byte {
		return armoured(t, "PGP MESSAGE", func(b *bytes.Buffer) {
			m, err := openpgp.Sign(b, e, nil, config)
			must(t, err)
			_, err = m.Write(body)
			must(t, err)
			must(t, m.Close())
		})
	}

	detached := func(e *openpgp.Entity, body []byte) []byte {
		var b bytes.Buffer
		must(t, openpgp.ArmoredDetachSign(&b, e, bytes.NewReader(body), config))
		return b.Bytes()
	}

	good := attached(entity, payload)
	unsigned := armoured(t, "PGP MESSAGE", func(b *bytes.Buffer) {
		m, err := packet.SerializeLiteral(nopCloser{b}, true, "", 0)
		must(t, err)
		_, err = m.Write(payload)
		must(t, err)
		must(t, m.Close())
	})

	tests := []struct {
		name string
		id   string
		sig  []byte
		at   time.Time
		ok   bool
	}{
		{"attached", id, good, now, true},
		{"detached", id, detached(entity, payload), now, true},
		{"attached by a stranger", id, attached(stranger, payload), now, false},
		{"detached by a stranger", id, detached(stranger, payload), now, false},
		{"attached, another payload", id, attached(entity, attest.Payload(image(t, 2))), now, false},
		{"attached, a longer payload", id, attached(entity, append(bytes.Clone(payload), ' ')), now, false},
		{"attached, a shorter payload", id, attached(entity, payload[:100]), now, false},
		{"detached, another payload", id, detached(entity, attest.Payload(image(t, 2))), now, false},
		{"not signed", id, unsigned, now, false},
		{"truncated", id, good[:len(good)/2], now, false},
		{"not armoured", id, []byte("x"), now, false},
		{"empty", id, nil, now, false},
		{"huge", id, bytes.Repeat(good, 500), now, false},
		{"id in lower case", strings.ToLower(id), good, now, false},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &grafeaspb.Occurrence{NoteName: noteName, ResourceUri: image(t, 1).String(), Details: &grafeaspb.Occurrence_Attestation{
				Attestation: &grafeaspb.AttestationOccurrence{SerializedPayload: payload,
					Signatures: []*grafeaspb.Signature{{PublicKeyId: tt.id, Signature: tt.sig}}},
			}}
			if err := attest.VerifyOccurrence(att, o, digest(1), tt.at); (err == nil) != tt.ok {
				t.Errorf("%v, want ok %t", err, tt.ok)
			}
		})
	}
}

// TestVerifyPGPByGnuPG takes the signature that gcloud's documentation has
// people make: gpg --armor --sign, compressed, with the payload inside.
func TestVerifyPGPByGnuPG(t *testing.T) {
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Skip("gpg is not installed, which makes the signature here")
	}

	home, err := os.MkdirTemp("", "gpg") // a socket's path must be short
	must(t, err)
	run := func(in []byte, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), gpg,
			append([]string{"--homedir", home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase",
				""}, args...)...) //nolint:gosec // a tool that was looked up
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v", args, err)
		}

		return out
	}

	t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), "gpgconf", "--homedir", home, "--kill", "all").Run() //nolint:gosec // our own directory
		must(t, os.RemoveAll(home))
	})

	run(nil, "--quick-generate-key", "gate@example.com", "rsa2048", "sign", "never")
	var id string

	for line := range strings.Lines(string(run(nil, "--list-keys", "--with-colons"))) {
		if strings.HasPrefix(line, "fpr:") && id == "" {
			id = strings.Split(line, ":")[9]
		}
	}

	att := newProtoAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: id, PublicKey: &binaryauthorizationpb.AttestorPublicKey_AsciiArmoredPgpPublicKey{
		AsciiArmoredPgpPublicKey: string(run(nil, "--armor", "--export", id)),
	}})

	payload := attest.Payload(image(t, 1))
	sig := run(payload, "--armor", "--sign")
	occurrence := func(payload []byte) *grafeaspb.Occurrence {
		return &grafeaspb.Occurrence{NoteName: noteName, ResourceUri: image(t, 1).String(), Details: &grafeaspb.Occurrence_Attestation{
			Attestation: &grafeaspb.AttestationOccurrence{SerializedPayload: payload, Signatures: []*grafeaspb.Signature{{PublicKeyId: id, Signature: sig}}},
		}}
	}

	now := time.Now().Add(time.Minute)
	if err := attest.VerifyOccurrence(att, occurrence(payload), digest(1), now); err != nil {
		t.Error(err)
	}
	if err := attest.VerifyOccurrence(att, occurrence(compact(repository, digest(1))), digest(1), now); err == nil {
		t.Error("a payload that is not the signed one is admitted")
	}
}

type nopCloser struct{ *bytes.Buffer }

func (nopCloser) Close() error { return nil }

func armoured(t testing.TB, kind string, write func(b *bytes.Buffer)) []byte {
	t.Helper()
	var raw, out bytes.Buffer
	write(&raw)
	a, err := armor.Encode(&out, kind, nil)
	must(t, err)
	_, err = a.Write(raw.Bytes())
	must(t, err)
	must(t, a.Close())
	return out.Bytes()
}
