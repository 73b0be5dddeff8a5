package engine_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/vsa"
	"github.com/attestor-gate/attestor/summary"
	"github.com/attestor-gate/attestor/verify/signed"
)

// summaryKey makes a key for summaries: the file of the private half, and that of the public one.
func summaryKey(tb testing.TB) (private, public string) {
	tb.Helper()
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	dir := tb.TempDir()
	private, public = filepath.Join(dir, "key.pem"), filepath.Join(dir, "pub.pem")
	must(os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	must(os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), 0o600))
	return private, public
}

// publishing is a policy that publishes summaries.
func publishing(publish string) string {
	return `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: production}
spec:
  mode: enforce
  images: ["*/app/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH, scan: {required: false}}
  breakGlass: {allowed: true}
  attest: {vsa: {publish: ` + publish + `}}
  attestors: [` + samples.Attestor + `]
`
}

// A publishingWorld is a service that publishes summaries of both results.
type publishingWorld struct {
	*world
	passes, refusals string // public keys
}

func newPublishingWorld(t *testing.T, publish string) publishingWorld {
	t.Helper()
	passes, passesPub := summaryKey(t)
	refusals, refusalsPub := summaryKey(t)
	w := newWorld(t, worldOptions{quiet: true, policy: publishing(publish), config: func(c *config.Config) {
		c.VSA = &config.VSA{
			Verifier: "https://gate.example/attestor", Passed: config.SummaryKey{KeyFile: passes},
			Refused: &config.SummaryKey{KeyFile: refusals},
		}
	}})
	return publishingWorld{w, passesPub, refusalsPub}
}

// summaries are those that cosign's library, which shares nothing with the publisher, verifies by a key.
func (w publishingWorld) summaries(image, key string) []vsa.Predicate {
	w.tb.Helper()
	var out []vsa.Predicate
	for _, st := range w.statements(image, key) {
		s, err := vsa.Parse(st.Payload)
		w.ok(err)
		out = append(out, s.Predicate)
	}
	return out
}

func (w publishingWorld) statements(image, key string) []signed.Statement {
	w.tb.Helper()
	c, err := signed.New(signed.Config{CacheLifetime: -1})
	w.ok(err)
	img, err := attestor.ParseImage(image)
	w.ok(err)
	list, err := c.EveryAttestation(w.tb.Context(), img, attestor.SignedBy{Key: key}, []string{vsa.PredicateType})
	w.ok(err)
	return list
}

// TestSummaries: what passes has one summary that others verify, in the answer and in the record, and none once it is
// revoked. A refusal has one by another key, and everything else none.
func TestSummaries(t *testing.T) {
	t.Parallel()
	w := newPublishingWorld(t, "passedAndRefused")
	base := baseImage(t)
	child := imageOn(t, base, "65532:65532", entry{"app", "child"})
	good := w.push("app/good", "v1", indexOf(t, child))
	bad := w.push("app/bad", "v1", imageOn(t, base, "0", entry{"app", "bad"}))
	over := w.push("app/over", "v1", imageOn(t, base, "0", entry{"app", "over"}))
	dry := w.push("app/dry", "v1", imageOn(t, base, "65532:65532", entry{"app", "dry"}))

	// The index and its child have one each.
	a := w.post(good, false)
	if a.decision.Verdict != attestor.Pass || len(a.decision.Summaries) != 2 {
		t.Fatalf("good: %d %s", a.status, a.body)
	}
	digest, err := child.Digest()
	w.ok(err)
	repository, _, _ := strings.Cut(good, "@")
	for _, image := range []string{good, repository + "@" + digest.String()} {
		got := w.summaries(image, w.passes)
		if len(got) != 1 || got[0].VerificationResult != "PASSED" || got[0].Decision != a.decision.ID ||
			got[0].ResourceURI != "oci://"+repository || got[0].Policy.Digest["sha256"] != a.decision.Policy.Digest.Hex() ||
			!slices.Equal(got[0].VerifiedLevels, []string{"SLSA_BUILD_LEVEL_UNEVALUATED"}) {
			t.Errorf("%s has %+v", image, got)
		}
	}
	if d, ok := w.recorded(a.decision.ID); !ok || len(d.Summaries) != 2 {
		t.Errorf("the record has the summaries %+v", d.Summaries)
	}

	again := w.post(good, false)
	for _, s := range again.decision.Summaries {
		if s.Created {
			t.Errorf("a repeated pass made %+v", s)
		}
	}

	// A refusal: by its own key, and nothing by that of passes.
	denied := w.post(bad, false)
	if got := w.summaries(bad, w.refusals); denied.status != http.StatusUnprocessableEntity || len(got) != 1 || got[0].VerificationResult != "FAILED" {
		t.Errorf("bad: %d, %+v", denied.status, got)
	}

	// An override is signed for Binary Authorization, and has no summary; a dry run has nothing.
	body, err := json.Marshal(map[string]any{"image": over, "breakGlass": map[string]string{"reason": "the shop is down, ticket 4711"}})
	w.ok(err)
	override := w.do(http.MethodPost, "/v1/attest", string(body))
	if override.decision.BreakGlass == nil || len(w.standing(over)) != 1 || len(override.decision.Summaries) != 0 {
		t.Errorf("override: %d %s", override.status, override.body)
	}
	w.post(dry, true)
	for _, image := range []string{bad, over, dry} {
		if got := w.summaries(image, w.passes); len(got) != 0 {
			t.Errorf("%s has %+v by the key of passes", image, got)
		}
	}

	// Revoked, it is gone with the attestations.
	img, err := attestor.ParseImage(good)
	w.ok(err)
	r, err := w.engine.Revoke(t.Context(), attestor.Revocation{Image: img, Reason: "credentials leaked", Caller: attestor.CallerRef{Subject: "me"}})
	if err != nil || len(r.Summaries) != 2 || len(r.Left) != 0 || len(w.standing(good)) != 0 || len(w.summaries(good, w.passes)) != 0 {
		t.Errorf("revoked: %+v, %v; standing %v, summaries %v", r, err, w.standing(good), w.summaries(good, w.passes))
	}
}

// TestSummaryOfAnEarlierStage: what one policy published is evidence for the next, for what it says and for its image.
func TestSummaryOfAnEarlierStage(t *testing.T) {
	t.Parallel()
	w := newPublishingWorld(t, "passed")
	image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "good"}))
	if a := w.post(image, false); a.decision.Verdict != attestor.Pass {
		t.Fatalf("the first stage: %d %s", a.status, a.body)
	}
	other := w.push("app/other", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "other"}))
	if s := w.summaries(image, w.passes); len(s) != 1 || len(s[0].InputAttestations) != 0 {
		t.Fatalf("the first stage published %+v, want one summary without inputs", s)
	}

	// The second stage asks for the first one's, and for nothing that only the first could know.
	w.stop()
	staged := func(levels string) string {
		return strings.Replace(publishing("passed"), "  breakGlass:", `  provenance: {vsa: {verifiers: ["https://gate.example/attestor"], signedBy: {key: `+
			w.passes+`}, levels: `+levels+`}}
  breakGlass:`, 1)
	}
	w.writePolicy(staged("[SLSA_BUILD_LEVEL_UNEVALUATED]"))
	w.start()
	if a := w.post(image, false); a.decision.Verdict != attestor.Pass || len(a.decision.Summaries) != 1 ||
		!slices.Equal(a.decision.Summaries[0].Levels, []string{"SLSA_BUILD_LEVEL_UNEVALUATED"}) {
		t.Errorf("the second stage: %d %s", a.status, a.body)
	}

	// The second stage judged one signed statement, and names it.
	before := w.statements(image, w.passes)
	if len(before) != 1 {
		t.Fatalf("%d summaries stand, want 1", len(before))
	}
	w.stop()
	w.writePolicy(strings.Replace(staged("[SLSA_BUILD_LEVEL_UNEVALUATED]"), "{name: production}", "{name: second}", 1))
	w.start()
	if a := w.post(image, false); a.decision.Verdict != attestor.Pass {
		t.Fatalf("the second stage, by a policy of another name: %d %s", a.status, a.body)
	}
	used := vsa.Resource{Digest: vsa.Digests{"sha256": attestor.DigestOf(before[0].Payload).Hex()}}
	if !slices.ContainsFunc(w.summaries(image, w.passes), func(p vsa.Predicate) bool {
		return strings.HasSuffix(p.Policy.URI, "/second") && reflect.DeepEqual(p.InputAttestations, []vsa.Resource{used})
	}) {
		t.Errorf("no summary of the second stage names its input %v: %+v", used, w.summaries(image, w.passes))
	}

	w.stop()
	w.writePolicy(staged("[STAGE]"))
	w.start()
	if a := w.post(image, true); a.decision.Verdict != attestor.Deny || !slices.Contains(a.codes(), attestor.CodeProvenanceMissing) ||
		!strings.Contains(string(a.body), "STAGE is required") {
		t.Errorf("a level that the summary does not have: %d %s", a.status, a.body)
	}
	if a := w.post(other, true); a.decision.Verdict != attestor.Deny || !strings.Contains(string(a.body), "nor a verification summary") {
		t.Errorf("an image without one: %d %s", a.status, a.body)
	}
}

// TestARotatedSummaryKey: after a change of keys the next pass replaces what the former key signed, and a revocation
// takes what it signed of other images, if the configuration names it. Without that the gate does not know it as its own.
func TestARotatedSummaryKey(t *testing.T) {
	t.Parallel()
	w := newPublishingWorld(t, "passed")
	base := baseImage(t)
	passed := w.push("app/passed", "v1", imageOn(t, base, "65532:65532", entry{"app", "1"}))
	revoked := w.push("app/revoked", "v1", imageOn(t, base, "65532:65532", entry{"app", "2"}))
	for _, image := range []string{passed, revoked} {
		if a := w.post(image, false); a.decision.Verdict != attestor.Pass || len(w.summaries(image, w.passes)) != 1 {
			t.Fatalf("before: %d %s", a.status, a.body)
		}
	}
	stand := func(image, key string, want int) {
		t.Helper()
		if got := w.summaries(image, key); len(got) != want {
			t.Errorf("%s: by %s stand %+v, want %d", image, filepath.Base(filepath.Dir(key)), got, want)
		}
	}
	revoke := func() {
		t.Helper()
		img, err := attestor.ParseImage(revoked)
		w.ok(err)
		r, err := w.engine.Revoke(t.Context(), attestor.Revocation{Image: img, Reason: "credentials leaked", Caller: attestor.CallerRef{Subject: "me"}})
		if err != nil || len(w.standing(revoked)) != 0 {
			t.Errorf("revoked: %+v, %v; standing %v", r, err, w.standing(revoked))
		}
	}

	// The key is changed, and the former one is not named: its statements stay, which docs/vsa.md says.
	w.stop()
	private, public := summaryKey(t)
	w.config.VSA.Passed.KeyFile = private
	w.start()
	revoke()
	stand(revoked, w.passes, 1)

	w.stop()
	w.config.VSA.Former = []string{w.passes}
	w.start()
	if a := w.post(passed, false); a.decision.Verdict != attestor.Pass || len(a.decision.Summaries) != 1 || !a.decision.Summaries[0].Created {
		t.Errorf("after: %d %s", a.status, a.body)
	}
	stand(passed, public, 1)
	stand(passed, w.passes, 0)
	revoke()
	stand(revoked, w.passes, 0)
}

// TestSummariesBeforeAttestations: where the summary cannot be stored, the answer is an error and nothing is attested.
func TestSummariesBeforeAttestations(t *testing.T) {
	t.Parallel()
	private, _ := summaryKey(t)
	configured := func(c *config.Config) {
		c.VSA = &config.VSA{Verifier: "https://gate.example/attestor", Passed: config.SummaryKey{KeyFile: private}}
	}
	readOnly := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"denied"}]}`, http.StatusForbidden)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	for name, o := range map[string]worldOptions{
		"the gate has no key":       {},
		"the registry refuses them": {config: configured, registry: readOnly},
	} {
		t.Run(name, func(t *testing.T) {
			o.quiet, o.policy = true, publishing("passed")
			w := newWorld(t, o)
			image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "1"}))
			a := w.post(image, false)
			if a.status != http.StatusBadGateway || !slices.Contains(a.codes(), attestor.CodeSummaryNotStored) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if got := w.attested(); len(got) != 0 {
				t.Errorf("attested all the same: %v", got)
			}
		})
	}
}

// TestReadinessOfSummaries: a key that cannot be used makes the service unready, and a permission to delete that is
// missing is named aside.
func TestReadinessOfSummaries(t *testing.T) {
	t.Parallel()
	private, _ := summaryKey(t)
	forbids := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"denied"}]}`, http.StatusForbidden)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	text := strings.Replace(publishing("passed"), "*/app/**", "127.0.0.1:5000/app/**", 1)
	unsuitable := strings.Replace(samples.Key, "cryptoKeys/gate", "cryptoKeys/nowhere", 1)
	for name, tt := range map[string]struct {
		options worldOptions
		key     config.SummaryKey
		status  int
		says    string
	}{
		"all is well":        {worldOptions{}, config.SummaryKey{KeyFile: private}, http.StatusOK, "summary deletion"},
		"deletion forbidden": {worldOptions{registry: forbids}, config.SummaryKey{KeyFile: private}, http.StatusOK, summary.DeletePermission},
		"no such key":        {worldOptions{}, config.SummaryKey{KMS: unsuitable}, http.StatusServiceUnavailable, "does not exist"},
	} {
		o := tt.options
		o.quiet, o.policy = true, text
		o.config = func(c *config.Config) {
			c.VSA = &config.VSA{Verifier: "https://gate.example/attestor", Passed: tt.key}
		}
		w := newWorld(t, o)
		if a := w.do(http.MethodGet, "/ready", ""); a.status != tt.status || !strings.Contains(string(a.body), tt.says) {
			t.Errorf("%s: %d %s, want %d with %q", name, a.status, a.body, tt.status, tt.says)
		}
	}
}

// TestSummariesByCloudKMS: keys of Cloud KMS sign by each algorithm that is allowed, and others are refused with the reason.
func TestSummariesByCloudKMS(t *testing.T) {
	t.Parallel()
	for algorithm, good := range map[kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm]bool{
		kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256: true, kmspb.CryptoKeyVersion_EC_SIGN_ED25519: true,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256: true,
		kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384:        false, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256: false,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512: false,
	} {
		ring, _, _ := strings.Cut(samples.Key, "/cryptoKeys/")
		w := newWorld(t, worldOptions{quiet: true, policy: publishing("passed"), config: func(c *config.Config) {
			c.VSA = &config.VSA{
				Verifier: "https://gate.example/attestor", Passed: config.SummaryKey{KMS: ring + "/cryptoKeys/vsa/cryptoKeyVersions/1"},
			}
		}})
		_, err := w.outside.KMS.CreateCryptoKey(t.Context(), &kmspb.CreateCryptoKeyRequest{
			Parent: ring, CryptoKeyId: "vsa", CryptoKey: &kmspb.CryptoKey{
				Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: algorithm},
			},
		})
		w.ok(err)
		image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "1"}))
		a := w.post(image, false)
		if !good {
			if a.status != http.StatusBadGateway || !slices.Contains(a.codes(), attestor.CodeSigningFailed) ||
				!strings.Contains(string(a.body), algorithm.String()) || len(w.attested()) != 0 {
				t.Errorf("%s: %d %s", algorithm, a.status, a.body)
			}
			continue
		}

		pub, err := w.outside.KMS.GetPublicKey(t.Context(), &kmspb.GetPublicKeyRequest{Name: ring + "/cryptoKeys/vsa/cryptoKeyVersions/1"})
		w.ok(err)
		path := filepath.Join(t.TempDir(), "kms.pub")
		w.ok(os.WriteFile(path, []byte(pub.GetPem()), 0o600))
		if got := (publishingWorld{world: w}).summaries(image, path); a.status != http.StatusOK || len(got) != 1 {
			t.Errorf("%s: %d %s; summaries %+v", algorithm, a.status, a.body, got)
		}
	}
}

// TestSummaryKeysAreSeparate: the service does not start with a key that has two uses.
func TestSummaryKeysAreSeparate(t *testing.T) {
	t.Parallel()
	private, _ := summaryKey(t)
	other, _ := summaryKey(t)
	copied := filepath.Join(t.TempDir(), "copy.pem")
	b, err := os.ReadFile(private)
	if err == nil {
		err = os.WriteFile(copied, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}

	for name, tt := range map[string]struct {
		attestor, passed, refused string
		good                      bool
	}{
		"three keys":                 {other, private, newSummaryKey(t), true},
		"an attestor's key, copied":  {copied, private, "", false},
		"the key of passes, copied":  {other, private, copied, false},
		"an attestor's key, refused": {copied, other, private, false},
	} {
		w := newWorld(t, worldOptions{quiet: true, unstarted: true, config: func(c *config.Config) {
			c.Attestors[0].KMS, c.Attestors[0].KeyFile = "", tt.attestor
			c.VSA = &config.VSA{Verifier: "https://gate.example/attestor", Passed: config.SummaryKey{KeyFile: tt.passed}}
			if tt.refused != "" {
				c.VSA.Refused = &config.SummaryKey{KeyFile: tt.refused}
			}
		}})
		e, err := engine.New(t.Context(), engine.Options{
			Config: w.config, Emulators: google.EmulatedAt(w.google.Addr()), Logger: slog.New(slog.DiscardHandler), Version: "test",
		})
		if (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			w.ok(e.Close())
		}
		w.ok(w.listener.Close())
	}
}

func newSummaryKey(tb testing.TB) string {
	tb.Helper()
	private, _ := summaryKey(tb)
	return private
}

// observedSummarizer is a publisher before a world's registry, with two images.
func observedSummarizer(t *testing.T, watch func(attestor.Summarizer) attestor.Summarizer) contract.Summarizing {
	t.Helper()
	w := newWorld(t, worldOptions{quiet: true})
	var out contract.Summarizing
	for i, content := range []string{"1", "2"} {
		img, err := attestor.ParseImage(w.push("app/good", "v"+content, imageOn(t, baseImage(t), "65532:65532", entry{"app", content})))
		w.ok(err)
		out.Images[i] = img
	}
	passed, err := summary.NewKeyFile(newSummaryKey(t))
	w.ok(err)
	refused, err := summary.NewKeyFile(newSummaryKey(t))
	w.ok(err)
	reader, err := referrers.New(referrers.Config{})
	w.ok(err)
	p, err := summary.New(summary.Config{
		Verifier: "https://gate.example/attestor", Passed: passed, Refused: refused, Registry: reader,
		Transport: remote.DefaultTransport, Now: time.Now, MaxAge: 100 * 365 * 24 * time.Hour, // the suite's evidence has a time of its own
	})
	w.ok(err)
	out.Summarizer = watch(p)
	return out
}
