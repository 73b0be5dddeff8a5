package signed_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify/signed"
)

func TestCheckerKeepsTheContracts(t *testing.T) {
	const slsa = "https://slsa.dev/provenance/v1"
	h, key := plain(t), newKey(t)
	other := h.Push()
	h.attach(h.image, "sig", key.entry(simple(h.image)))
	h.refer(h.image, bundleMedia, key.bundle(statement(h.image, slsa)))

	t.Run("signatures", func(t *testing.T) {
		contract.SignatureChecker(t, checker(t, signed.Config{}), h.image, other, key.rule())
	})

	t.Run("attachments", func(t *testing.T) {
		contract.Attachments(t, checker(t, signed.Config{}), h.image, other, key.rule(), slsa)
	})
}

func TestKeysKeepTheContract(t *testing.T) {
	k := &keys{pem: publicPEM(t, newKey(t).priv.Public())}
	contract.PublicKeys(t, k, "gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "https://kms.example/key")
}
