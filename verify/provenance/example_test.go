package provenance_test

import (
	"fmt"

	"github.com/attestor-gate/attestor/verify/provenance"
)

func ExampleGoogleKeys() {
	for _, key := range provenance.GoogleKeys() {
		fmt.Println(key.ID, key.Raw)
	}
	// Output:
	// projects/verified-builder/locations/global/keyRings/attestor/cryptoKeys/google-hosted-worker/cryptoKeyVersions/1 false
	// projects/verified-builder/locations/global/keyRings/attestor/cryptoKeys/provenanceSigner/cryptoKeyVersions/1 false
	// projects/verified-builder/locations/global/keyRings/attestor/cryptoKeys/builtByGCB/cryptoKeyVersions/1 true
	// projects/verified-builder/locations/us-central1/keyRings/attestor/cryptoKeys/builtByGCB/cryptoKeyVersions/1 true
	// projects/verified-builder/locations/us-east1/keyRings/attestor/cryptoKeys/builtByGCB/cryptoKeyVersions/1 true
	// projects/verified-builder/locations/us-west2/keyRings/attestor/cryptoKeys/builtByGCB/cryptoKeyVersions/1 true
}
