package posture_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// otherwise are the resources of checkov's suites that are judged otherwise here, each with the reason.
var otherwise = map[string]string{
	"google_sql_database_instance.pass2":          "no open network is named, and the address is public all the same",
	"google_sql_database_instance.pass3":          "no open network is named, and the address is public all the same",
	"google_sql_database_instance.pass4":          "no open network is named, and the address is public all the same",
	"google_sql_database_instance.instance2-pass": "no open network is named, and the address is public all the same",
	"google_sql_database_instance.instance3-pass": "no open network is named, and the address is public all the same",
	"google_sql_database_instance.instance5-pass": "no open network is named, and the address is public all the same",

	"google_iam_workload_identity_pool_provider.fail2":                   "CEL compares texts as they are, so that no token of GitHub's has this subject",
	"google_iam_workload_identity_pool_provider.fail_wildcard":           "CEL has no wildcards in a comparison: nobody's subject is \"*\"",
	"google_iam_workload_identity_pool_provider.fail_abusable":           "CEL compares texts as they are, so that no token of GitHub's has this subject",
	"google_iam_workload_identity_pool_provider.fail_wildcard_assertion": "CEL has no wildcards in a comparison: nobody's subject is \"repo:*\"",
	"google_iam_workload_identity_pool_provider.fail_misused_repo":       "CEL has no wildcards in a comparison: nobody's subject is \"repo:myOrg*\"",
}

// TestCheckovsSuites: what another linter's own suites pass and fail is judged alike, where both judge the same thing. Each difference has a
// reason, and is one. testdata/README.md says where the resources are from.
func TestCheckovsSuites(t *testing.T) {
	var suites []struct {
		Suite, Rule, Checkov, Address, Type string
		After, Unknown                      json.RawMessage
	}
	if err := json.Unmarshal([]byte(sample(t, "checkov.json")), &suites); err != nil {
		t.Fatal(err)
	}
	differs, judged := map[string]bool{}, 0
	for _, tt := range suites {
		if strings.HasPrefix(tt.Type, "google_cloudfunctions_") {
			continue // of the first generation, which is not Cloud Run
		}
		_, name, _ := strings.Cut(tt.Address, ".")
		resources := []string{resourceUnknown(tt.Type, name, string(tt.After), string(tt.Unknown))}
		switch { // a grant is judged on the one workload that it can be on
		case strings.HasPrefix(tt.Type, "google_cloud_run_service_iam_"):
			resources = append(resources, resource("google_cloud_run_service", "default", `{"name": "default"}`))
		case strings.HasPrefix(tt.Type, "google_cloudfunctions2_function_iam_"):
			resources = append(resources, resource("google_cloudfunctions2_function", "default", `{"name": "default"}`))
		}
		want := map[string]attestor.Status{"pass": attestor.StatusPass, "fail": attestor.StatusDeny}[tt.Checkov]
		got := worst(hipaa(t, plan(resources...)), tt.Rule)
		judged++
		switch reason := otherwise[tt.Address]; {
		case got != want && reason == "":
			t.Errorf("%s: %s is %s by checkov, and %s by %s", tt.Suite, tt.Address, tt.Checkov, got, tt.Rule)
		case got != want:
			differs[tt.Address] = true
		}
	}
	if judged < 60 {
		t.Errorf("only %d resources", judged)
	}
	for address := range otherwise {
		if !differs[address] {
			t.Errorf("%s does not differ", address)
		}
	}
}
