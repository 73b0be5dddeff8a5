package deploy_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// A runService is what the script had Cloud Run replace.
type runService struct {
	Metadata struct {
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Spec struct {
		Template struct {
			Metadata struct {
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"metadata"`
			Spec struct {
				Account    string `yaml:"serviceAccountName"`
				Containers []struct {
					Image string   `yaml:"image"`
					Args  []string `yaml:"args"`
				} `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

// service is a service's definition, as values.
func (c *cloud) service(t *testing.T, name string) (s runService, all any) {
	t.Helper()
	r, ok := c.flags("run services " + name)
	if !ok {
		t.Fatalf("the script made no service %s", name)
	}
	for _, into := range []any{&s, &all} {
		if err := yaml.Load([]byte(r["definition"]), into); err != nil {
			t.Fatal(err)
		}
	}
	return s, all
}

// has is whether a project has a resource, with these flags at least.
func (c *cloud) has(t *testing.T, resource string, flags map[string]string) {
	t.Helper()
	got, ok := c.flags(resource)
	if !ok {
		t.Errorf("the script made no %s", resource)
	}
	for flag, want := range flags {
		if got[flag] != want {
			t.Errorf("%s: %s is %q, want %q", resource, flag, got[flag], want)
		}
	}
}

// TestScript runs gcloud.sh on an empty project, and asks what is there then: the services run the images that were named, as
// accounts of their own, for the hosts and in the region that were named, and nothing is left of the example's names.
func TestScript(t *testing.T) {
	c := newCloud(t)
	if err := c.run(t, nil); err != nil {
		t.Fatal(err)
	}
	digest := "@sha256:" + strings.Repeat("a", 64)
	for name, account := range map[string]string{"gate": "gate-api", "gate-events": "gate-events"} {
		s, all := c.service(t, name)
		containers := s.Spec.Template.Spec.Containers
		if len(containers) != 2 || containers[0].Image != "us-west1-docker.pkg.dev/demo/prod/gate"+digest || containers[1].Image != "gcr.io/proxy"+digest {
			t.Fatalf("%s runs %+v", name, containers)
		}
		if !slices.Contains(containers[1].Args, "demo:us-west1:gate") {
			t.Errorf("%s: the proxy's arguments are %q", name, containers[1].Args)
		}
		if got := s.Spec.Template.Spec.Account; got != account+"@demo.iam.gserviceaccount.com" {
			t.Errorf("%s runs as %s", name, got)
		}
		const key = "run.googleapis.com/encryption-key"
		if got := s.Spec.Template.Metadata.Annotations[key]; got != "projects/demo/locations/us-west1/keyRings/run/cryptoKeys/gate" {
			t.Errorf("%s is encrypted by %q", name, got)
		}
		c.noExample(t, name, all)

		c.has(t, "iam service-accounts "+account, nil)
		c.has(t, "sql users "+account+"@demo.iam in gate", map[string]string{"type": "cloud_iam_service_account"})
		access := "roles/secretmanager.secretAccessor serviceAccount:" + account + "@demo.iam.gserviceaccount.com"
		for _, secret := range []string{"gate-hash", name + "-config", name + "-database", name + "-file-trust", name + "-policy-main"} {
			if !c.granted("secrets " + secret)[access] || len(c.Secrets[secret]) != 1 {
				t.Errorf("%s: the secret %s has %d versions and the grants %v", name, secret, len(c.Secrets[secret]), c.granted("secrets "+secret))
			}
		}
		signer := "roles/cloudkms.signerVerifier serviceAccount:" + account + "@demo.iam.gserviceaccount.com"
		if !c.granted("kms keys log in log")[signer] {
			t.Errorf("%s may not sign the log: %v", name, c.granted("kms keys log in log"))
		}
	}

	// Tokens for the API's host are for the service, and for no other host.
	api, _ := c.service(t, "gate")
	var audiences []string
	if err := json.Unmarshal([]byte(api.Metadata.Annotations["run.googleapis.com/custom-audiences"]), &audiences); err != nil ||
		!slices.Equal(audiences, []string{"https://gate.demo.example"}) {
		t.Errorf("the API's audiences are %q: %v", audiences, err)
	}

	for resource, flags := range c.Resources {
		for flag, value := range flags {
			if flag != "definition" { // whose comments may name the example
				c.noExample(t, resource+" "+flag, value)
			}
		}
	}
	c.noExample(t, "grants", slices.Collect(maps.Keys(c.Grants)))
	c.has(t, "storage buckets gs://demo-log", map[string]string{"location": "us-west1"})
	c.has(t, "kms keys log in log", map[string]string{"purpose": "asymmetric-signing"})
	c.checkpoint(t)
	for job, path := range map[string]string{"gate-rejudge": "/v1/rejudge", "gate-expire": "/v1/expire"} {
		c.has(t, "scheduler jobs "+job, map[string]string{"uri": "https://gate-events-abc.a.run.app" + path})
	}

	// Nobody asked to delete decisions, until somebody does.
	if _, ok := c.flags("scheduler jobs gate-prune"); ok {
		t.Error("the script deletes decisions although nobody asked for that")
	}
	if err := c.run(t, nil, "prune"); err != nil {
		t.Fatal(err)
	}
	c.has(t, "scheduler jobs gate-prune", map[string]string{"uri": "https://gate-events-abc.a.run.app/v1/prune"})

	// A key of Google's is named nowhere.
	if err := c.run(t, []string{"RUN_KEY="}, "services"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gate", "gate-events"} {
		s, _ := c.service(t, name)
		for annotation := range s.Spec.Template.Metadata.Annotations {
			if strings.Contains(annotation, "encryption-key") || strings.Contains(annotation, "post-key-revocation") {
				t.Errorf("%s without a key has the annotation %s", name, annotation)
			}
		}
	}
}

// checkpoint: the log's checkpoint, and nothing else in its bucket, may be written again.
func (c *cloud) checkpoint(t *testing.T) {
	t.Helper()
	const only = `resource.name == "projects/_/buckets/demo-log/objects/gate.demo.example/decisions/checkpoint"`
	found := false
	for resource, grants := range c.Grants {
		if !strings.HasPrefix(resource, "storage buckets gs://demo-log") {
			continue
		}
		for g := range grants {
			if role, _, _ := strings.Cut(g, " "); role == "roles/storage.objectUser" {
				found = found || strings.HasSuffix(resource, "expression="+only)
				if !strings.HasSuffix(resource, "expression="+only) {
					t.Errorf("%s on %s", g, resource)
				}
			}
		}
	}
	if !found {
		t.Error("nobody may write the checkpoint")
	}
}

// noExample walks through values for what the example files have in the place of names.
func (c *cloud) noExample(t *testing.T, where string, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			c.noExample(t, where+" > "+k, item)
		}
	case []any:
		for _, item := range v {
			c.noExample(t, where, item)
		}
	case []string:
		for _, item := range v {
			c.noExample(t, where, item)
		}
	case string:
		for _, left := range []string{"acme", "us-east1", strings.Repeat("0", 64), strings.Repeat("1", 64)} {
			if strings.Contains(v, left) {
				t.Errorf("%s: %s is left of the example: %s", where, left, v)
			}
		}
	}
}

// TestScriptWithoutDigest: an image by tag ends the script before it has done anything.
func TestScriptWithoutDigest(t *testing.T) {
	c := newCloud(t)
	for _, image := range []string{"IMAGE=us-west1-docker.pkg.dev/demo/prod/gate:v1", "PROXY_IMAGE=gcr.io/proxy", "IMAGE=x@sha256:" + strings.Repeat("a", 63)} {
		if err := c.run(t, []string{image}); err == nil || !strings.Contains(err.Error(), "not named by digest") {
			t.Errorf("%s: %v", image, err)
		}
	}
	if c.writes > 0 || len(c.Resources) > 0 {
		t.Errorf("%d commands, %v", c.writes, c.Resources)
	}
}

// TestScriptDryRun: a dry run calls no gcloud, and prints commands that a shell and gcloud can read.
func TestScriptDryRun(t *testing.T) {
	bin := t.TempDir()
	standsIn(t, bin, "gcloud", "echo called >&2\nexit 1\n")
	digest := "@sha256:" + strings.Repeat("a", 64)
	cmd := exec.CommandContext(t.Context(), "bash", "gcloud.sh")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DRY_RUN=1", "PROJECT=demo", "REGION=us-west1",
		"IMAGE=us-west1-docker.pkg.dev/demo/prod/gate"+digest, "PROXY_IMAGE=gcr.io/proxy"+digest, "API_HOST=gate.demo.example",
		"PAGES_HOST=pages.demo.example", "READERS=group:a@demo.example", "ONCALL=group:oncall@demo.example", "CONFIG=cloudrun/gate/attestor.yaml",
		"EVENTS_CONFIG=cloudrun/gate-events/attestor.yaml", "POLICY=policies/starter.yaml")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || strings.Contains(errs.String(), "called") {
		t.Fatalf("%v\n%s", err, errs.String())
	}

	printed := 0
	var commands strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "gcloud ") {
			continue // a service's definition, or a request of curl
		}
		printed++
		commands.WriteString(line)
		c, err := parse(strings.Fields(line)[1:])
		if err != nil || c.flags["project"] != "demo" {
			t.Errorf("%s: %v", line, err)
		}
	}
	bash(t, "what a dry run prints", commands.String())
	if printed < 100 {
		t.Errorf("the dry run printed %d commands", printed)
	}
}
