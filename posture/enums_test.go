package posture_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/posture"
)

// unread are the enums of definitions that no rule asks about, each with the reason. Those of answers alone, and of builds, are left
// out by their schemas.
var unread = map[string]string{
	"EmptyDirVolumeSource.medium": "memory or disk, both of the instance",
	"Execution.launchStage":       "a stage of the product", "Instance.launchStage": "a stage of the product",
	"Job.launchStage": "a stage of the product", "Service.launchStage": "a stage of the product",
	"Revision.launchStage": "a stage of the product", "WorkerPool.launchStage": "a stage of the product",
	"Instance.restartPolicy": "when it is started again", "Revision.encryptionKeyRevocationAction": "advice beside a key",
	"RevisionTemplate.executionEnvironment": "both are sandboxed",
	"TaskTemplate.executionEnvironment":     "both are sandboxed",
	"Revision.executionEnvironment":         "both are sandboxed", "Task.executionEnvironment": "both are sandboxed",
	"InstanceSplit.type": "an older revision is told by its name",
	"TrafficTarget.type": "an older revision is told by its name", "Job.functionalType": "what it is for",
	"Service.functionalType": "what it is for",
}

// TestEnumsOfTheAPI holds the values that are read against the discovery document that Google's client carries: a new value, a new enum of
// a definition, or another number of a value must be looked at.
func TestEnumsOfTheAPI(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "run", "v2", "run-api.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Revision string
		Schemas  map[string]struct {
			Properties map[string]struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	t.Logf("revision %s", doc.Revision)
	if doc.Revision < "20261002" {
		t.Errorf("revision %s is older than the one that was read", doc.Revision)
	}
	seen := map[string]bool{}
	for schema, s := range doc.Schemas {
		short, ours := strings.CutPrefix(schema, "GoogleCloudRunV2")
		for _, answer := range []string{"Condition", "Status", "Reference", "Response", "Request"} {
			ours = ours && !strings.HasSuffix(short, answer)
		}
		for field, p := range s.Properties {
			name := schema + "." + field
			read := posture.Enums()[name]
			if len(p.Enum) == 0 || !ours {
				continue
			}
			if seen[name] = true; read == nil {
				if unread[short+"."+field] == "" {
					t.Errorf("nobody has looked at %s: %q", name, p.Enum)
				}
				continue
			}
			for i, value := range p.Enum {
				if _, known := read[value]; !known || read[value] != read[strconv.Itoa(i)] {
					t.Errorf("%s: %s is %q, its number %d %q", name, value, read[value], i, read[strconv.Itoa(i)])
				}
			}
			for value := range read {
				if i, err := strconv.Atoi(value); err == nil && i >= len(p.Enum) || err != nil &&
					value == strings.ToUpper(value) && !slices.Contains(p.Enum, value) {
					t.Errorf("%s: the API has no value %s", name, value)
				}
			}
		}
	}
	for name := range posture.Enums() {
		if !seen[name] {
			t.Errorf("%s is no enum of the API", name)
		}
	}
}
