package posture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

var (
	// afterCommand begins what stands behind a command in a fix.
	afterCommand  = regexp.MustCompile("`|\\)|\n|, (or in the|replace it|move the data)")
	plainArgument = regexp.MustCompile(`^[A-Za-z0-9_./:,=@-]+$`)
)

// commandsIn are the commands of gcloud in a fix.
func commandsIn(fix string) []string {
	var out []string
	for {
		i := strings.Index(fix, "gcloud ")
		if i < 0 {
			return out
		}
		command := fix[i:]
		if end := afterCommand.FindStringIndex(command); end != nil {
			command = command[:end[0]]
		}
		out = append(out, command)
		fix = fix[i+len(command):]
	}
}

// wrongCommand says what is wrong with a command: its words, one of its flags, or something in it that a shell reads otherwise.
func wrongCommand(known map[string][]string, command string) string {
	words := strings.Split(strings.TrimPrefix(command, "gcloud "), " ")
	at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") })
	if at < 0 {
		at = len(words)
	}
	path := strings.Join(words[:at], " ")
	flags, ok := known[path]
	if !ok && at > 1 { // the last word is what the command is about
		path = strings.Join(words[:at-1], " ")
		flags, ok = known[path]
	}
	if !ok {
		return "there is no command " + path
	}
	for i, w := range words {
		name, _, _ := strings.Cut(w, "=")
		switch {
		case !plainArgument.MatchString(w):
			return fmt.Sprintf("%q is not plain", w)
		case i < at || !strings.HasPrefix(w, "--") && strings.HasPrefix(words[i-1], "--format"):
		case !strings.HasPrefix(w, "--"):
			return "a second word " + w
		case name != "--format" && !slices.Contains(flags, name):
			return path + " has no flag " + name
		}
	}
	return ""
}

func knownCommands(t *testing.T) map[string][]string {
	t.Helper()
	var known map[string][]string
	if err := json.Unmarshal([]byte(sample(t, "gcloud.json")), &known); err != nil {
		t.Fatal(err)
	}
	return known
}

// oddNames are read otherwise by a shell, by YAML or by HCL, or are a flag.
var oddNames = []string{"a b", "a;id", "$(id)", "`id`", "a'b", `a"b`, "--quiet", "-h", "${a}", "a\nb", "%{ if }", "*", "~root", "a&b", "#a", "a: b", "É"}

// brokenKinds has a workload of each kind that breaks nearly every rule; NAME is the name of everything in it.
var brokenKinds = []string{
	`{"name": "projects/p/locations/europe-west1/services/NAME", "ingress": 1, "invokerIamDisabled": true, "sshEnabled": true,
	  "buildConfig": {"enableAutomaticUpdates": true}, "binaryAuthorization": {"breakglassJustification": "x"}, "traffic": [{"revision": "NAME"}],
	  "template": {"timeout": "3600s", "encryptionKey": "NAME", "serviceAccount": "NAME", "vpcAccess": {"networkInterfaces": [{"network": "default"}]},
	  "volumes": [{"name": "NAME", "gcs": {"bucket": "NAME"}}, {"name": "n", "nfs": {"server": "NAME", "path": "NAME"}},
	   {"name": "NAME", "secret": {"secret": "NAME"}}],
	  "containers": [{"name": "NAME", "image": "nginx", "env": [{"name": "NAME", "valueSource": {"secretKeyRef": {"secret": "NAME", "version": "latest"}}},
	   {"name": "NAME_PASSWORD", "value": "hunter2"}]}, {"name": "b", "image": "NAME", "baseImageUri": "x",
	   "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "DB", "value": "p:europe-west1:db"}]}]}}`,
	`{"name": "projects/p/locations/global/services/NAME", "multiRegionSettings": {"regions": ["NAME", "europe-west1"]},
	  "template": {"containers": [{"image": "nginx"}]}}`,
	`{"name": "projects/p/locations/NAME/jobs/NAME", "template": {"template": {"volumes": [{"name": "NAME", "gcs": {"bucket": "NAME"}}],
	  "containers": [{"name": "NAME", "image": "nginx", "env": [{"name": "A", "valueSource": {"secretKeyRef": {"secret": "NAME"}}}]}]}}}`,
	`{"name": "projects/p/locations/europe-west1/workerPools/NAME", "instanceSplits": [{"revision": "NAME"}],
	  "template": {"encryptionKey": "k", "containers": [{"name": "NAME", "image": "nginx"}, {"image": "b"}]}}`,
	`{"name": "projects/p/locations/europe-west1/instances/NAME", "sshEnabled": true, "ingress": 1, "encryptionKey": "k", "invokerIamDisabled": true,
	  "volumes": [{"name": "NAME", "gcs": {"bucket": "NAME"}}],
	  "containers": [{"name": "NAME", "image": "nginx", "env": [{"name": "A", "valueSource": {"secretKeyRef": {"secret": "NAME"}}}]}]}`,
	plan(resource("google_cloudfunctions2_function", "f", `{"name": "NAME", "location": "europe-west1", "build_config": [{"runtime": "go"}],
	  "service_config": [{"all_traffic_on_latest_revision": false, "secret_environment_variables": [{"key": "NAME", "secret": "NAME"}]}]}`),
		resource("google_cloud_run_service_iam_member", "x", `{"service": "NAME", "role": "roles/NAME", "member": "allUsers"}`)),
	plan(resource("google_cloud_run_v2_service", "s", `{"name": "NAME", "location": "us-east1", "iap_enabled": true,
	  "template": [{"service_account": "NAME@p.iam"}]}`),
		resource("google_cloud_run_domain_mapping", "d", `{"name": "NAME", "spec": [{"route_name": "NAME"}]}`),
		resource("google_compute_region_network_endpoint_group", "g", `{"name": "g", "region": "us-east1", "cloud_run": [{"service": "NAME"}]}`),
		resource("google_cloud_run_v2_service_iam_member", "x", `{"name": "NAME", "role": "roles/NAME", "member": "allAuthenticatedUsers"}`),
		resource("google_project_iam_member", "y", `{"role": "roles/editor", "member": "serviceAccount:NAME@p.iam"}`),
		resource("google_compute_target_https_proxy", "p", `{"name": "NAME", "ssl_policy": "NAME"}`)),
	plan(resource("google_cloud_run_v2_service", "s", `{"name": "NAME", "location": "us-east1", "project": "p", "iap_enabled": true,
	  "template": [{"service_account": "NAME@p.iam", "vpc_access": [{"egress": "ALL_TRAFFIC", "network_interfaces": [{"network": "prod"}]}]}]}`),
		resource("google_cloud_run_v2_service_iam_member", "x", `{"name": "NAME", "location": "us-east1",
	  "role": "roles/run.invoker", "member": "group:a@b.example"}`),
		resource("google_compute_router", "r", `{"name": "NAME", "network": "prod", "region": "us-east1"}`),
		resource("google_compute_router_nat", "n", `{"name": "NAME", "router": "NAME", "region": "us-east1", "nat_ip_allocate_option": "AUTO_ONLY"}`)),
	plan(resource("google_cloudfunctions2_function", "f", `{"name": "NAME", "location": "us-east1"}`),
		resource("google_cloudfunctions2_function_iam_member", "x", `{"cloud_function": "NAME", "location": "us-east1",
	  "role": "roles/cloudfunctions.invoker", "member": " allUsers"}`)),
	grantedPlan("job"), grantedPlan("worker_pool"), grantedPlan("instance"),
	`{"name": "projects/p/locations/us-east1/instances/NAME", "containers": [{"image": "nginx"}]}`,
}

// grantedPlan has a workload that everybody may call.
func grantedPlan(kind string) string {
	return plan(resource("google_cloud_run_v2_"+kind, "s", `{"name": "NAME", "location": "us-east1"}`),
		resource("google_cloud_run_v2_"+kind+"_iam_member", "x", `{"name": "NAME", "location": "us-east1", "role": "roles/NAME", "member": "allUsers"}`))
}

// TestCommandsExist: each command of gcloud in a fix, of any kind of workload and any name, is one of gcloud's, has flags that it has, and nothing
// in it that a shell reads otherwise. testdata/README.md says where the list of flags is from.
func TestCommandsExist(t *testing.T) {
	known := knownCommands(t)
	used := map[string]bool{}
	check := func(f attestor.PostureFinding) {
		for _, command := range commandsIn(f.Fix) {
			if wrong := wrongCommand(known, command); wrong != "" {
				t.Errorf("%s: %s in %q", f.Rule, wrong, command)
			}
			for path := range known {
				if strings.HasPrefix(command, "gcloud "+path) {
					used[path] = true
				}
			}
		}
	}
	for _, name := range append(slices.Clone(oddNames), "a", "api-1") {
		quoted := strings.Trim(encoded(t, name), `"`)
		for _, text := range brokenKinds {
			for _, profile := range []string{"strict", "hipaa"} {
				r, err := judge(t, builtin(t, profile), &attested{},
					posture.Input{Definitions: []posture.Source{source(strings.ReplaceAll(text, "NAME", quoted))}})
				if err != nil {
					continue // such a name is refused
				}
				for _, f := range r.Findings {
					check(f)
				}
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(known)) {
		if !used[path] {
			t.Errorf("no fix has the command %s", path)
		}
	}
}

// TestWrongCommandsAreTold: the look at commands tells what is wrong with them.
func TestWrongCommandsAreTold(t *testing.T) {
	known := knownCommands(t)
	for command, right := range map[string]bool{
		"gcloud run services update a --region=us-east1 --cpu=1":          true,
		"gcloud run services get-iam-policy a --format json":              true,
		"gcloud run services update a --region=us-east1 --task-timeout=1": false,
		"gcloud run functions describe a":                                 false,
		"gcloud run services update a b --cpu=1":                          false,
		"gcloud run services update $(id) --cpu=1":                        false,
		"gcloud run services update a --cpu=1;id":                         false,
		"gcloud run services update a --cpu=1 b":                          false,
		"gcloud run services update --quiet --cpu=1":                      false,
	} {
		if got := wrongCommand(known, command); (got == "") != right {
			t.Errorf("%s: %q", command, got)
		}
	}
}
