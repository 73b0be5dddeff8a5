package preflight_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/audit/preflight"
)

const gate, second = "projects/acme/attestors/gate", "projects/acme/attestors/second"

func digest(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064d", n)) }

const requires = `
defaultAdmissionRule:
  evaluationMode: REQUIRE_ATTESTATION
  enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG
  requireAttestationsBy: [projects/acme/attestors/gate]
`

func policy(t *testing.T, text string) *preflight.Policy {
	t.Helper()
	p, err := preflight.ReadPolicy(strings.NewReader(text), "policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// world knows which digests are attested by whom, and to what registries resolve references.
type world struct {
	attested map[string][]attestor.Digest // by attestor
	down     error
	deployed map[string]attestor.Digest // by reference
	asked    [][]string
}

func (w *world) config() preflight.Config {
	return preflight.Config{
		Standing: func(_ context.Context, attestors []string, images []attestor.Image) (attestor.Standing, error) {
			if w.down != nil {
				return attestor.Standing{}, w.down
			}
			s := attestor.Standing{Known: true}
			var asked []string
			for _, img := range images {
				asked = append(asked, string(img.Digest()[len(img.Digest())-1:]))
				for _, a := range attestors {
					if slices.Contains(w.attested[a], img.Digest()) {
						s.Valid = append(s.Valid, attestor.Attestation{Attestor: a, Digest: img.Digest()})
					} else {
						s.Invalid = append(s.Invalid, attestor.InvalidAttestation{
							Attestation: attestor.Attestation{Attestor: a, Digest: img.Digest()},
							Why:         "its signature does not verify",
						})
					}
				}
			}
			w.asked = append(w.asked, asked)
			return s, nil
		},
		Deployed: func(_ context.Context, image string) (attestor.Image, error) {
			d, ok := w.deployed[image]
			if !ok {
				return attestor.Image{}, &attestor.Error{Kind: attestor.Upstream, Msg: "the registry did not answer"}
			}
			ref, err := attestor.ParseReference(image)
			return ref.At(d), err
		},
	}
}

func pod(image string) audit.Workload {
	return audit.Workload{Kind: audit.KindPod, Name: "prod/api-1", Namespace: "prod", ServiceAccount: "api", Image: image, Running: image}
}

func service(image string) audit.Workload {
	return audit.Workload{Kind: audit.KindService, Name: "acme/us-east1/api", Image: image, Running: image, BinaryAuthorization: "default"}
}

// "registry/path/to/image … a trailing * wildcard … only in text after the registry/ part … a trailing ** wildcard which
// matches subdirectories": and nothing of any other form covers anything.
func TestMatches(t *testing.T) {
	d := "@" + string(digest(1))
	for pattern, want := range map[string]map[string]bool{
		"gcr.io/acme/app": {
			"gcr.io/acme/app": true, "gcr.io/acme/app:1": true, "gcr.io/acme/app" + d: true,
			"gcr.io/acme/app:1" + d: true, "gcr.io/acme/app-evil": false, "gcr.io/acme/app/x": false,
			"gcr.io/acme/ap": false, "evil.example/gcr.io/acme/app": false,
		},
		"gcr.io/acme/app:1":   {"gcr.io/acme/app:1": true, "gcr.io/acme/app:1" + d: false, "gcr.io/acme/app:12": false, "gcr.io/acme/app": false},
		"gcr.io/acme/app" + d: {"gcr.io/acme/app" + d: true, "gcr.io/acme/app": false, "gcr.io/acme/app@" + string(digest(2)): false},
		"gcr.io/acme/app@*":   {"gcr.io/acme/app" + d: true, "gcr.io/acme/app:1": false},
		"gcr.io/acme/*": {
			"gcr.io/acme/app": true, "gcr.io/acme/app:1": true, "gcr.io/acme/app" + d: true,
			"gcr.io/acme/sub/app": false, "gcr.io/acme/": false, "gcr.io/acme-evil/app": false,
		},
		"gcr.io/acme/ap*": {"gcr.io/acme/app:1": true, "gcr.io/acme/ap": false, "gcr.io/acme/ap/x": false, "gcr.io/acme/bapp": false},
		"gcr.io/*":        {"gcr.io/app:1": true, "gcr.io/acme/app": false},
		"gcr.io/acme/**": {
			"gcr.io/acme/app": true, "gcr.io/acme/sub/deep/app" + d: true, "gcr.io/acme": false, "gcr.io/acme/": false,
			"gcr.io/acme-evil/x": false,
		},
		"gcr.io/**":             {"gcr.io/acme/app": true, "gcr.io.evil.example/acme/app": false},
		"localhost:5000/acme/*": {"localhost:5000/acme/app:1": true, "localhost:5001/acme/app:1": false},
		"*":                     {"gcr.io/acme/app": false, "nginx": false, "*": false},
		"**":                    {"gcr.io/acme/app": false},
		"*/acme/app":            {"gcr.io/acme/app": false},
		"gcr.*/acme/app":        {"gcr.io/acme/app": false},
		"gcr.io*":               {"gcr.io/acme/app": false},
		"gcr.io/*/app":          {"gcr.io/acme/app": false, "gcr.io/*/app": false},
		"gcr.io/acme/***":       {"gcr.io/acme/app": false},
		"gcr.io/acme/*app*":     {"gcr.io/acme/app": false, "gcr.io/acme/*app1": false},
		"":                      {"": false, "gcr.io/acme/app": false},
		"/acme/app":             {"/acme/app": false},
		"gcr.io/":               {"gcr.io/": true, "gcr.io/acme/app": false},
		"GCR.io/acme/app":       {"gcr.io/acme/app": false},
	} {
		for image, covered := range want {
			if got := preflight.Matches(pattern, image); got != covered {
				t.Errorf("%q covers %q: %v, want %v", pattern, image, got, covered)
			}
		}
	}
}

func TestReadPolicyIsStrict(t *testing.T) {
	for text, says := range map[string]string{
		requires: "",
		`{"defaultAdmissionRule":{"evaluationMode":"ALWAYS_ALLOW","enforcementMode":"DRYRUN_AUDIT_LOG_ONLY"},` +
			`"name":"projects/acme/policy","etag":"x","updateTime":"2026-11-01T00:00:00Z"}`: "",
		"updateTime: '2026-11-01T00:00:00.5Z'\nadmissionWhitelistPatterns: [{namePattern: " +
			"gcr.io/x/*}]\n" + requires: "",
		"":        "not YAML",
		"[]":      "not a Binary",
		"- a":     "not a Binary",
		"a: [":    "not YAML",
		"name: x": "defaultAdmissionRule is missing",
		"defaultAdmisionRule: {evaluationMode: ALWAYS_ALLOW, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}": "unknown field",
		"defaultAdmissionRule: {}":                             "evaluationMode is missing",
		"defaultAdmissionRule: {evaluationMode: ALWAYS_ALLOW}": "enforcementMode is missing",
		"defaultAdmissionRule: {evaluationMode: SOMETIMES, enforcementMode: " +
			"ENFORCED_BLOCK_AND_AUDIT_LOG}": "not a Binary",
		"defaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, enforcementMode: " +
			"ENFORCED_BLOCK_AND_AUDIT_LOG}": "requireAttestationsBy " +
			"goes with",
		"defaultAdmissionRule: {evaluationMode: ALWAYS_ALLOW, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG, " +
			"requireAttestationsBy: [projects/p/" +
			"attestors/a]}": "requireAttestationsBy " +
			"goes with",
		"defaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, " +
			"enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG, requireAttestationsB" +
			"y: [gate]}": `"gate" is ` +
			`not projects/`,
		requires + "defaultAdmissionRule: {evaluationMode: ALWAYS_ALLOW, enforcementMode: " +
			"ENFORCED_BLOCK_AND_AUDIT_LOG}": "not YAML",
		requires + "clusterAdmissionRules: {us-east1.a: {evaluationMode: " +
			"ALWAYS_ALLOW}}": "clusterAdmissionRules " +
			"us-east1.a: enforcementMode",
		requires + "clusterAdmissionRules: {us-east1.a: {evaluationMode: ALWAYS_ALLOW, enforcementMode: " +
			"ENFORCED_BLOCK_AND_AUDIT_LOG}}\nkubernetesNamespaceAdmissionRules: {x: {evaluationMode: ALWAYS_ALLOW, " +
			"enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}}": "only one kind",
		strings.Repeat("#", 4<<20) + "\n" + requires: "more than",
	} {
		_, err := preflight.ReadPolicy(strings.NewReader(text), "policy.yaml")
		if (err == nil) != (says == "") || err != nil && (attestor.KindOf(err) != attestor.Invalid || !strings.Contains(err.Error(), says)) {
			t.Errorf("%.80q: %v, want %q", text, err, says)
		}
	}
}

// TestOutcomes puts single containers to single policies.
func TestOutcomes(t *testing.T) {
	d1, d2 := string(digest(1)), string(digest(2))
	always := func(mode string) string {
		return "{evaluationMode: " + mode + ", enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}"
	}
	const dry = "\ndefaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, " +
		"enforcementMode: DRYRUN_AUDIT_LOG_ONLY, requireAttestationsBy: [projects/acme/attestors/gate]}\n"
	both := strings.Replace(requires, "[projects/acme/attestors/gate]", "["+gate+", "+second+"]", 1)
	w := &world{
		attested: map[string][]attestor.Digest{gate: {digest(1), digest(3)}, second: {digest(2), digest(3)}},
		deployed: map[string]attestor.Digest{
			"gcr.io/acme/app:1":       digest(1),
			"gcr.io/acme/app:2":       digest(2),
			"gcr.io/acme/index@" + d1: digest(2),
			"gcr.io/acme/index@" + d2: digest(1),
		},
	}
	running := func(image, by string) audit.Workload {
		p := pod(image)
		p.Running = by
		return p
	}
	asks := func(policy string) audit.Workload {
		s := service("gcr.io/acme/app:1")
		s.BinaryAuthorization = policy
		return s
	}
	for _, tt := range []struct {
		name    string
		policy  string
		w       audit.Workload
		cluster string
		want    preflight.Outcome
		why     string
	}{
		{"attested", requires, pod("gcr.io/acme/app@" + d1), "", preflight.Attested, gate},
		{"attested, elsewhere in the registry", requires, pod("gcr.io/other/copy@" + d1), "", preflight.Attested, gate},
		{"not attested", requires, pod("gcr.io/acme/app@" + d2), "", preflight.Blocked, "no valid attestation by " + gate},
		{"attested by one of two", both, pod("gcr.io/acme/app@" + d1), "", preflight.Blocked, "no valid attestation by " + second},
		{"attested by both", both, pod("gcr.io/acme/app@" + string(digest(3))), "", preflight.Attested, gate + " and " + second},
		{"a pod by tag, though its digest is attested", requires, running("gcr.io/acme/app:1", "gcr.io/acme/app@"+d1), "", preflight.Blocked, "by tag"},
		{"a pod without a registry", requires, pod("nginx"), "", preflight.Blocked, "by tag"},
		{"a pod with a malformed digest", requires, pod("gcr.io/acme/app@sha256:1"), "", preflight.Blocked, "by tag"},
		{"in dry run it would still be blocked", dry, pod("gcr.io/acme/app@" + d2), "", preflight.Blocked, "no valid attestation"},
		{"everything is refused", "defaultAdmissionRule: " + always("ALWAYS_DENY"), pod("gcr.io/acme/app@" + d1), "", preflight.Blocked, "refuses everything"},
		{"everything is admitted", "defaultAdmissionRule: " + always("ALWAYS_ALLOW"), pod("gcr.io/acme/app:9"), "", preflight.Allowed, "admits everything"},
		{"a pattern", requires + "admissionWhitelistPatterns: [{namePattern: gcr.io/acme/*}]", pod("gcr.io/acme/app:9"), "", preflight.Exempt, "gcr.io/acme/*"},
		{
			"a pattern outweighs a rule that refuses",
			"admissionWhitelistPatterns: [{namePattern: gcr.io/acme/**}]\ndefaultAdmissionRule: " + always("ALWAYS_DENY"),
			pod("gcr.io/acme/a/b:9"), "", preflight.Exempt, "gcr.io/acme/**",
		},
		{
			"another pattern",
			requires + "admissionWhitelistPatterns: [{namePattern: gcr.io/acm/*}, {namePattern: '*'}]",
			pod("gcr.io/acme/app:9"), "", preflight.Blocked, "by tag",
		},
		{
			"the system policy, which was not read", requires + "globalPolicyEvaluationMode: ENABLE",
			pod("registry.k8s.io/pause:3"), "", preflight.Blocked, "by tag",
		},

		{
			"a cluster's rule", requires + "clusterAdmissionRules: {us-east1.prod: " + always("ALWAYS_ALLOW") + "}",
			pod("x.io/a:1"), "us-east1.prod", preflight.Allowed, "cluster us-east1.prod",
		},
		{
			"another cluster's rule",
			requires + "clusterAdmissionRules: {us-east1.prod: " + always("ALWAYS_ALLOW") + "}", pod("x.io/a:1"),
			"us-east1.prod2", preflight.Blocked, "by tag",
		},
		{
			"a cluster that is not known",
			requires + "clusterAdmissionRules: {us-east1.prod: " + always("ALWAYS_ALLOW") + "}", pod("x.io/a:1"), "",
			preflight.Unknown, "which cluster",
		},
		{
			"a cluster's rule is not Cloud Run's",
			requires + "clusterAdmissionRules: {us-east1.prod: " + always("ALWAYS_ALLOW") + "}",
			service("gcr.io/acme/app:2"), "us-east1.prod", preflight.Blocked, "no valid attestation",
		},
		{
			"a namespace's rule",
			requires + "kubernetesNamespaceAdmissionRules: {prod: " + always("ALWAYS_ALLOW") + "}", pod("x.io/a:1"), "",
			preflight.Allowed, "namespace prod",
		},
		{
			"another namespace's rule",
			requires + "kubernetesNamespaceAdmissionRules: {pro: " + always("ALWAYS_ALLOW") + "}", pod("x.io/a:1"), "",
			preflight.Blocked, "by tag",
		},
		{
			"a service account's rule",
			requires + "kubernetesServiceAccountAdmissionRules: {'prod:api': " + always("ALWAYS_ALLOW") + "}",
			pod("x.io/a:1"), "", preflight.Allowed, "service account prod:api",
		},
		{
			"a service account of another namespace",
			requires + "kubernetesServiceAccountAdmissionRules: {'dev:api': " + always("ALWAYS_ALLOW") + "}",
			pod("x.io/a:1"), "", preflight.Blocked, "by tag",
		},
		{
			"an identity's rule that admits does not, since the pod may not have it",
			requires + "istioServiceIdentityAdmissionRules: {'spiffe://x.example/ns/prod/sa/api': " + always("ALWAYS_ALLOW") + "}",
			pod("x.io/a:1"), "", preflight.Blocked, "by tag",
		},
		{
			"an identity's rule that refuses counts",
			"istioServiceIdentityAdmissionRules: {x.example/ns/prod/sa/api: " + always("ALWAYS_DENY") + "}\ndefaultAdmissionRule: " + always("ALWAYS_ALLOW"),
			pod("x.io/a:1"), "", preflight.Blocked, "refuses everything",
		},
		{
			"another identity's rule",
			"istioServiceIdentityAdmissionRules: {x.example/ns/prod/sa/api2: " + always("ALWAYS_DENY") + "}\ndefaultAdmissionRule: " + always("ALWAYS_ALLOW"),
			pod("x.io/a:1"), "", preflight.Allowed, "admits everything",
		},

		{"a service by tag", requires, service("gcr.io/acme/app:1"), "", preflight.Attested, gate},
		{"a service by tag that is not attested", requires, service("gcr.io/acme/app:2"), "", preflight.Blocked, "no valid attestation"},
		{"an index that is attested, and its child is not", requires, service("gcr.io/acme/index@" + d1), "", preflight.Blocked, "no valid attestation"},
		{"an index that is not attested, and its child is", requires, service("gcr.io/acme/index@" + d2), "", preflight.Attested, gate},
		{"a service whose registry does not answer", requires, service("gcr.io/acme/app:7"), "", preflight.Unknown, "did not answer"},
		{"a service without Binary Authorization", requires, asks(""), "", preflight.Attested, gate},
		{"a service with a platform policy", requires, asks("projects/acme/platforms/cloudRun/policies/x"), "", preflight.Unknown, "platform policy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := preflight.Run(t.Context(), w.config(), []preflight.Subject{{Workload: tt.w, Cluster: tt.cluster, Policy: policy(t, tt.policy)}})
			if len(r.Findings) != 1 || r.Counts[tt.want] != 1 {
				t.Fatalf("%+v", r)
			}
			if f := r.Findings[0]; f.Outcome != tt.want || !strings.Contains(f.Why, tt.why) || f.DryRun != (tt.policy == dry) {
				t.Errorf("%s: %s, want %s: %s; dry run %v", f.Outcome, f.Why, tt.want, tt.why, f.DryRun)
			}
		})
	}
}

// What could not be looked up is never admitted, and never blocked.
func TestLookUpsThatFail(t *testing.T) {
	w := &world{down: errors.New("down")}
	r := preflight.Run(t.Context(), w.config(), []preflight.Subject{
		{Workload: pod("gcr.io/acme/app@" + string(digest(1))), Policy: policy(t, requires)},
		{Workload: pod("gcr.io/acme/app:1"), Policy: policy(t, requires)},
	})
	if diff := cmp.Diff(map[preflight.Outcome]int{preflight.Unknown: 1, preflight.Blocked: 1, preflight.Attested: 0,
		preflight.Exempt: 0, preflight.Allowed: 0}, r.Counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// A look-up that says nothing is no look-up.
	silent := preflight.Config{Deployed: w.config().Deployed, Standing: func(context.Context, []string, []attestor.Image) (attestor.Standing, error) {
		return attestor.Standing{}, nil
	}}
	r = preflight.Run(t.Context(), silent, []preflight.Subject{{Workload: pod("gcr.io/acme/app@" + string(digest(1))), Policy: policy(t, requires)}})
	if r.Counts[preflight.Unknown] != 1 {
		t.Errorf("%+v", r)
	}
}

// The system policy exempts only where the policy asks for it.
func TestSystemPolicy(t *testing.T) {
	w := &world{}
	c := w.config()
	c.System = policy(
		t,
		"name: locations/global/policy\nadmissionWhitelistPatterns: [{namePattern: registry.k8s.io/**}]\n"+
			"defaultAdmissionRule: {evaluationMode: ALWAYS_DENY, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}",
	)
	for mode, want := range map[string]preflight.Outcome{"": preflight.Blocked,
		"globalPolicyEvaluationMode: DISABLE": preflight.Blocked,
		"globalPolicyEvaluationMode: ENABLE":  preflight.Exempt} {
		p := policy(t, requires+mode)
		r := preflight.Run(
			t.Context(),
			c,
			[]preflight.Subject{{Workload: pod("registry.k8s.io/pause:3"), Policy: p}, {Workload: pod("registry.example/pause:3"), Policy: p}},
		)
		if r.Counts[want] < 1 || r.Counts[preflight.Blocked] < 1 || len(r.Notes) != 0 {
			t.Errorf("%q: %+v", mode, r.Counts)
		}
	}
}

// Each image is asked about once, in lists of bounded length.
func TestManyImages(t *testing.T) {
	w := &world{attested: map[string][]attestor.Digest{gate: {}}}
	p := policy(t, requires)
	var subjects []preflight.Subject
	for i := range 1000 {
		subjects = append(subjects, preflight.Subject{Workload: pod(fmt.Sprintf("gcr.io/acme/app@%s", digest(i%450))), Policy: p})
	}
	w.attested[gate] = append(w.attested[gate], digest(449), digest(0))
	r := preflight.Run(t.Context(), w.config(), subjects)
	asked := 0
	for _, list := range w.asked {
		asked += len(list)
		if len(list) > 200 {
			t.Errorf("%d images at once", len(list))
		}
	}
	if asked != 450 || r.Images != 450 || r.Counts[preflight.Attested] != 2+3 || r.Counts[preflight.Blocked] != 995 {
		t.Errorf("%d asked, %d images, %v", asked, r.Images, r.Counts)
	}
}

// The page says first what a platform lead decides by, and is harmless.
func TestPage(t *testing.T) {
	w := &world{attested: map[string][]attestor.Digest{gate: {digest(1)}}}
	p := policy(t, "name: projects/acme/policy\nglobalPolicyEvaluationMode: ENABLE\nadmissionWhitelistPatterns: [{namePattern: gcr.io/tools/*}]\n"+requires)
	var subjects []preflight.Subject
	for i := range 5 {
		s := pod("gcr.io/acme/bad@" + string(digest(2)))
		s.Name = fmt.Sprintf("prod/bad-%d", i)
		subjects = append(subjects, preflight.Subject{Workload: s, Cluster: "us-east1.prod", Policy: p})
	}
	subjects = append(subjects, preflight.Subject{Workload: pod("gcr.io/acme/good@" + string(digest(1))), Policy: p},
		preflight.Subject{Workload: pod("gcr.io/tools/x:1"), Policy: p}, preflight.Subject{Workload: pod("evil\x1b[2J:1"), Policy: p})
	r := preflight.Run(t.Context(), w.config(), subjects)
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"WOULD BE BLOCKED: 6 of 8 containers\n", "1 attested, 1 exempt by pattern, 0 allowed by rule, 6 would be blocked, 0 not known; 4 images\n",
		"policy projects/acme/policy: the default rule requires attestations by " + gate + "\n", "note: projects/acme/policy lets the system policy",
		"pod prod/bad-0 in us-east1.prod; pod prod/bad-1 in us-east1.prod; pod prod/bad-2 in us-east1.prod; " +
			"and 2 more\n", "to do: attestor attest gcr.io/acme/bad@" + string(digest(2)) + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("an image's name controls the terminal: %q", text)
	}
	if strings.Index(text, "\nWOULD BE BLOCKED\n") > strings.Index(text, "\nATTESTED\n") {
		t.Error("what is blocked does not come first")
	}

	var back preflight.Report
	form, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(form, &back)
	}
	if diff := cmp.Diff(r, back); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}

	empty := preflight.Run(t.Context(), w.config(), nil)
	if empty.Findings == nil || len(empty.Counts) != 5 {
		t.Errorf("of nothing: %+v", empty)
	}
}
