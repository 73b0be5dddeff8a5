package posture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/posture"
)

// fields are all fields of definitions that the v2 API takes, each with the rules that ask about it, or the reason why none does. A field of
// one name means the same wherever it is.
var fields = map[string]string{
	"accelerator": "a kind of hardware", "annotations": "`SECRETS_BY_REFERENCE`", "args": "`SECRETS_BY_REFERENCE`, `DATABASE_REGION`",
	"baseImage": "without automatic updates a base that was built upon is part of the digest", "baseImageUri": "`IMAGE_BY_DIGEST`",
	"binaryAuthorization": "`BINARY_AUTHORIZATION`", "breakglassJustification": "`BINARY_AUTHORIZATION`",
	"bucket":      "`MOUNTS_READ_ONLY`, `IMAGE_BY_DIGEST` of source",
	"buildConfig": "`BUILD_ACCOUNT`", "client": "the tool that wrote the definition", "clientVersion": "the tool that wrote the definition",
	"cloudSqlInstance": "`DATABASE_REGION`", "cloudStorageSource": "`IMAGE_BY_DIGEST`, `IMAGE_ATTESTED`", "command": "`SECRETS_BY_REFERENCE`",
	"concurrencyUtilization": "when instances are added; the bounds are `MIN_INSTANCES` and `MAX_INSTANCES`", "connector": "`VPC_EGRESS`, `NETWORK_OWN`",
	"containerPort": "`PROBES`, which tell the container that is called by it",
	"containers":    "every rule about images, arguments and limits", "content": "`SECRETS_BY_REFERENCE`",
	"cpuIdle": "what is paid for between requests", "cpuUtilization": "when instances are added",
	"customAudiences":    "more names for the same service; the check of callers stays",
	"defaultMode":        "rights of files within the container, which runs as one user",
	"defaultUriDisabled": "`DEFAULT_URL_DISABLED`", "delayExecution": "when a job begins",
	"dependsOn": "the order in which containers begin", "description": "`SECRETS_BY_REFERENCE`",
	"egress": "`VPC_EGRESS`, `STATIC_EGRESS_IP`", "emptyDir": "of the instance, and gone with it",
	"enableAutomaticUpdates": "`IMAGE_BY_DIGEST`", "encryptionKey": "`CMEK`", "encryptionKeyRevocationAction": "`KEY_REVOCATION`",
	"encryptionKeyShutdownDuration": "how long after the revocation; at least an hour in any case",
	"env":                           "`SECRETS_BY_REFERENCE`, `SECRETS_AS_FILES`, `DATABASE_REGION`",
	"environmentVariables":          "`SECRETS_BY_REFERENCE`", "etag": "of the API, against lost updates",
	"executionEnvironment": "both are sandboxed", "failureThreshold": "how often a probe fails",
	"filename": "the name of inlined source, whose content is judged", "functionTarget": "the entry point of a function", "functionalType": "what it is for",
	"gcs": "`MOUNTS_READ_ONLY`", "generation": "source is denied with a generation too: `IMAGE_BY_DIGEST`",
	"gpuZonalRedundancyDisabled": "availability of a GPU", "grpc": "`PROBES`",
	"healthCheckDisabled": "`PROBES`", "httpGet": "`PROBES`", "httpHeaders": "`SECRETS_BY_REFERENCE`", "iapEnabled": "`INVOKER_AUTH`, `IDENTITY_AWARE_PROXY`",
	"identity":                   "which agent it is; `LEAST_PRIVILEGE` finds its grants by the workload's name",
	"identityCertificateEnabled": "a certificate beside the tokens of the same identity",
	"identityType":               "`DEDICATED_SERVICE_ACCOUNT`, `LEAST_PRIVILEGE`", "image": "`IMAGE_BY_DIGEST`, `IMAGE_ATTESTED`",
	"imageUri": "where a build puts its image; the container names the one that runs",
	"ingress":  "`INGRESS_RESTRICTED`, `DEFAULT_URL_DISABLED`", "initialDelaySeconds": "when a probe begins",
	"inlinedSource":  "`IMAGE_BY_DIGEST`, `SECRETS_BY_REFERENCE`",
	"instanceSplits": "`REVISION_JUDGED`", "instances": "`DATABASE_REGION`", "invokerIamDisabled": "`INVOKER_AUTH`",
	"items": "`SECRET_VERSION_PINNED`", "labels": "`SECRETS_BY_REFERENCE`",
	"launchStage": "a stage of the product", "limits": "`RESOURCE_LIMITS`", "livenessProbe": "`PROBES`",
	"manualInstanceCount": "`MIN_INSTANCES`, `MAX_INSTANCES`",
	"maxInstanceCount":    "`MAX_INSTANCES`", "maxInstanceRequestConcurrency": "`CONCURRENCY_SET`",
	"maxRetries": "how often a task is tried", "medium": "memory or disk, both of the instance",
	"mesh":             "a service mesh's name; its policies are resources of their own that no rule reads",
	"minInstanceCount": "`MIN_INSTANCES`", "mode": "rights of files within the container, which runs as one user",
	"mountOptions": "caches of a bucket's mount", "mountPath": "where a volume is",
	"multiRegionId": "a name for the group of regions", "multiRegionSettings": "`REGION_APPROVED`",
	"name": "what findings call it", "network": "`NETWORK_OWN`", "networkInterfaces": "`VPC_EGRESS`",
	"nfs":          "`NFS_PRIVATE`, `MOUNTS_READ_ONLY`",
	"nodeSelector": "a kind of hardware; limits are asked for beside it",
	"object":       "`IMAGE_BY_DIGEST` of source", "parallelism": "how many tasks run at once",
	"path": "a path of a mount or a probe", "percent": "any share is traffic: `REVISION_JUDGED`",
	"periodSeconds": "how often a probe runs", "policy": "`BINARY_AUTHORIZATION`", "port": "a probe's port",
	"ports": "`PROBES`", "readOnly": "`MOUNTS_READ_ONLY`",
	"readinessProbe": "restarts nothing, and is no evidence for `PROBES`; its headers are judged by " +
		"`SECRETS_BY_REFERENCE`", "regions": "`REGION_APPROVED`", "resources": "`RESOURCE_LIMITS`",
	"restartPolicy": "when an instance is started again", "revision": "`REVISION_JUDGED`",
	"runExecutionToken": "starts an execution of the same definition", "sandboxLauncher": "`IMAGE_BY_DIGEST`",
	"scaling": "`MIN_INSTANCES`, `MAX_INSTANCES`", "scalingMode": "`MIN_INSTANCES`, `MAX_INSTANCES`",
	"secret":       "`SECRETS_AS_FILES`, `SECRET_VERSION_PINNED`",
	"secretKeyRef": "`SECRETS_AS_FILES`, `SECRET_VERSION_PINNED`",
	"server":       "`NFS_PRIVATE`", "service": "a probe's service", "serviceAccount": "`DEDICATED_SERVICE_ACCOUNT`, " +
		"`LEAST_PRIVILEGE`, `ACCOUNT_REACH`; of a build, `BUILD_ACCOUNT`",
	"serviceMesh":     "a service mesh's name; its policies are resources of their own that no rule reads",
	"sessionAffinity": "which instance a caller gets; a cookie of the platform's",
	"sizeLimit":       "of memory or disk of the instance",
	"sourceCode":      "`IMAGE_BY_DIGEST`, `IMAGE_ATTESTED`",
	"sourceLocation":  "where source was built from; the container names the image that runs",
	"sources":         "`IMAGE_BY_DIGEST`", "sshEnabled": "`SHELL_DISABLED`",
	"startExecutionToken": "starts an execution of the same definition", "startupCpuBoost": "speed of the start",
	"startupProbe": "`PROBES`", "subPath": "a part of a volume", "subnetwork": "`NETWORK_OWN`",
	"tag": "`REVISION_JUDGED`", "tags": "which firewall rules hold; the rules of firewalls are not judged",
	"taskCount": "how many tasks run", "tcpSocket": "`PROBES`", "template": "every rule",
	"timeout": "`TIMEOUT_BOUNDED`", "timeoutSeconds": "how long a probe waits", "traffic": "`REVISION_JUDGED`",
	"type": "an older revision is told by its name", "useDefault": "`BINARY_AUTHORIZATION`",
	"value": "`SECRETS_BY_REFERENCE`", "valueSource": "`SECRETS_AS_FILES`", "version": "`SECRET_VERSION_PINNED`",
	"volumeMounts": "where volumes are",
	"volumes":      "`SECRETS_AS_FILES`, `SECRET_VERSION_PINNED`, `NFS_PRIVATE`, `MOUNTS_READ_ONLY`",
	"vpcAccess":    "`VPC_EGRESS`", "workerPool": "where a build runs", "workingDir": "a directory within the container",
	"workloadIdentityConfig": "`DEDICATED_SERVICE_ACCOUNT`",
}

// newer are fields that clients have and the discovery document at hand does not.
var newer = map[string]string{
	"buildConfig of a container": "`BUILD_ACCOUNT`, `SECRETS_BY_REFERENCE`, `IMAGE_BY_DIGEST`",
	"ambientNetworking":          "nothing is documented of it beyond its name", "sandboxes": "`IMAGE_BY_DIGEST`, `IMAGE_ATTESTED`, `SECRETS_BY_REFERENCE`",
	"threatDetectionEnabled": "an answer of the API, which nobody sets", "binaryAuthorization of an execution": "an execution is no definition that is kept",
}

// definitionFields are the fields that a service, job, worker pool or instance can be given, at any depth, by the discovery document.
func definitionFields(t *testing.T) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "run", "v2", "run-api.json"))
	if err != nil {
		t.Fatal(err)
	}
	type property struct {
		Ref      string `json:"$ref"`
		ReadOnly bool
		Items    struct {
			Ref string `json:"$ref"`
		}
	}
	var doc struct {
		Schemas map[string]struct{ Properties map[string]property }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	const prefix = "GoogleCloudRunV2"
	found, done := map[string]bool{}, map[string]bool{}
	open := []string{prefix + "Service", prefix + "Job", prefix + "WorkerPool", prefix + "Instance"}
	for len(open) > 0 {
		schema := open[0]
		if open = open[1:]; done[schema] {
			continue
		}
		done[schema] = true
		for name, p := range doc.Schemas[schema].Properties {
			if p.ReadOnly { // an answer
				continue
			}
			found[name] = true
			for _, ref := range []string{p.Ref, p.Items.Ref} {
				if strings.HasPrefix(ref, prefix) {
					open = append(open, ref)
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestEveryFieldIsJudgedOrSaysWhyNot: each field that a definition can have is asked about by a rule that there is, or has a reason. A field
// that Google adds fails here until somebody has looked at it. docs/posture-fields.md is this table.
func TestEveryFieldIsJudgedOrSaysWhyNot(t *testing.T) {
	rules := map[string]bool{}
	for _, r := range posture.Rules() {
		rules[r.ID] = true
	}
	known := definitionFields(t)
	for _, name := range known {
		if fields[name] == "" {
			t.Errorf("nobody has looked at the field %s", name)
		}
	}
	var b strings.Builder
	b.WriteString("# Fields of definitions\n\nEvery field that the Cloud Run API takes in a service, job, worker pool " +
		"or instance, with the rules of [posture](posture.md) that ask about it, or the reason why no rule does. " +
		"The names are those of the v2 API; FIELD in Terraform is the same in snake case. `go test ./posture -run " +
		"TestEveryField -update` writes this page, and fails for a field that is not in it.\n\n" +
		"| field | judged by, or why not |\n| --- | --- |\n")
	code := regexp.MustCompile("`([A-Z_]+)`")
	row := func(name, text string) {
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			if !rules[m[1]] {
				t.Errorf("%s: there is no rule %s", name, m[1])
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, text)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			t.Errorf("the API has no field %s", name)
		}
		row(name, fields[name])
	}
	b.WriteString("\nOther names in definitions of today:\n\n| field | judged by, or why not |\n| --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(newer)) {
		row(name, newer[name])
	}
	const page = "../docs/posture-fields.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), b.String()); d != "" {
		t.Errorf("docs/posture-fields.md is another table:\n%s", d)
	}
}
