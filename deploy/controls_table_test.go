package deploy_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/posture"
)

var updateControls = flag.Bool("update-controls", false, "write docs/controls.md")

// A judgement says which rule judges a control in others' definitions, or why none does, and which page explains it.
type judgement struct{ rule, none, page string }

const oursAlone = "our own deployment; nothing in others' definitions shows it"

// judgements are those of the controls outside of a service's definition. A control without one fails.
func judgements() map[string]judgement {
	grants := judgement{rule: "NO_BASIC_ROLES", page: "deploy.md"}
	own := judgement{none: oursAlone, page: "deploy.md"}
	admission := judgement{rule: "ADMISSION_POLICY", page: "rollout.md"}
	organisation := judgement{rule: "ORGANIZATION_POLICIES", page: "posture.md"}
	scanned := judgement{rule: "IMAGES_SCANNED", page: "scans.md"}

	return map[string]judgement{
		"load balancer and serverless NEG":            {rule: "CLOUD_ARMOR", page: "deploy.md"},
		"custom domain with TLS":                      {rule: "TLS_BOUNDED", page: "deploy.md"},
		"domain mapping":                              {rule: "DEFAULT_URL_DISABLED", page: "posture.md"},
		"Cloud Armor: SQL injection":                  {rule: "WAF_RULES", page: "posture.md"},
		"Cloud Armor: cross-site scripting":           {rule: "WAF_RULES", page: "posture.md"},
		"Cloud Armor: ban on the pages' host":         {rule: "RATE_LIMITED", page: "posture.md"},
		"Cloud Armor: throttle of the API by address": {rule: "RATE_LIMITED", page: "posture.md"},
		"Cloud Armor: policies are no attack":         own,
		"internal HTTPS load balancer":                {rule: "TLS_BOUNDED", page: "deploy.md"},
		"Private Service Connect":                     {rule: "PRIVATE_SERVICE_CONNECT", page: "posture.md"},
		"Private Google Access":                       {rule: "PRIVATE_GOOGLE_ACCESS", page: "deploy.md"},
		"Shared VPC":                                  {none: "a choice of the organisation; VPC_EGRESS judges that a network is used", page: "deploy.md"},
		"connector sizing":                            {rule: "CONNECTOR_SIZED", page: "posture.md"},
		"grants: run.invoker":                         {rule: "INVOKER_AUTH", page: "deploy.md"},
		"grants: cloudsql.client":                     grants, "grants: secretmanager.secretAccessor": grants,
		"grants: cloudtrace.agent": grants, "grants: findings": grants,
		"grants: images": grants, "grants: attestations": grants, "grants: note": grants, "grants: attestor": grants, "grants: key": grants,
		"grants: ID token in a build, on itself": grants,
		"TLS of the database":                    {rule: "DATABASE_ENCRYPTED", page: "posture.md"},
		"private address of the database":        {rule: "DATABASE_PRIVATE", page: "deploy.md"},
		"Identity-Aware Proxy":                   {rule: "IDENTITY_AWARE_PROXY", page: "identity.md"},
		"Workload Identity Federation":           {rule: "KEYLESS", page: "identity.md"},
		"VPC Service Controls":                   {rule: "SERVICE_PERIMETER", page: "deploy.md"},
		"organisation policy: ingress":           organisation, "organisation policy: VPC egress": organisation,
		"organisation policy: Binary Authorization":  organisation,
		"organisation policy: exception by tag":      organisation,
		"Binary Authorization: attestation required": admission, "Binary Authorization: allowlist": admission, "Binary Authorization: dry run first": admission,
		"Binary Authorization: break-glass drill": {rule: "BINARY_AUTHORIZATION", page: "rollout.md"},
		"Artifact Analysis: scanning on push":     scanned,
		"Artifact Analysis: on demand":            {none: "the gate asks for it; a definition does not show it", page: "scans.md"},
		"base images":                             {rule: "BASE_NOT_APPROVED", page: "bases.md"},
		"base images: Google's, and their ends":   {rule: "BASE_NOT_APPROVED", page: "bases.md"},
		"session cookies": {none: "a question for a person: the code alone shows it. " +
			"A service that keeps sessions sets `__Host-`, Secure, HttpOnly, SameSite=Strict, " +
			"and ends them after 30 idle minutes", page: "threat-model.md"},
		"two services: events are internal":         {rule: "INGRESS_RESTRICTED", page: "deploy.md"},
		"two services: custom audience":             own,
		"two services: trust in the platform":       own,
		"two services: CPU outside requests":        own,
		"two services: wait below the time-out":     {rule: "TIMEOUT_BOUNDED", page: "deploy.md"},
		"two services: how a policy takes effect":   {none: oursAlone, page: "rollout.md"},
		"two services: bootstrap of the gate":       {rule: "IMAGE_ATTESTED", page: "rollout.md"},
		"container: distroless, numeric, by digest": {rule: "USER_NOT_NUMERIC", page: "posture.md"},
		"container: nothing secret in the build":    {rule: "CONTEXT_IGNORED", page: "posture.md"},
		"two services: roots of signatures":         own, "two services: one hash of a caller": own, "dead letters": own, "push and schedule with a token": own,
		"build trigger": own, "dashboard and alerts": own,
		"log in to the database without a password":   own,
		"key that cannot be destroyed by a slip":      own,
		"the record's log: key and copy":              {none: oursAlone, page: "record.md"},
		"grants: the copy of the log":                 {none: oursAlone, page: "record.md"},
		"never sees everyone's traffic: pages by IAP": {rule: "IDENTITY_AWARE_PROXY", page: "identity.md"},
	}
}

// leftOut are the controls that hold where nothing is set: what must stand nowhere is in notEnabled, or in the place itself.
func leftOut() map[string][]applied {
	return map[string][]applied{
		"Private Service Connect": notEnabled()["PRIVATE_SERVICE_CONNECT"],
		"domain mapping":          {unplanned(tfEdge, "google_cloud_run_domain_mapping"), unplanned(tfService, "google_cloud_run_domain_mapping")},
		"session cookies":         {noCookies("../server")},
	}
}

// TestControlsTable writes, or compares, docs/controls.md: where each control is applied, what judges it, what explains it. An empty cell
// fails.
func TestControlsTable(t *testing.T) {
	e := newEvidence(t)
	known := map[string]bool{}
	for _, r := range posture.Rules() {
		known[r.ID] = true
	}

	var b strings.Builder
	b.WriteString("# Controls\n\nEvery control of the documents that this project is built on: where " +
		"[deploy/](../deploy) applies it, which rule of [posture](posture.md) judges it in " +
		"others' definitions, and which page explains it. `go test ./deploy -update-controls` writes this page.\n\n" +
		"| control | applied in | judged by | explained in |\n| --- | --- | --- | --- |\n")
	row := func(control string, places []applied, j judgement) {
		files := map[string]bool{}
		for _, p := range places {
			files[strings.TrimPrefix(p.file, "../")] = true
		}
		where := strings.Join(slices.Sorted(maps.Keys(files)), ", ")
		if leftOut()[control] != nil {
			where = "left out of " + where
		}

		by := j.none
		if j.rule != "" {
			by = "`" + j.rule + "`"
		}
		if len(files) == 0 || by == "" || j.page == "" || j.rule != "" && !known[j.rule] {
			t.Errorf("%s: applied in %q, judged by %q, explained in %q: a cell is missing", control, where, by, j.page)
		}
		if _, err := os.Stat("../docs/" + j.page); err != nil {
			t.Errorf("%s: %v", control, err)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | [%s](%s) |\n", control, where, by, j.page, j.page)
	}

	for _, rule := range slices.Sorted(maps.Keys(serviceControls())) {
		row(rule, serviceControls()[rule], judgement{rule: rule, page: "posture.md"})
	}
	for _, rule := range []string{"BUILD_ACCOUNT", "MOUNTS_READ_ONLY", "NFS_PRIVATE", "SHELL_DISABLED"} {
		check(t, e, rule, notEnabled()[rule])
		row(rule, notEnabled()[rule], judgement{rule: rule, page: "posture.md"})
	}

	others := otherControls()
	others["base images: Google's, and their ends"] = []applied{
		inYAML("policies/bases/google-managed.yaml", "0 > repository", `~marketplace\.gcr\.io/google/.+`)}
	for control, places := range leftOut() {
		check(t, e, control, places)
		others[control] = places
	}
	for _, control := range slices.Sorted(maps.Keys(others)) {
		row(control, others[control], judgements()[control])
	}
	for control := range judgements() {
		if others[control] == nil {
			t.Errorf("%s is judged, and applied nowhere", control)
		}
	}

	const page = "../docs/controls.md"
	if *updateControls {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), b.String()); d != "" {
		t.Errorf("docs/controls.md is not what the table says: run go test ./deploy -run TestControlsTable -update-controls\n%s", d)
	}
}
