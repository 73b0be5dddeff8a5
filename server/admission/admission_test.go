package admission_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/admission"
)

const (
	good    = "registry.example/team/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	bad     = "registry.example/team/app@sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	foreign = "registry.example/other/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	name    = "projects/p/attestors/gate"
)

// cluster has one attested image.
type cluster struct {
	mode     attestor.Mode // of the policy; "": enforce
	by       []string      // attestors of the policy; none: name
	override []string      // attestors of its overrides
	standing func(ctx context.Context, img attestor.Image) (attestor.Standing, error)
}

// policies are one team's.
func (c cluster) policies(t testing.TB) attestor.Policies {
	t.Helper()
	override := ""
	if len(c.override) > 0 {
		override = "  breakGlass: {allowed: true, attestors: [" + strings.Join(c.override, ", ") + "]}\n"
	}

	set, err := policy.Parse(policy.Source{Name: "production.yaml", Text: fmt.Appendf(nil, `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: production}
spec:
  mode: %s
  images: ["registry.example/team/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [%s]
%s`, cmp.Or(c.mode, attestor.Enforce), cmp.Or(strings.Join(c.by, ", "), name), override)})

	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (c cluster) Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
	if c.standing != nil {
		return c.standing(ctx, img)
	}
	if err := ctx.Err(); err != nil {
		return attestor.Standing{}, err
	}

	s := attestor.Standing{Known: true}
	if img.String() == good {
		s.Valid = []attestor.Attestation{{Attestor: name, Digest: img.Digest()}}
	} else {
		s.Invalid = []attestor.InvalidAttestation{{Attestation: attestor.Attestation{Attestor: name, Digest: img.Digest()}, Why: "no key verifies it"}}
	}

	return s, nil
}

func TestAttestationsContract(t *testing.T) {
	contract.Standings(t, cluster{}, image(t, good), image(t, bad))
}

func image(t testing.TB, ref string) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(ref)
	if err != nil {
		t.Fatal(err)
	}

	return img
}

func handler(t testing.TB, c cluster, change func(*admission.Config)) http.Handler {
	t.Helper()
	config := admission.Config{Mode: admission.Attested, Policies: c.policies(t), Attestations: c}
	if change != nil {
		change(&config)
	}

	h, err := admission.New(config)
	if err != nil {
		t.Fatal(err)
	}

	return h
}

// answer is the part of the response that the API server acts on.
type answer struct {
	APIVersion, Kind string
	Response         struct {
		UID      string
		Allowed  bool
		Status   struct{ Message string }
		Warnings []string
	}
}

func ask(t testing.TB, h http.Handler, body string) (int, answer) {
	t.Helper()
	r := httptest.NewRequest("POST", "/v1/admission", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var a answer
	if w.Code == 200 {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("answer %s: %v", w.Body, err)
		}
		if a.Response.UID != "705ab4f5-6393-11e8-b7cc-42010a800002" || a.APIVersion != "admission.k8s.io/v1" || a.Kind != "AdmissionReview" {
			t.Fatalf("answer %s is not this review's", w.Body)
		}
	}

	return w.Code, a
}

func reviewOf(group, version, kind, operation, object string) string {
	return corpus.ReviewOf(group, version, kind, operation, object)
}

func pod(images ...string) string { return corpus.Pod(images...) }

func TestEveryPlaceOfAnImageIsSeen(t *testing.T) {
	h := handler(t, cluster{}, nil)
	shapes := map[string]func(spec string) string{
		"Pod":          func(s string) string { return reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+s+`}`) },
		"Pod, updated": func(s string) string { return reviewOf("", "v1", "Pod", "UPDATE", `{"spec":`+s+`}`) },
		"PodTemplate": func(s string) string {
			return reviewOf("", "v1", "PodTemplate", "CREATE", `{"template":{"spec":`+s+`}}`)
		},
		"ReplicationController": func(s string) string { return reviewOf("", "v1", "ReplicationController", "CREATE", templated(s)) },
		"Deployment":            func(s string) string { return reviewOf("apps", "v1", "Deployment", "CREATE", templated(s)) },
		"ReplicaSet":            func(s string) string { return reviewOf("apps", "v1", "ReplicaSet", "CREATE", templated(s)) },
		"StatefulSet":           func(s string) string { return reviewOf("apps", "v1", "StatefulSet", "CREATE", templated(s)) },
		"DaemonSet":             func(s string) string { return reviewOf("apps", "v1", "DaemonSet", "CREATE", templated(s)) },
		"Job":                   func(s string) string { return reviewOf("batch", "v1", "Job", "CREATE", templated(s)) },
		"CronJob": func(s string) string {
			return reviewOf("batch", "v1", "CronJob", "CREATE", `{"spec":{"jobTemplate":{"spec":{"template":{"spec":`+s+`}}}}}`)
		},
	}

	specs := map[string]struct {
		spec    string
		allowed bool
	}{
		"attested":            {pod(good), true},
		"unattested":          {pod(bad), false},
		"second container":    {pod(good, bad), false},
		"init container":      {`{"containers":[{"name":"a","image":"` + good + `"}],"initContainers":[{"name":"b","image":"` + bad + `"}]}`, false},
		"ephemeral container": {`{"containers":[{"name":"a","image":"` + good + `"}],"ephemeralContainers":[{"name":"b","image":"` + bad + `"}]}`, false},
		"image volume":        {`{"containers":[{"name":"a","image":"` + good + `"}],"volumes":[{"name":"v","image":{"reference":"` + bad + `"}}]}`, false},
		"good image volume": {`{"containers":[{"name":"a","image":"` + good +
			`"}],"volumes":[{"name":"v","image":{"reference":"` + good + `"}},{"name":"e","emptyDir":{}}]}`, true},
		"no containers":     {`{"containers":[]}`, false},
		"by tag":            {pod("registry.example/team/app:v1"), false},
		"no registry":       {pod("nginx@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), false},
		"empty image":       {pod(""), false},
		"ungoverned":        {pod(foreign), false},
		"names in capitals": {`{"Containers":[{"name":"a","image":"` + good + `"}]}`, false},
		"too many":          {pod(many(101)...), false},
	}

	for shape, wrap := range shapes {
		for spec, tt := range specs {
			code, got := ask(t, h, wrap(tt.spec))
			if code != 200 || got.Response.Allowed != tt.allowed {
				t.Errorf("%s, %s: status %d, allowed %t, want %t: %s", shape, spec, code, got.Response.Allowed, tt.allowed, got.Response.Status.Message)
			}
			if !tt.allowed && got.Response.Status.Message == "" {
				t.Errorf("%s, %s: refused without a reason", shape, spec)
			}
		}
	}
}

func templated(spec string) string { return corpus.Templated(spec) }

func many(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("registry.example/team/app%d@%s", i, strings.Split(good, "@")[1]))
	}
	return out
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	h := handler(t, cluster{}, nil)
	template := templated(pod(good))

	for what, body := range map[string]string{
		"another kind":        reviewOf("serving.knative.dev", "v1", "Service", "CREATE", template),
		"another's Pod":       reviewOf("evil.example", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`),
		"a kind in lower":     reviewOf("apps", "v1", "deployment", "CREATE", template),
		"Scale":               reviewOf("autoscaling", "v1", "Scale", "UPDATE", `{"spec":{"replicas":3}}`),
		"no object":           reviewOf("", "v1", "Pod", "CREATE", `null`),
		"no spec":             reviewOf("", "v1", "Pod", "CREATE", `{"metadata":{}}`),
		"null spec":           reviewOf("", "v1", "Pod", "CREATE", `{"spec":null}`),
		"spec is a list":      reviewOf("", "v1", "Pod", "CREATE", `{"spec":[]}`),
		"no template":         reviewOf("apps", "v1", "Deployment", "CREATE", `{"spec":{}}`),
		"exec":                reviewOf("", "v1", "PodExecOptions", "CONNECT", `{}`),
		"unknown operation":   reviewOf("", "v1", "Pod", "PATCH", `{"spec":`+pod(good)+`}`),
		"operation in lower":  reviewOf("", "v1", "Pod", "delete", `{"spec":`+pod(good)+`}`),
		"an image that is 42": reviewOf("", "v1", "Pod", "CREATE", `{"spec":{"containers":[{"image":42}]}}`),
	} {
		if code, got := ask(t, h, body); code != 200 || got.Response.Allowed {
			t.Errorf("%s: status %d, allowed %t", what, code, got.Response.Allowed)
		}
	}

	whole := reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`)
	for what, body := range map[string]string{
		"nothing": "", "an array": "[]", "another version": strings.Replace(whole, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1),
		"no request": `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
		"no uid":     strings.Replace(whole, "705ab4f5-6393-11e8-b7cc-42010a800002", "", 1),
		"two things": whole + whole, "two objects": strings.Replace(whole, `"object":`, `"object":{},"object":`, 1), "cut short": whole[:len(whole)-3],
		"too large": whole + strings.Repeat(" ", 8<<20),
	} {
		if code, _ := ask(t, h, body); code < 400 || code >= 500 {
			t.Errorf("%s: status %d, want 4xx", what, code)
		}
	}

	if _, got := ask(t, h, reviewOf("", "v1", "Pod", "DELETE", `null`)); !got.Response.Allowed {
		t.Error("a deletion is refused")
	}
}

// Reviews in the shape in which an API server sends them; see testdata/README.md.
func TestWholeReviews(t *testing.T) {
	files, err := filepath.Glob("testdata/review-*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("reviews: %v, %v", files, err)
	}

	h := handler(t, cluster{}, nil)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}

		want := strings.Contains(f, "allowed")
		if code, got := ask(t, h, string(b)); code != 200 || got.Response.Allowed != want {
			t.Errorf("%s: status %d, allowed %t, want %t: %s", f, code, got.Response.Allowed, want, got.Response.Status.Message)
		}
	}
}

func TestLookUpFails(t *testing.T) {
	body := reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`)
	for what, standing := range map[string]func(context.Context, attestor.Image) (attestor.Standing, error){
		"down": func(context.Context, attestor.Image) (attestor.Standing, error) {
			return attestor.Standing{}, errors.New("down")
		},
		"unknown": func(context.Context, attestor.Image) (attestor.Standing, error) { return attestor.Standing{}, nil },
		"not known, though it lists one": func(_ context.Context, img attestor.Image) (attestor.Standing, error) {
			return attestor.Standing{Valid: []attestor.Attestation{{Attestor: name, Digest: img.Digest()}}}, nil
		},
		"another attestor's": func(_ context.Context, img attestor.Image) (attestor.Standing, error) {
			return attestor.Standing{Known: true, Valid: []attestor.Attestation{{Attestor: name + "2", Digest: img.Digest()}}}, nil
		},
		"another digest's": func(context.Context, attestor.Image) (attestor.Standing, error) {
			return attestor.Standing{Known: true, Valid: []attestor.Attestation{{Attestor: name, Digest: "sha256:0"}}}, nil
		},
		"panics": func(context.Context, attestor.Image) (attestor.Standing, error) { panic("boom") },
	} {
		if _, got := ask(t, handler(t, cluster{standing: standing}, nil), body); got.Response.Allowed {
			t.Errorf("%s: allowed", what)
		}
	}
}

// TestAttestorsOfAnOverride: all attestors of a pass admit, or all of an
// override; some of each do not, and the refusal names those of a pass.
func TestAttestorsOfAnOverride(t *testing.T) {
	const a, b, glass, other = "projects/p/attestors/a", "projects/p/attestors/b", "projects/p/attestors/glass", "projects/p/attestors/other"
	usual, override := []string{a, b}, []string{glass, other}
	body := reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`)

	for _, tt := range []struct {
		name     string
		override []string // attestors of the policy's overrides
		by       []string // attestors that attested
		allowed  bool
		missing  string // in the refusal
	}{
		{"passed", override, usual, true, ""},
		{"overridden", override, override, true, ""},
		{"overridden in part", override, []string{glass}, false, a + ", " + b},
		{"some of each", override, []string{a, glass}, false, b},
		{"attestors of overrides that this policy does not name", nil, override, false, a + ", " + b},
	} {
		t.Run(tt.name, func(t *testing.T) {
			standing := func(_ context.Context, img attestor.Image) (attestor.Standing, error) {
				s := attestor.Standing{Known: true}
				for _, name := range tt.by {
					s.Valid = append(s.Valid, attestor.Attestation{Attestor: name, Digest: img.Digest()})
				}
				return s, nil
			}
			_, got := ask(t, handler(t, cluster{by: usual, override: tt.override, standing: standing}, nil), body)
			if got.Response.Allowed != tt.allowed || !strings.Contains(got.Response.Status.Message, tt.missing) {
				t.Errorf("allowed %t, want %t: %q, want one that names %q", got.Response.Allowed, tt.allowed, got.Response.Status.Message, tt.missing)
			}
		})
	}
}

func TestTimeOutIsRefusedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(t, cluster{standing: func(ctx context.Context, _ attestor.Image) (attestor.Standing, error) {
			<-ctx.Done()
			return attestor.Standing{}, ctx.Err()
		}}, func(c *admission.Config) { c.Timeout = 3 * time.Second })

		start := time.Now()
		_, got := ask(t, h, reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`))
		if took := time.Since(start); got.Response.Allowed || took != 3*time.Second {
			t.Errorf("allowed %t after %s, want refused after 3s", got.Response.Allowed, took)
		}
	})
}

func TestJudgedOnTheSpot(t *testing.T) {
	var asked []attestor.Request
	verdict := attestor.Pass
	h := handler(t, cluster{}, func(c *admission.Config) {
		c.Mode = admission.Judged
		c.Judge = func(_ context.Context, r attestor.Request) (attestor.Decision, error) {
			asked = append(asked, r)
			return attestor.Decision{ID: "d1", Verdict: verdict,
				Checks: []attestor.Check{{Name: "user", Status: attestor.StatusDeny,
					Reasons: []attestor.Reason{{Code: attestor.CodeUserRoot, Message: "runs as root"}}}}}, nil
		}
	})

	body := reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(bad)+`}`)
	if _, got := ask(t, h, body); !got.Response.Allowed {
		t.Errorf("refused: %s", got.Response.Status.Message)
	}

	for _, v := range []attestor.Outcome{attestor.Deny, attestor.Undecided, "", "allow"} {
		verdict = v
		if _, got := ask(t, h, body); got.Response.Allowed || !strings.Contains(got.Response.Status.Message, "USER_ROOT") {
			t.Errorf("verdict %q: allowed %t: %s", v, got.Response.Allowed, got.Response.Status.Message)
		}
	}

	for _, r := range asked {
		if !r.DryRun || r.Caller.MayAnywhere(attestor.ActionAttest) {
			t.Errorf("the Gate was asked to sign: %+v", r)
		}
	}
}

func TestPolicyInDryRunWarns(t *testing.T) {
	h := handler(t, cluster{mode: attestor.DryRun}, nil)
	_, got := ask(t, h, reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(bad)+`}`))
	if !got.Response.Allowed || len(got.Response.Warnings) != 1 || !strings.Contains(got.Response.Warnings[0], "would be refused") {
		t.Errorf("response = %+v, want admitted with a warning", got.Response)
	}
}

func TestExemptRepositoriesAreNamed(t *testing.T) {
	p, err := attestor.ParsePattern("registry.example/other/**")
	if err != nil {
		t.Fatal(err)
	}

	h := handler(t, cluster{}, func(c *admission.Config) { c.Exempt = []attestor.Pattern{p} })
	_, got := ask(t, h, reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(foreign)+`}`))
	if !got.Response.Allowed || len(got.Response.Warnings) != 1 {
		t.Errorf("response = %+v, want admitted with a warning", got.Response)
	}
	if _, got := ask(t, h, reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(foreign, bad)+`}`)); got.Response.Allowed {
		t.Error("an exempt image takes another with it")
	}
}

func TestZeroConfigIsRefused(t *testing.T) {
	c := cluster{}
	p := c.policies(t)
	for what, config := range map[string]admission.Config{
		"zero": {}, "no mode": {Policies: p, Attestations: c}, "unknown mode": {Mode: "open", Policies: p, Attestations: c},
		"no attestations": {Mode: admission.Attested, Policies: p}, "nothing to judge with": {Mode: admission.Judged, Policies: p, Attestations: c},
	} {
		if _, err := admission.New(config); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
