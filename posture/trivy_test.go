package posture_test

import (
	"encoding/json"
	"testing"

	"github.com/attestor-gate/attestor"
)

// otherwiseThanTrivy are the examples of trivy-checks that are judged otherwise here, each with the reason.
var otherwiseThanTrivy = map[string]string{
	"google_sql_database_instance.sql-no-public-access_good": "without a private network, and without Private Service Connect, nothing reaches the database",

	// Whether a grant names nobody is all that these examples leave open: ACCOUNT_REACH judges such a role for the account of a workload.
	"google_project_iam_binding.no-project-level-service-account-impersonation_bad0": "the grant has no members, and a person may impersonate",
	"google_project_iam_binding.no-project-level-service-account-impersonation_bad1": "the grant has no members, and a person may impersonate",
	"google_folder_iam_binding.no-folder-level-service-account-impersonation_bad0":   "the grant has no members, and a person may impersonate",
	"google_folder_iam_binding.no-folder-level-service-account-impersonation_bad1":   "the grant has no members, and a person may impersonate",
}

// TestTrivysExamples: the good and bad examples of another linter's checks are judged alike, where both judge the same thing.
func TestTrivysExamples(t *testing.T) {
	var examples []struct {
		Suite, Rule, Trivy, Address, Type string
		After, Unknown                    json.RawMessage
	}
	if err := json.Unmarshal([]byte(sample(t, "trivy.json")), &examples); err != nil {
		t.Fatal(err)
	}

	differs := map[string]bool{}
	for _, tt := range examples {
		got := worst(hipaa(t, plan(resourceUnknown(tt.Type, tt.Suite, string(tt.After), string(tt.Unknown)))), tt.Rule)
		alike := tt.Trivy == "pass" && got == attestor.StatusPass || tt.Trivy == "fail" && (got == attestor.StatusDeny || got == attestor.StatusWarn)
		differs[tt.Address] = !alike

		if !alike && otherwiseThanTrivy[tt.Address] == "" {
			t.Errorf("%s is %s by trivy, and %s by %s", tt.Address, tt.Trivy, got, tt.Rule)
		}
	}

	for address := range otherwiseThanTrivy {
		if !differs[address] {
			t.Errorf("%s does not differ", address)
		}
	}
	if len(examples) < 20 {
		t.Errorf("only %d examples", len(examples))
	}
}
