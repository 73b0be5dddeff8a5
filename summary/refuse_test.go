package summary_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/summary"
)

// Only what passed has a summary, and only where the policy asks for one.
func TestOnlyAPassIsSummarized(t *testing.T) {
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	p := w.publisher(w.p256())

	for _, j := range []judged{
		{image: w.image, status: attestor.StatusDeny}, {image: w.image, status: attestor.StatusError},
		{image: w.image, mode: attestor.DryRun},
	} {
		if a, err := attestor.Authorize("decision-1", w.verdict(j)); err == nil {
			t.Fatalf("%+v was authorized: %+v", j, a)
		}
	}

	// An override is signed for Binary Authorization, and is no pass.
	v := w.verdict(judged{image: w.image, status: attestor.StatusDeny})
	grant, err := attestor.GrantBreakGlass(attestor.LocalCaller("ann"),
		w.image, "the shop is down, ticket 4711", attestor.BreakGlassPolicy{Allowed: true}, w.clock())
	w.Must(err)
	override, err := attestor.AuthorizeBreakGlass("decision-2", v, grant)
	w.Must(err)
	if _, wants := override.Summary(); wants {
		t.Error("an override asks for a summary")
	}

	for name, a := range map[string]attestor.Authorization{"nothing": {}, "an override": override} {
		called := 0
		got, err := p.Summarize(t.Context(), a, func() error { called++; return nil })
		if err == nil || len(got.Standing) != 0 || called != 1 {
			t.Errorf("%s: published %+v, %v; begin was called %d times", name, got, err, called)
		}
	}
	if got := w.attached(w.image); len(got) != 0 {
		t.Errorf("attached: %+v", got)
	}
}

// Nothing is stored where the record, a key, or the key of another digest fails.
func TestAllOrNothing(t *testing.T) {
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	full := errors.New("the record is full")
	p := w.publisher(w.p256())
	if got, err := p.Summarize(t.Context(), w.authorized(judged{image: w.image}),
		func() error { return full }); !errors.Is(err, full) || len(got.Standing) != 0 {
		t.Errorf("without a record: %+v, %v", got, err)
	}
	if got := w.attached(w.image); len(got) != 0 {
		t.Errorf("attached without a record: %+v", got)
	}
}

// A registry that fails is an error with a code, and no summary is claimed to stand.
func TestRegistriesThatFail(t *testing.T) {
	answer := func(code int, ifThis func(r *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, r *http.Request) bool {
			if !ifThis(r) {
				return false
			}
			http.Error(rw, `{"errors":[{"code":"X","message":"x"}]}`, code)
			return true
		}
	}
	list := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/referrers/") }
	put := func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
	}
	upload := func(r *http.Request) bool { return r.Method == http.MethodPost }

	for name, tt := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		code  attestor.Code
		fix   string
	}{
		"no list":            {answer(http.StatusInternalServerError, list), attestor.CodeSummaryUnavailable, ""},
		"the list forbidden": {answer(http.StatusForbidden, list), attestor.CodeSummaryUnavailable, ""},
		"no manifest":        {answer(http.StatusInternalServerError, put), attestor.CodeSummaryNotStored, ""},
		"writing forbidden":  {answer(http.StatusForbidden, upload), attestor.CodeSummaryNotStored, "roles/artifactregistry.writer"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, registries.Kinds()["referrers API"](t, true))
			p := w.publisher(w.p256())
			w.Intercept(tt.fault)
			got, err := p.Summarize(t.Context(), w.authorized(judged{image: w.image}), begun)
			wantCode(t, err, tt.code)
			if e, ok := errors.AsType[*attestor.Error](err); ok && !strings.Contains(e.Fix, tt.fix) {
				t.Errorf("the fix is %q, want %q in it", e.Fix, tt.fix)
			}
			if len(got.Standing) != 0 {
				t.Errorf("it claims that %+v stands", got.Standing)
			}

			// What failed is done by the next attempt.
			w.Intercept(nil)
			w.publish(p, judged{image: w.image})
			if n := len(w.attached(w.image)); n != 1 {
				t.Errorf("%d summaries are attached after a repeat", n)
			}
		})
	}
}

// Where the registry forbids deletion, what is replaced stays and is named, with the permission.
func TestRegistriesThatForbidDeletion(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, handler(t, false))
			p := w.publisher(w.p256())
			if err := p.MayDelete(t.Context(), w.image.Repository()); err == nil {
				t.Error("it says that deletion is allowed")
			} else {
				wantCode(t, err, attestor.CodeSummaryNotDeleted)
			}
			first := w.publish(p, judged{image: w.image, policy: "one"})
			second := w.publish(p, judged{image: w.image, policy: "two"})
			if len(second.Left) != 1 || second.Left[0].Reference != first.Standing[0].Reference || second.Left[0].Fix == "" {
				t.Errorf("left %+v, want the first with what to do", second.Left)
			}
			if kind != "distribution" && !strings.Contains(second.Left[0].Fix, summary.DeletePermission) {
				t.Errorf("the fix %q does not name the permission", second.Left[0].Fix)
			}

			gone, left, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}})
			want := 1
			if kind == "referrers API" {
				want = 2 // a registry with the API lists what it has; elsewhere what was replaced is off the list
			}
			if err != nil || len(gone) != 0 || len(left) != want {
				t.Errorf("revoked: gone %+v, left %+v, %v; want %d left", gone, left, err, want)
			}
		})
	}
}

// Of a digest and a policy one summary is current; another policy's stays.
func TestOneCurrentSummary(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, handler(t, true))
			p := w.publisher(w.p256())
			w.publish(p, judged{image: w.image})
			if err := p.MayDelete(t.Context(), w.image.Repository()); err != nil {
				t.Errorf("deletion is allowed, and it says %v", err)
			}

			steps := []struct {
				name string
				wait time.Duration
				j    judged
			}{
				{"the policy's text changed", 0, judged{image: w.image, policy: "two"}},
				{"the level changed", time.Hour, judged{image: w.image, policy: "two", level: 3}},
				{"the last is too old", 25 * time.Hour, judged{image: w.image, policy: "two", level: 3}},
			}
			last := ""
			for _, step := range steps {
				w.advance(step.wait)
				got := w.publish(p, step.j)
				if len(got.Standing) != 1 || !got.Standing[0].Created || got.Standing[0].Reference == last || len(got.Left) != 0 {
					t.Errorf("%s: %+v", step.name, got)
				}
				last = got.Standing[0].Reference
				if list := w.attached(w.image); len(list) != 1 || !list[0].Predicate.TimeVerified.Equal(w.clock()) {
					t.Errorf("%s: attached %+v, want the new one", step.name, list)
				}
			}

			gone, left, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}})
			if err != nil || len(gone) != 1 || gone[0].Reference != last || len(left) != 0 || len(w.attached(w.image)) != 0 {
				t.Errorf("revoked: gone %+v, left %+v, %v; attached %+v", gone, left, err, w.attached(w.image))
			}
			if gone, _, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}}); err != nil || len(gone) != 0 {
				t.Errorf("revoked again: %+v, %v", gone, err)
			}
		})
	}
}

// A refusal has a key of its own, and takes the place of the pass by the same policy.
func TestRefusals(t *testing.T) {
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	passes, refusals := w.p256(), w.p256()
	p := w.publisher(passes, func(c *summary.Config) { c.Refused = refusals.key })
	asks := &attestor.SummaryNeeds{Refusals: true}
	w.publish(p, judged{image: w.image, needs: asks})

	denied := judged{image: w.image, status: attestor.StatusDeny, needs: asks}
	for name, j := range map[string]judged{
		"a pass":            {image: w.image, needs: asks},
		"an error":          {image: w.image, needs: asks, status: attestor.StatusError},
		"a dry run":         {image: w.image, needs: asks, status: attestor.StatusDeny, mode: attestor.DryRun},
		"not asked by name": {image: w.image, status: attestor.StatusDeny},
	} {
		if r, err := attestor.AuthorizeRefusal("decision-1", w.verdict(j)); err == nil {
			t.Errorf("%s is a refusal: %+v", name, r)
		}
	}
	r, err := attestor.AuthorizeRefusal("decision-2", w.verdict(denied))
	w.Must(err)
	got, err := p.Refuse(t.Context(), r)
	if err != nil || len(got.Standing) != 1 || got.Standing[0].Result != "FAILED" {
		t.Fatalf("refused: %+v, %v", got, err)
	}
	list := w.attached(w.image)
	if len(list) != 1 || list[0].Predicate.VerificationResult != "FAILED" || list[0].Predicate.VerifiedLevels[0] != "FAILED" {
		t.Errorf("attached: %+v, want the refusal alone", list)
	}

	// By the key of passes nothing is there.
	stands, err := w.publisher(passes).Stands(t.Context(), []attestor.Image{w.image}, r.Policy(), *asks)
	if err != nil || len(stands) != 0 {
		t.Errorf("by the key of passes stand %+v, %v", stands, err)
	}

	// And the other way round.
	w.publish(p, judged{image: w.image, needs: asks})
	if list := w.attached(w.image); len(list) != 1 || list[0].Predicate.VerificationResult != "PASSED" {
		t.Errorf("attached: %+v, want the pass alone", list)
	}

	// Without a key nothing is published, nor with the key of passes.
	if got, err := w.publisher(passes).Refuse(t.Context(), r); err == nil || len(got.Standing) != 0 {
		t.Errorf("refused without a key: %+v, %v", got, err)
	}
	copied := w.keyOf(passes.signer)
	for _, key := range []summary.Key{passes.key, copied.key} {
		_, err := summary.New(summary.Config{
			Verifier: verifierID, Passed: passes.key, Refused: key, Registry: w.reader(), Transport: remote.DefaultTransport, Now: w.clock,
		})
		wantCode(t, err, attestor.CodeSigningFailed)
	}
}

// Keys that the consumers' programs verify differently are refused, with the reason.
func TestKeys(t *testing.T) {
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.Must(err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	w.Must(err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	w.Must(err)
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	w.Must(err)

	for name, key := range map[string]any{"P-384": p384, "P-521": p521} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		w.Must(err)
		path := filepath.Join(t.TempDir(), "key.pem")
		w.Must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		_, err = summary.NewKeyFile(path)
		wantCode(t, err, attestor.CodeSigningFailed)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, k := range map[string]pair{"Ed25519": w.keyOf(ed), "RSA": w.keyOf(long)} {
		image := w.Push()
		if got := w.publish(w.publisher(k), judged{image: image}); len(got.Standing) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A summary that cannot be deleted yet keeps no other: each one that goes is one that nobody takes for a pass.
func TestOneFailureKeepsNoOtherSummary(t *testing.T) {
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	key := w.p256()
	older := w.publish(w.publisher(key), judged{image: w.image}).Standing[0]
	w.advance(time.Hour)
	p := w.publisher(key, func(c *summary.Config) { c.Policies = "https://gate.example/other" })
	newer := w.publish(p, judged{image: w.image}).Standing[0]
	_, digest, _ := strings.Cut(newer.Reference, "@")
	w.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodDelete || !strings.HasSuffix(r.URL.Path, digest) {
			return false
		}
		http.Error(rw, `{"errors":[{"code":"X","message":"x"}]}`, http.StatusConflict)
		return true
	})

	gone, left, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}})
	if err == nil || len(left) != 0 || len(gone) != 1 || gone[0].Reference != older.Reference {
		t.Errorf("gone %+v, left %+v, %v; want the older one gone, and an error about the newer", gone, left, err)
	}
	if list := w.attached(w.image); len(list) != 1 {
		t.Errorf("%d are attached, want the newer one", len(list))
	}

	w.Intercept(nil)
	gone, left, err = p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}})
	if err != nil || len(gone) != 1 || len(left) != 0 {
		t.Errorf("again: gone %+v, left %+v, %v", gone, left, err)
	}
}
