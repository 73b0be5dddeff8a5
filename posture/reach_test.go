package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// mounted is a service in JSON of the v2 API with volumes and a way out.
func mounted(volume, vpc string) string {
	return `{"name": "projects/acme/locations/us-east1/services/a", "template": {"vpcAccess": ` + vpc + `, "containers": [{"image": "` + digestImage +
		`"}], "volumes": [{"name": "data", ` + volume + `}]}}`
}

// TestMounts: shares are reached within the VPC, and what is mounted for writing is named; in all forms of definition.
func TestMounts(t *testing.T) {
	const pass, deny, warn, skipped = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn, attestor.StatusSkipped
	const direct = `{"networkInterfaces": [{"network": "prod", "subnetwork": "run"}]}`
	knative := func(volume string) string {
		return replace(t, sample(t, "hardened.yaml"), "      volumes:\n", "      volumes:\n      - name: data\n        "+volume+"\n")
	}
	terraform := func(volume string) string {
		return plan(resource("google_cloud_run_v2_job", "j",
			`{"name": "j", "template": [{"template": [{"containers": [{"image": "nginx"}], `+
				`"vpc_access": [{"connector": "c"}], "volumes": [{"name": "data", `+volume+`}]}]}]}`))
	}
	for _, tt := range []struct {
		name, text       string
		private, reading attestor.Status
	}{
		{"a bucket for reading", mounted(`"gcs": {"bucket": "b", "readOnly": true}`, direct), pass, pass},
		{"a bucket for writing", mounted(`"gcs": {"bucket": "b"}`, direct), pass, warn},
		{"a share within the VPC", mounted(`"nfs": {"server": "10.0.0.2", "path": "/", "readOnly": true}`, direct), pass, pass},
		{"a share by name within the VPC", mounted(`"nfs": {"server": "share.internal", "path": "/", "readOnly": true}`, direct), pass, pass},
		{"a share past the VPC", mounted(`"nfs": {"server": "10.0.0.2", "path": "/", "readOnly": true}`, `{}`), deny, pass},
		{"a share at a public address", mounted(`"nfs": {"server": "203.0.113.9", "path": "/", "readOnly": true}`, direct), deny, pass},
		{"a share at a public IPv6 address", mounted(`"nfs": {"server": "2001:db8::1", "path": "/", "readOnly": true}`, direct), deny, pass},
		{"a share for writing", mounted(`"nfs": {"server": "10.0.0.2", "path": "/"}`, direct), pass, warn},
		{"a memory volume", mounted(`"emptyDir": {}`, direct), pass, pass},
		{"Knative, a bucket for writing", knative("csi: {driver: gcsfuse.run.googleapis.com, volumeAttributes: {bucketName: b}}"), pass, warn},
		{"Knative, a bucket for reading", knative("csi: {driver: gcsfuse.run.googleapis.com, readOnly: true, volumeAttributes: {bucketName: b}}"), pass, pass},
		{"Knative, a share at a public address", knative("nfs: {server: 203.0.113.9, path: /, readOnly: true}"), deny, pass},
		{"Terraform, a job's bucket", terraform(`"gcs": [{"bucket": "b", "read_only": false}]`), pass, warn},
		{"Terraform, a job's share", terraform(`"nfs": [{"server": "203.0.113.9", "path": "/", "read_only": true}]`), deny, pass},
		{"Terraform, nothing mounted", terraform(`"gcs": [], "nfs": []`), pass, pass},
		{"Terraform, reading not known yet", plan(resourceUnknown("google_cloud_run_v2_job", "j", `{"name": "j", `+
			`"template": [{"template": [{"volumes": [{"name": "data", "gcs": [{"bucket": "b"}]}]}]}]}`,
			`{"template": [{"template": [{"volumes": [{"gcs": [{"read_only": true}]}]}]}]}`)), pass, skipped},
	} {
		r := hipaa(t, tt.text)
		if worst(r, "NFS_PRIVATE") != tt.private || worst(r, "MOUNTS_READ_ONLY") != tt.reading {
			t.Errorf("%s: NFS_PRIVATE %s, want %s; MOUNTS_READ_ONLY %s, want %s", tt.name, worst(r, "NFS_PRIVATE"),
				tt.private, worst(r, "MOUNTS_READ_ONLY"), tt.reading)
		}
	}
}

// TestKeyRevocation: a key without an action is advice, and no key at all is another rule's.
func TestKeyRevocation(t *testing.T) {
	const annotation = "        run.googleapis.com/post-key-revocation-action-type: shut-down\n"
	text := sample(t, "hardened.yaml")
	for name, tt := range map[string]struct {
		text string
		want attestor.Status
	}{
		"shut-down":     {text, attestor.StatusPass},
		"prevent-new":   {replace(t, text, "type: shut-down", "type: prevent-new"), attestor.StatusPass},
		"not set":       {replace(t, text, annotation, ""), attestor.StatusWarn},
		"another value": {replace(t, text, "type: shut-down", "type: nothing"), attestor.StatusWarn},
		"no key": {replace(t, text, annotation, "", "        run.googleapis.com/encryption-key: "+
			"projects/acme/locations/us-central1/keyRings/run/cryptoKeys/api\n", ""), attestor.StatusSkipped},
		"by its number": {replace(t, sample(t, "hardened-v2.json"), `"SHUTDOWN"`, "2"), attestor.StatusPass},
		"unspecified":   {replace(t, sample(t, "hardened-v2.json"), `"SHUTDOWN"`, "0"), attestor.StatusWarn},
	} {
		if got := worst(hipaa(t, tt.text), "KEY_REVOCATION"); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestNetworkOfAWorkload: the network is found by name, by its subnetwork, by a connector and by references.
func TestNetworkOfAWorkload(t *testing.T) {
	const pass, warn, skipped = attestor.StatusPass, attestor.StatusWarn, attestor.StatusSkipped
	service := func(vpc string) string {
		return resource("google_cloud_run_v2_service", "a", `{"name": "a", "location": "us-east1", "template": [{"vpc_access": [`+vpc+`]}]}`)
	}
	unknown := resourceUnknown("google_cloud_run_v2_service", "a",
		`{"name": "a", "location": "us-east1", "template": [{"vpc_access": [{"network_interfaces": [{}]}]}]}`,
		`{"template": [{"vpc_access": [{"network_interfaces": [{"network": true, "subnetwork": true}]}]}]}`)
	connector := func(network string) string {
		return resource("google_vpc_access_connector", "c", `{"name": "c", `+network+`}`)
	}
	for _, tt := range []struct {
		name, text string
		want       attestor.Status
	}{
		{"a network", plan(service(`{"network_interfaces": [{"network": "projects/acme/global/networks/prod"}]}`)), pass},
		{"the default network", plan(service(`{"network_interfaces": [{"network": "default", "subnetwork": "run"}]}`)), warn},
		{"the default network by its whole name", plan(service(`{"network_interfaces": [{"network": "projects/acme/global/networks/default"}]}`)), warn},
		{"the default subnetwork", plan(service(`{"network_interfaces": [{"subnetwork": "default"}]}`)), warn},
		{"a subnetwork of the plan", plan(service(`{"network_interfaces": [{"subnetwork": "run"}]}`),
			resource("google_compute_subnetwork", "run", `{"name": "run", "network": "prod"}`)), pass},
		{"a subnetwork of the default network", plan(service(`{"network_interfaces": [{"subnetwork": "run"}]}`),
			resource("google_compute_subnetwork", "run", `{"name": "run", "network": "default"}`)), warn},
		{"a subnetwork elsewhere", plan(service(`{"network_interfaces": [{"subnetwork": "run"}]}`)), skipped},
		{"a connector in a network", plan(service(`{"connector": "projects/acme/locations/us-east1/connectors/c"}`), connector(`"network": "prod"`)), pass},
		{"a connector in the default network", plan(service(`{"connector": "c"}`), connector(`"network": "default"`)), warn},
		{"a connector in a subnetwork of the default network",
			plan(service(`{"connector": "c"}`), connector(`"subnet": [{"name": "s"}]`),
				resource("google_compute_subnetwork", "s", `{"name": "s", "network": "default"}`)), warn},
		{"a connector elsewhere", plan(service(`{"connector": "c"}`)), skipped},
		{"no network", plan(service(`{}`)), skipped},
		{"references", plan(unknown, resource("google_compute_network", "n", `{"name": "prod"}`)), pass},
		{"a reference to the default network", plan(unknown, resource("google_compute_network", "n", `{"name": "default"}`)), warn},
		{"a function in the default network", plan(resource("google_cloudfunctions2_function", "f", `{"name": "f", `+
			`"service_config": [{"direct_vpc_network_interface": [{"network": "default"}]}]}`)), warn},
		{"Knative in the default network", replace(t, sample(t, "hardened.yaml"), `"network":"prod"`, `"network":"default"`), warn},
	} {
		if got := worst(hipaa(t, tt.text), "NETWORK_OWN"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestStaticAddressByTheGateway: addresses that Google allocates are not fixed, for the gateways of the workload's network and region.
func TestStaticAddressByTheGateway(t *testing.T) {
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	service := resource("google_cloud_run_v2_service", "a", `{"name": "a", "location": "us-east1", `+
		`"template": [{"vpc_access": [{"egress": "ALL_TRAFFIC", "network_interfaces": [{"network": "prod"}]}]}]}`)
	gateway := func(network, region, nat string) string {
		return resource("google_compute_router", network, `{"name": "`+network+`", "network": "`+network+`"}`) + ", " +
			resource("google_compute_router_nat", network, `{"name": "n", "router": "`+network+`", "region": "`+region+`", `+nat+`}`)
	}
	const fixed, changing = `"nat_ip_allocate_option": "MANUAL_ONLY", "nat_ips": ["a"]`, `"nat_ip_allocate_option": "AUTO_ONLY"`
	for _, tt := range []struct {
		name, text string
		want       attestor.Status
	}{
		{"no gateway in the input", plan(service), pass},
		{"reserved", plan(service, gateway("prod", "us-east1", fixed)), pass},
		{"allocated", plan(service, gateway("prod", "us-east1", changing)), deny},
		{"reserved in name", plan(service, gateway("prod", "us-east1", `"nat_ip_allocate_option": "MANUAL_ONLY", "nat_ips": []`)), deny},
		{"allocated by default", plan(service, gateway("prod", "us-east1", `"nat_ips": null`)), deny},
		{"of another network", plan(service, gateway("lab", "us-east1", changing)), pass},
		{"of another region", plan(service, gateway("prod", "us-west1", changing)), pass},
		{"one of two", plan(service, gateway("prod", "us-east1", fixed), resource("google_compute_router_nat", "m",
			`{"name": "m", "router": "prod", "region": "us-east1", `+changing+`}`)), deny},
		{"of a router elsewhere", plan(service, resource("google_compute_router_nat", "m",
			`{"name": "m", "router": "other", "region": "us-east1", `+changing+`}`)), deny},
	} {
		r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(tt.text)}})
		if got := worst(r, "STATIC_EGRESS_IP"); got != tt.want {
			t.Errorf("%s: %s, want %s: %s", tt.name, got, tt.want, finding(t, r, "STATIC_EGRESS_IP").Message)
		}
	}
}

// TestReachOfAnAccount: a role on the whole project by which a workload takes other identities, secrets, keys or grants.
func TestReachOfAnAccount(t *testing.T) {
	service := resource("google_cloud_run_v2_service", "a", `{"name": "a", "project": "acme", `+
		`"location": "us-east1", "template": [{"service_account": "api@acme.iam.gserviceaccount.com"}]}`)
	const self = "serviceAccount:api@acme.iam.gserviceaccount.com"
	project := func(role, member string) string {
		return resource("google_project_iam_policy", "p", `{"project": "acme", `+
			`"policy_data": "{\"bindings\": [{\"role\": \"`+role+`\", \"members\": [\"`+member+`\"]}]}"}`)
	}
	acts := func(on, role string) string {
		return project("roles/cloudtrace.agent", self) + ", " + resource("google_service_account_iam_member", "m",
			`{"service_account_id": "projects/acme/serviceAccounts/`+on+
				`@acme.iam.gserviceaccount.com", "role": "`+role+`", "member": "`+self+`"}`)
	}
	const pass, warn, skipped = attestor.StatusPass, attestor.StatusWarn, attestor.StatusSkipped
	for _, tt := range []struct {
		name, grant string
		want        attestor.Status
	}{
		{"a narrow role", project("roles/cloudsql.client", self), pass},
		{"a role of one's own", project("projects/acme/roles/task", self), pass},
		{"every secret", project("roles/secretmanager.secretAccessor", self), warn},
		{"every secret, by another account", project("roles/secretmanager.secretAccessor", "serviceAccount:other@acme.iam.gserviceaccount.com"), pass},
		{"every secret, by everybody", project("roles/secretmanager.secretAccessor", "allAuthenticatedUsers"), warn},
		{"every account", project("roles/iam.serviceAccountTokenCreator", self), warn},
		{"every key", project("roles/cloudkms.signerVerifier", self), warn},
		{"grants", project("roles/resourcemanager.projectIamAdmin", self), warn},
		{"all of a service", project("roles/cloudsql.admin", self), warn},
		{"all objects", project("roles/storage.objectAdmin", self), warn},
		{"a folder", project("roles/cloudtrace.agent", self) + ", " + resource("google_folder_iam_member", "f",
			`{"folder": "folders/1", "role": "roles/run.admin", "member": "`+self+`"}`), warn},
		{"another account", acts("admin", "roles/iam.serviceAccountTokenCreator"), warn},
		{"itself", acts("api", "roles/iam.serviceAccountOpenIdTokenCreator"), pass},
		{"looks at another account", acts("admin", "roles/iam.serviceAccountViewer"), pass},
		{"no policy", "", skipped},
	} {
		r := hipaa(t, plan(strings.Trim(service+", "+tt.grant, ", ")))
		if got := worst(r, "ACCOUNT_REACH"); got != tt.want {
			t.Errorf("%s: %s, want %s: %s", tt.name, got, tt.want, finding(t, r, "ACCOUNT_REACH").Message)
		}
	}
}

// TestRegionOfADatabase: a database elsewhere is named wherever the definition names it.
func TestRegionOfADatabase(t *testing.T) {
	const pass, warn, skipped = attestor.StatusPass, attestor.StatusWarn, attestor.StatusSkipped
	hardened := sample(t, "hardened.yaml")
	annotated := func(names string) string {
		const key = "        run.googleapis.com/post-key-revocation-action-type"
		return replace(t, hardened, key, "        run.googleapis.com/cloudsql-instances: "+names+"\n"+key)
	}
	for _, tt := range []struct {
		name, text string
		want       attestor.Status
	}{
		{"none", hardened, skipped},
		{"an annotation", annotated("acme:us-east1:db"), pass},
		{"a project with a domain", annotated("acme.example:acme:us-east1:db"), pass},
		{"one of two in an annotation", annotated("acme:us-east1:db,acme:europe-west1:copy"), warn},
		{"a socket", mounted(`"cloudSqlInstance": {"instances": ["acme:us-east1:db"]}`, "{}"), pass},
		{"a socket elsewhere", mounted(`"cloudSqlInstance": {"instances": ["acme:asia-northeast1:db"]}`, "{}"), warn},
		{"a variable", replace(t, hardened, "value: info", "value: acme:europe-west1:db"), warn},
		{"a variable with more", replace(t, hardened, "value: info", "value: 'host=/cloudsql/acme:europe-west1:db user=a'"), warn},
		{"no instance", replace(t, hardened, "value: info", "value: 'a:b:c'"), skipped},
		{"a reference", plan(resourceUnknown("google_cloud_run_v2_service", "a", `{"name": "a", `+
			`"template": [{"volumes": [{"name": "d", "cloud_sql_instance": [{"instances": [null]}]}]}]}`,
			`{"template": [{"volumes": [{"cloud_sql_instance": [{"instances": [true]}]}]}]}`)), skipped},
	} {
		if got := worst(hipaa(t, tt.text), "DATABASE_REGION"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestAccountOfABuild: source is built by an account of its own, in every form; an image that nobody builds here has none.
func TestAccountOfABuild(t *testing.T) {
	const pass, warn, skipped = attestor.StatusPass, attestor.StatusWarn, attestor.StatusSkipped
	v2 := func(build string) string {
		return `{"name": "projects/acme/locations/us-east1/services/a", ` + build + `"template": {"containers": [{"image": "` + digestImage + `"}]}}`
	}
	hardened := func(annotations string) string {
		return replace(t, sample(t, "hardened.yaml"), "kind: Service\nmetadata:\n  annotations:\n",
			"kind: Service\nmetadata:\n  annotations:\n    "+annotations)
	}
	for _, tt := range []struct {
		name, text string
		want       attestor.Status
	}{
		{"no build", v2(""), skipped},
		{"the default account", v2(`"buildConfig": {"functionTarget": "main"}, `), warn},
		{"the default account by name", v2(`"buildConfig": {"serviceAccount": ` +
			`"projects/acme/serviceAccounts/1-compute@developer.gserviceaccount.com"}, `), warn},
		{"an account of its own", v2(`"buildConfig": {"serviceAccount": "projects/acme/serviceAccounts/build@acme.iam.gserviceaccount.com"}, `), pass},
		{"Knative, the default account", hardened("run.googleapis.com/build-source-location: gs://b/o\n"), warn},
		{"Knative, an account of its own", hardened("run.googleapis.com/build-source-location: gs://b/o\n" +
			"    run.googleapis.com/build-service-account: " +
			"projects/acme/serviceAccounts/build@acme.iam.gserviceaccount.com\n"), pass},
		{"Knative, no build", sample(t, "hardened.yaml"), skipped},
		{"Terraform", plan(resource("google_cloud_run_v2_service", "a", `{"name": "a", "build_config": [{"service_account": null}]}`)), warn},
		{"Terraform, no block", plan(resource("google_cloud_run_v2_service", "a", `{"name": "a", "build_config": []}`)), skipped},
		{"Terraform, a reference", plan(resourceUnknown("google_cloud_run_v2_service", "a",
			`{"name": "a", "build_config": [{}]}`, `{"build_config": [{"service_account": true}]}`)), skipped},
		{"a function", plan(resource("google_cloudfunctions2_function", "f", `{"name": "f", "build_config": [{}]}`)), warn},
		{"a function's own account",
			plan(resource("google_cloudfunctions2_function", "f", `{"name": "f", "build_config": `+
				`[{"service_account": "projects/acme/serviceAccounts/build@acme.iam.gserviceaccount.com"}]}`)), pass},
	} {
		if got := worst(hipaa(t, tt.text), "BUILD_ACCOUNT"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
