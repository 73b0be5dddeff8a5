package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/client"
)

// What to do fits what was given: nobody is told to give the account that was given.
func TestTokenFix(t *testing.T) {
	missing := errors.New("credentials: could not find default credentials. See https://cloud.google.com/docs")
	denied := errors.New("403: Permission 'iam.serviceAccounts.getOpenIdToken' denied")
	for _, tt := range []struct {
		name, account string
		err           error
		want          string
	}{
		{"nothing given", "", missing, "give --service-account, --token-file or --token-env"},
		{"nobody logged in", "gate@acme.example", missing, "gcloud auth application-default login"},
		{"denied", "gate@acme.example", denied, "needs roles/iam.serviceAccountOpenIdTokenCreator on gate@acme.example"},
	} {
		got := client.TokenFix(tt.account, tt.err)
		if !strings.Contains(got, tt.want) || tt.account != "" && strings.Contains(got, "--service-account") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
