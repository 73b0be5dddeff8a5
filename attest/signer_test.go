package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

type scheme struct {
	alg  binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm
	kms  kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm // 0: not in KMS
	key  string                                           // kind of key
	hash string                                           // openssl's name
	pss  bool
}

// schemes are Binary Authorization's, typed from its documentation and not
// from the product's table.
func schemes() []scheme {
	return []scheme{
		{1, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256, "rsa2048", "sha256", true},
		{2, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256, "rsa3072", "sha256", true},
		{3, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256, "rsa4096", "sha256", true},
		{4, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA512, "rsa4096", "sha512", true},
		{5, kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256, "rsa2048", "sha256", false},
		{6, kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256, "rsa3072", "sha256", false},
		{7, kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256, "rsa4096", "sha256", false},
		{8, kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512, "rsa4096", "sha512", false},
		{9, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, "p256", "sha256", false},
		{10, kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384, "p384", "sha384", false},
		{11, 0, "p521", "sha512", false},
	}
}

// testKeys makes one key of each kind.
func testKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := curveKeys(t)

	for _, bits := range []int{2048, 3072, 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		must(t, err)
		keys[fmt.Sprintf("rsa%d", bits)] = k
	}
	return keys
}

func curveKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}

	for name, curve := range map[string]elliptic.Curve{"p224": elliptic.P224(), "p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
		keys[name] = k
	}
	return keys
}

// opensslVerifies has openssl, which knows nothing of this package, check a
// stored occurrence from its bytes and the attestor's PEM.
func opensslVerifies(t *testing.T, o *grafeaspb.Occurrence, i int, message []byte, pemText, hash string, pss bool) {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed, which is the independent verifier here")
	}

	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, data, 0o600))
		return path
	}

	args := []string{
		"dgst", "-" + hash, "-verify", file("key.pem", []byte(pemText)),
		"-signature", file("signature", o.GetAttestation().GetSignatures()[i].GetSignature()),
	}

	if pss {
		args = append(args, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
	}

	out, err := exec.CommandContext(t.Context(), openssl, append(args, file("payload", message))...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Verified OK") {
		t.Errorf("openssl %v: %v\n%s", args, err, out)
	}
}

// TestEveryAlgorithm has each algorithm sign through a key file and through
// Cloud KMS, validated by the emulator's helper and by openssl.
func TestEveryAlgorithm(t *testing.T) {
	keys := testKeys(t)
	w := newWorld(t, emulator.Behaviour{})
	w.attestor(attestorName)

	for i, s := range schemes() {
		signers := map[string]func() attest.Signer{"file": func() attest.Signer { return keyFile(t, keys[s.key]) }}
		if s.kms != 0 {
			signers["kms"] = func() attest.Signer {
				version := fmt.Sprintf("projects/sec/locations/global/keyRings/gate/cryptoKeys/k%d/cryptoKeyVersions/1", i)
				must(t, w.SeedKey(version, s.kms, keys[s.key]))
				return w.kmsSigner(version)
			}
		}

		for kind, newSigner := range signers {
			t.Run(s.alg.String()+"/"+kind, func(t *testing.T) {
				img := image(t, 2*i+len(kind)%2)
				signer := newSigner()
				entry := pkix(t, attest.KeyID(signer), keys[s.key].Public(), s.alg)
				w.keys(attestorName, entry)
				a := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: signer})
				must(t, a.Preflight(t.Context()))
				_, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
				must(t, err)
				o := w.oneValid(img)
				opensslVerifies(t, o, 0, o.GetAttestation().GetSerializedPayload(), entry.GetPkixPublicKey().GetPublicKeyPem(), s.hash, s.pss)
			})
		}
	}
}

func TestKMSKeysThatBinaryAuthorizationDoesNotAccept(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	w.attestor(attestorName)

	for i, alg := range []kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm{
		kmspb.CryptoKeyVersion_EC_SIGN_ED25519, kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_RAW_PKCS1_2048, kmspb.CryptoKeyVersion_HMAC_SHA256, kmspb.CryptoKeyVersion_PQ_SIGN_ML_DSA_65, 0, 999,
	} {
		t.Run(alg.String(), func(t *testing.T) {
			version := w.kmsKey(fmt.Sprintf("bad%d", i), kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256)
			defer w.Inject(emulator.Fault{Method: "GetPublicKey", Mutate: func(_, resp proto.Message) {
				resp.(*kmspb.PublicKey).Algorithm = alg //nolint:errcheck // GetPublicKey answers nothing else
			}})()

			a := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(version)})
			wantError(t, a.Preflight(t.Context()), attestor.CodeSigningFailed, alg.String(), "no equivalent in Binary Authorization")
			_, err := a.Attest(t.Context(), authorize(t, image(t, i), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			wantError(t, err, attestor.CodeSigningFailed, "no equivalent")
			if got := len(w.Calls("AsymmetricSign")); got != 0 {
				t.Errorf("%d signatures were asked for", got)
			}
		})
	}

	for _, name := range []string{"", "projects/p/locations/l/keyRings/r/cryptoKeys/k",
		"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/latest", "k\n/cryptoKeyVersions/1"} {
		if _, err := attest.NewKMSSigner(w.KMS, name, 1); err == nil {
			t.Errorf("%q is accepted as a key version", name)
		}
	}

	if _, err := attest.NewKMSSigner(nil, "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", 1); err == nil {
		t.Error("a signer without a client")
	}
}

// wantError checks kind, code and words.
func wantError(t testing.TB, err error, code attestor.Code, words ...string) {
	t.Helper()
	e := asError(err)
	if e == nil {
		t.Fatalf("error %v, want an attestor.Error with code %s", err, code)
	}
	if e.Code != code {
		t.Errorf("code %s (%v), want %s", e.Code, err, code)
	}
	if e.Fix == "" {
		t.Errorf("%q says nothing of what to do", e.Msg)
	}

	for _, word := range words {
		if !strings.Contains(e.Msg+" | "+e.Fix, word) {
			t.Errorf("%q | %q does not say %q", e.Msg, e.Fix, word)
		}
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	keys := curveKeys(t)
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}

	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(keys["p256"].(*ecdsa.PrivateKey)) //nolint:errcheck // made above
	must(t, err)
	good := pkcs8(keys["p256"])
	small := []byte(opensslKey(t, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"))
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"ed25519", pkcs8(ed), "Ed25519"},
		{"p224", pkcs8(keys["p224"]), "P-224"},
		{"secp256k1", []byte(opensslKey(t, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")), "not secp256k1"},
		{"rsa 1024", small, "1024 bits"},
		{"encrypted", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), "ENCRYPTED PRIVATE KEY"},
		{"sec 1", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), "openssl pkcs8"},
		{"public", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}}), "PUBLIC KEY"},
		{"two", append(append([]byte{}, good...), good...), "more than one"},
		{"empty", nil, "not PEM"},
		{"no PEM", []byte("hello"), "not PEM"},
		{"garbage inside", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "cannot be used"},
		{"huge", append(make([]byte, 1<<17), good...), "more than"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			must(t, os.WriteFile(path, tt.data, 0o600))
			_, err := attest.NewKeyFileSigner(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}

	if _, err := attest.NewKeyFileSigner(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}

func opensslKey(t *testing.T, args ...string) string {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed, which makes the keys that Go refuses to make")
	}

	out, err := exec.CommandContext(t.Context(), openssl, append([]string{"genpkey"}, args...)...).Output()
	must(t, err)
	return string(out)
}

func TestSignersDoNotPrintTheirKeys(t *testing.T) {
	key := newKey(t)
	s := keyFile(t, key)
	d, err := key.Bytes()
	must(t, err)
	j, err := json.Marshal(map[string]any{"signer": s})
	must(t, err)

	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%s", s), string(j)} {
		if strings.Contains(text, fmt.Sprintf("%x", d)[:16]) || strings.Contains(text, "PrivateKey") || !strings.Contains(text, "key file") {
			t.Errorf("printed as %q", text)
		}
	}
}

// TestKeyIDVectors compares with ids that were computed with other tools from
// Google's published keys.
func TestKeyIDVectors(t *testing.T) {
	for file, want := range map[string]string{
		"global.key":   "ni:///sha-256;BS7H-UzOpmsKWUIxqFIO3RmpMGTOKvyzmDESGM1LZXs",
		"us-west2.key": "ni:///sha-256;rOuNRQkA15qJtUton8dJ8QlUvjofqGYLEtaYqG9Knko",
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", file))
		must(t, err)
		block, _ := pem.Decode(raw)
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		must(t, err)
		got, err := attest.KeyIDOf(pub)
		must(t, err)
		if got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}
