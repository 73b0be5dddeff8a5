package posture_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/attestor-gate/attestor/posture"
)

// everyKind is a plan of n times each kind of resource that rules look at, all of which name each other.
func everyKind(n int) (text string, resources int) {
	var all []string
	add := func(kind, name, after string) { all = append(all, resource(kind, name, after)) }
	for i := range n {
		name := fmt.Sprintf("n%d", i)
		account := "serviceAccount:" + name + "@acme.iam.gserviceaccount.com"
		of := func(format string) string {
			return fmt.Sprintf(format, name)
		}
		add("google_cloud_run_v2_service", name, fmt.Sprintf(`{"name": %q, "project": "acme", "location": "us-east1",
		  "template": [{"service_account": "%s@acme.iam.gserviceaccount.com",
  "vpc_access": [{"network_interfaces": [{"subnetwork": %q}], "egress": "ALL_TRAFFIC"}], "containers": [{"image": "nginx"}]}]}`, name, name, name))
		add("google_cloud_run_v2_service_iam_member", name, fmt.Sprintf(`{"name": %q, "role": "roles/run.invoker", "member": %q}`, name, account))
		add("google_project_iam_member", name, fmt.Sprintf(`{"project": "acme", "role": "roles/run.invoker", "member": %q}`, account))
		add("google_service_account_iam_member", name, fmt.Sprintf(`{"service_account_id": "projects/acme/serviceAccounts/x@acme.iam.gserviceaccount.com",
  "role": "roles/iam.serviceAccountUser", "member": %q}`, account))
		add("google_compute_region_network_endpoint_group", name, fmt.Sprintf(`{"name": %q, "region": "us-east1", "cloud_run": [{"service": %q}]}`, name, name))
		add("google_compute_backend_service", name, fmt.Sprintf(`{"name": %q, "security_policy": %q}`, name, name))
		add("google_compute_security_policy", name, of(`{"name": %q, "rule": []}`))
		add("google_compute_security_policy_rule", name, fmt.Sprintf(`{"security_policy": %q, %s`, name, armorRule("1", "deny(403)",
			"evaluatePreconfiguredWaf('sqli-v33-stable')")[1:]))
		add("google_compute_url_map", name, of(`{"name": %q, "default_service": "b"}`))
		add("google_compute_target_http_proxy", name, fmt.Sprintf(`{"name": %q, "url_map": %q}`, name, name))
		add("google_compute_ssl_policy", name, of(`{"name": %q, "min_tls_version": "TLS_1_2"}`))
		add("google_compute_target_https_proxy", name, fmt.Sprintf(`{"name": %q, "ssl_policy": %q}`, name, name))
		add("google_compute_network", name, of(`{"name": %q}`))
		add("google_compute_subnetwork", name, fmt.Sprintf(`{"name": %q, "network": %q}`, name, name))
		add("google_access_context_manager_service_perimeter", name, of(`{"name": %q, "status": [{"restricted_services": ["a.googleapis.com"]}]}`))
		add("google_access_context_manager_service_perimeter_resource", name, fmt.Sprintf(`{"perimeter_name": %q, "resource": "projects/1"}`, name))
	}

	return plan(all...), len(all)
}

// allocated is how many objects the judgement of an input takes.
func allocated(t *testing.T, in posture.Input) float64 {
	j, err := posture.New(posture.Config{Profile: builtin(t, "strict"), Now: now})
	if err != nil {
		t.Fatal(err)
	}

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := j.Judge(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)

	return float64(after.TotalAlloc - before.TotalAlloc)
}

// TestWorkGrowsWithThePlan: four times the resources take about four times the memory, and no rule tries every resource of one kind with
// every one of another, which would take sixteen times.
func TestWorkGrowsWithThePlan(t *testing.T) {
	small, n := everyKind(40)
	large, m := everyKind(160)
	allocated(t, posture.Input{Definitions: []posture.Source{source(small)}}) // what is made once
	a := allocated(t, posture.Input{Definitions: []posture.Source{source(small)}})
	b := allocated(t, posture.Input{Definitions: []posture.Source{source(large)}})

	t.Logf("%d resources: %.0f bytes, %d resources: %.0f bytes", n, a, m, b)
	if b > 6*a {
		t.Errorf("%d resources take %.0f bytes, and %d take %.0f", n, a, m, b)
	}
}

func BenchmarkFiveThousandResources(b *testing.B) {
	text, n := everyKind(313)
	j, err := posture.New(posture.Config{Profile: builtin(b, "strict"), Now: now})
	if err != nil {
		b.Fatal(err)
	}

	in := posture.Input{Definitions: []posture.Source{source(text)}}
	b.ReportMetric(float64(n), "resources")

	for b.Loop() {
		if _, err := j.Judge(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
