package provenance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// A Key is one public key of a builder.
type Key struct {
	ID  string // the signature's keyid, in full
	PEM []byte // PKIX, ECDSA
	Raw bool   // signs the payload itself instead of DSSE's pre-authentication encoding
}

//go:embed keys/*.key
var keyFiles embed.FS

const keyRing = "projects/verified-builder/locations/%s/keyRings/attestor/cryptoKeys/%s/cryptoKeyVersions/1"

// GoogleKeys returns the known keys that Cloud Build signs provenance with.
// Google publishes no list of them: the key of a new region, or a rotated one,
// must be configured
// (gcloud kms keys versions get-public-key … --project verified-builder).
func GoogleKeys() []Key {
	list := []struct {
		location, key, file string
		raw                 bool
	}{
		{"global", "google-hosted-worker", "global-pae-google-hosted-worker_1", false},
		{"global", "provenanceSigner", "global-pae-provenanceSigner_1", false},
		{"global", "builtByGCB", "global", true},
		{"us-central1", "builtByGCB", "us-central1", true},
		{"us-east1", "builtByGCB", "us-east1", true},
		{"us-west2", "builtByGCB", "us-west2", true},
	}

	keys := make([]Key, 0, len(list))
	for _, k := range list {
		b, err := keyFiles.ReadFile("keys/" + k.file + ".key")
		if err != nil {
			panic(err) // embedded by this build: cannot happen
		}
		keys = append(keys, Key{ID: fmt.Sprintf(keyRing, k.location, k.key), PEM: b, Raw: k.raw})
	}
	return keys
}

// A pinned key is a [Key] that was parsed.
type pinned struct {
	pub *ecdsa.PublicKey
	raw bool
}

// pin parses the keys, by id.
func pin(keys []Key) (map[string]pinned, error) {
	m := map[string]pinned{}
	for _, k := range keys {
		// Of two keys in one file only the first would count, which nobody who wrote
		// two there expects.
		block, rest := pem.Decode(k.PEM)
		if block == nil || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("provenance key %q is not one PEM block", k.ID)
		}
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing provenance key %q: %w", k.ID, err)
		}

		ec, ok := pub.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("provenance key %q is of type %T, want ECDSA", k.ID, pub)
		}

		if k.ID == "" {
			return nil, errors.New("a provenance key has no id")
		}
		if _, duplicate := m[k.ID]; duplicate {
			return nil, fmt.Errorf("duplicate provenance key %q", k.ID)
		}
		m[k.ID] = pinned{pub: ec, raw: k.Raw}
	}
	return m, nil
}

// maxSignatures bounds the work that one envelope can cause; Cloud Build's
// have two at most.
const maxSignatures = 8

// verify returns the payload, in the bytes that verified, and the id of the key
// that signed it. One signature suffices (DSSE's t = 1), since all pinned keys are
// the same builder's.
func (s *Source) verify(env *grafeaspb.Envelope) (payload []byte, keyID string, err error) {
	if len(env.GetSignatures()) == 0 {
		return nil, "", errors.New("it is not signed")
	}

	cause := errors.New("it is signed with keys that are not pinned")
	for i, sig := range env.GetSignatures() {
		if i >= maxSignatures {
			break
		}

		for _, id := range s.candidates(sig.GetKeyid()) {
			for _, p := range readings(env.GetPayload()) {
				for _, g := range readings(sig.GetSig()) {
					if s.keys[id].valid(env.GetPayloadType(), p, g) {
						return p, id, nil
					}
				}
			}
			if id == sig.GetKeyid() {
				cause = fmt.Errorf("its signature by %s does not verify", id)
			}
		}
	}
	return nil, "", cause
}

// valid reports whether sig is a signature of the payload.
func (k pinned) valid(payloadType string, payload, sig []byte) bool {
	// DSSE: "SIGNATURE = Sign(PAE(UTF8(PAYLOAD_TYPE), SERIALIZED_BODY))". The keys of
	// v0.1 are older than that and sign the body itself; which of the two holds is
	// pinned with the key, so that an envelope cannot choose.
	message := payload
	if !k.raw {
		message = dsse.PAE(payloadType, payload)
	}

	sum := sha256.Sum256(message)
	return ecdsa.VerifyASN1(k.pub, sum[:], sig)
}

// readings returns the bytes as they are and, if they are base64 (standard or
// URL-safe, padded or not), decoded: some pipelines encode them twice. The
// signature is checked over what it returns, so that a wrong guess verifies
// nothing.
func readings(b []byte) [][]byte {
	for _, enc := range []*base64.Encoding{
		base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding,
	} {
		if d, err := enc.DecodeString(string(b)); err == nil {
			return [][]byte{b, d}
		}
	}
	return [][]byte{b}
}

// candidates are the ids of the pinned keys that a signature may be of.
func (s *Source) candidates(keyID string) []string {
	// DSSE on KEYID: "It MUST NOT be used for security decisions; it may only be
	// used to narrow the selection of possible keys to try." It is optional, and
	// Sigstore bundles leave it out.
	if keyID == "" {
		return slices.Sorted(maps.Keys(s.keys))
	}
	if _, ok := s.keys[keyID]; ok {
		return []string{keyID}
	}
	return nil
}
