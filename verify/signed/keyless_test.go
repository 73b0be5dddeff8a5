package signed_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/verify/signed"
)

// judgeKeyless is what holds for whatever cosign signed by a Sigstore of its
// own: Fulcio's certificate, Rekor's entry and the authority's timestamp are
// all genuine, and the identity decides.
func judgeKeyless(t *testing.T, dir string) {
	t.Helper()
	const issuer, subject, slsa = "http://127.0.0.1:8888", "release@bases.example.com", "https://slsa.dev/provenance/v0.2"
	root := filepath.Join(dir, "trusted_root.json")
	rule := attestor.SignedBy{Issuer: issuer, Subject: subject, TrustedRoot: root}

	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t, handler(t, false))
			r := replay(t, h, dir)
			signedBy, byMallory, attested := h.Named(r.Images["sign-keyless"]), h.Named(r.Images["sign-mallory"]), h.Named(r.Images["attest-keyless"])

			for _, ok := range []attestor.SignedBy{rule, {Issuer: issuer, SubjectRegexp: `release@[a-z.]+`, TrustedRoot: root}} {
				if got, err := h.check(signedBy, ok); err != nil || got != subject+" ("+issuer+")" {
					t.Errorf("%s: got %q, %v", ok.Text(), got, err)
				}
			}

			for name, tt := range map[string]struct {
				img  attestor.Image
				rule attestor.SignedBy
				want string
			}{
				"somebody else signed": {byMallory, rule, "by mallory@bases.example.com"},
				"somebody else is asked": {signedBy, attestor.SignedBy{Issuer: issuer,
					Subject: "mallory@bases.example.com", TrustedRoot: root}, "by " + subject},
				"another issuer": {signedBy, attestor.SignedBy{Issuer: "https://accounts.google.com",
					Subject: subject, TrustedRoot: root}, "(" + issuer + ")"},
				"a part of the subject":     {signedBy, attestor.SignedBy{Issuer: issuer, SubjectRegexp: "release", TrustedRoot: root}, "by " + subject},
				"an attestation is no sign": {attested, rule, ""},
				"the public Sigstore": {signedBy, attestor.SignedBy{Issuer: issuer, Subject: subject,
					TrustedRoot: publicGood}, "is not in the trusted root"},
				"by a key": {signedBy, newKey(t).rule(), ""},
				"unsigned": {h.image, rule, "it has none"},
			} {
				t.Run(name, func(t *testing.T) {
					got, err := h.check(tt.img, tt.rule)
					refused(t, got, err, tt.want)
				})
			}

			for img, want := range map[attestor.Image]int{attested: 1, signedBy: 0, byMallory: 0} {
				list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), img, rule, []string{slsa})
				if err != nil || len(list) != want {
					t.Errorf("attestations %v, %v; want %d", list, err, want)
				}
			}
		})
	}
}

func TestRealKeyless(t *testing.T) {
	judgeKeyless(t, filepath.Join("testdata", "cosign-cli", "keyless"))
}

// TestKeylessToday runs Fulcio, Rekor and a timestamp authority, built from
// source, in a network of their own, and has cosign sign anew by them.
func TestKeylessToday(t *testing.T) {
	slow.Skip(t)
	dir, bin := t.TempDir(), filepath.Join(t.TempDir(), "record")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../internal/testkit/sigrecord").CombinedOutput(); err != nil {
		t.Fatalf("building the recorder: %v\n%s", err, out)
	}

	cosign := cosigns["v3"]
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, bin,
		"-out", dir, "-cosign", build(t, cosign.module, cosign.pkg),
		"-fulcio", build(t, "sigstore", "github.com/sigstore/fulcio"),
		"-rekor", build(t, "sigstore", "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix"),
		"-tsa", build(t, "sigstore", "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server"))

	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("recording: %v\n%s", err, out)
	}

	judgeKeyless(t, dir)
}
